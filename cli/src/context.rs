//! What every verb is told: where the data lies, which settings count, how to write.

use std::io;
use std::path::{Path, PathBuf};

use local_postgres::DataFolder;
use serde_json::Value;
use service::settings::Loader;

use crate::exit::Failure;
use crate::output::{self, Asked, Format, Table};

/// The folder where nobody names one.
pub(crate) const DEFAULT_DATA: &str = ".comanda";

/// The global options.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) folder: DataFolder,
    config: Option<PathBuf>,
    /// Where the platform answers, where somebody says so.
    pub(crate) url: Option<String>,
    pub(crate) format: Format,
    /// Whether Parquet was asked for, which one verb can write.
    pub(crate) parquet: bool,
}

impl Context {
    pub(crate) fn new(data: Option<PathBuf>, config: Option<PathBuf>, url: Option<String>, output: Asked) -> Self {
        let folder = data.map_or_else(|| DataFolder::Default(DEFAULT_DATA.into()), DataFolder::Explicit);
        Self {
            folder,
            config,
            url,
            format: output.format(),
            parquet: output == Asked::Parquet,
        }
    }

    /// The folder as it was asked for; for messages.
    pub(crate) fn asked_for(&self) -> &Path {
        let (DataFolder::Default(path) | DataFolder::Explicit(path)) = &self.folder;
        path
    }

    /// The settings' sources but for flags, which a verb may add.
    pub(crate) fn settings(&self) -> Loader {
        // Variables that are not valid UTF-8 cannot be ours.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Loader::new().file(self.config.as_deref()).environment(variables)
    }

    pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
        use io::Write;
        written(writeln!(io::stdout(), "{line}"))
    }

    pub(crate) fn print_table(&self, table: &Table) -> Result<(), Failure> {
        written(table.print(self.format))
    }

    /// Names and values of one thing.
    pub(crate) fn print_pairs(&self, pairs: &[(&str, String)]) -> Result<(), Failure> {
        written(output::print_pairs(pairs, self.format))
    }

    pub(crate) fn print_json(&self, value: &Value) -> Result<(), Failure> {
        written(output::print_json(value, self.format))
    }
}

/// A reader that has seen enough (`| head`) is not an error.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}
