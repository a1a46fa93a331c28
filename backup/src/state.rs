//! How the archive of a server is doing.

const GIB: u64 = 1 << 30;

/// How an archive is doing, as of the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveState {
    /// Its folder's name; none before the server was first reached.
    pub archive: Option<String>,
    /// Whether the log is flowing into it.
    pub streaming: bool,
    /// Log that the server holds back because it is not archived yet, in bytes.
    pub retained_bytes: u64,
    /// Room left on the archive's disk, in bytes.
    pub free_bytes: Option<u64>,
    /// Whether a base backup lies in it: without one there is nothing to restore from.
    pub has_base: bool,
    /// Why the log does not flow.
    pub why: Option<String>,
}

impl ArchiveState {
    /// What is wrong with it, and what to do.
    pub fn trouble(&self) -> Option<(String, &'static str)> {
        if !self.streaming {
            let why = self.why.as_deref().unwrap_or("it has not begun yet");
            return Some((
                format!("the log is not being archived: {why}"),
                "it is tried again by itself, and the server holds the log back meanwhile, up to its max_slot_wal_keep_size",
            ));
        }
        if let Some(free) = self.free_bytes.filter(|free| *free < GIB) {
            return Some((
                format!("{} MB are left on the archive's disk", free >> 20),
                "free some, or remove old backups with `comanda backup prune`",
            ));
        }
        if self.retained_bytes > GIB {
            return Some((
                format!("the archive is {} MB behind", self.retained_bytes >> 20),
                "see whether its disk is slow or full; beyond the server's max_slot_wal_keep_size it ends",
            ));
        }
        if !self.has_base {
            return Some((
                "no base backup lies in the archive yet".to_owned(),
                "take one with `comanda backup --to DIR`",
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_the_worst_first() {
        let well = ArchiveState {
            archive: Some("a".to_owned()),
            streaming: true,
            free_bytes: Some(5 * GIB),
            has_base: true,
            ..ArchiveState::default()
        };
        assert_eq!(well.trouble(), None);
        let told = |state: ArchiveState| state.trouble().map(|(detail, _)| detail).unwrap_or_default();
        assert!(told(ArchiveState::default()).contains("has not begun"));
        let bare = ArchiveState {
            has_base: false,
            ..well.clone()
        };
        assert!(told(bare.clone()).contains("no base backup"));
        let behind = ArchiveState {
            retained_bytes: 3 * GIB,
            ..bare
        };
        assert!(told(behind.clone()).contains("3072 MB behind"));
        let full = ArchiveState {
            free_bytes: Some(7 << 20),
            ..behind
        };
        assert!(told(full.clone()).contains("7 MB are left"));
        let stuck = ArchiveState {
            streaming: false,
            why: Some("no server".to_owned()),
            ..full
        };
        assert!(told(stuck).contains("no server"));
    }
}
