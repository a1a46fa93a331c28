//! Backups.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Backups that a running platform keeps up itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupSettings {
    /// Where `comanda up` archives the log of its servers all the time; `comanda backup --to` takes
    /// base backups there. None means that nothing is archived.
    pub folder: Option<PathBuf>,
}
