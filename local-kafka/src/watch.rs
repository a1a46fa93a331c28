//! A helper process that outlives us and ends the nodes. It holds the read end of a pipe: when our
//! end closes, however that happens, its work begins.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;

/// What becomes of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Keep,
    Remove,
}

#[derive(Debug)]
pub(crate) struct Watcher(Child);

impl Watcher {
    pub(crate) fn of(folder: &Path, afterwards: Afterwards) -> Result<Self, Error> {
        let mut watcher = Command::new("sh");
        watcher
            .arg("-c")
            .arg(include_str!("watch.sh"))
            .arg("local-kafka-watcher")
            .arg(folder);
        watcher.arg(if afterwards == Afterwards::Remove {
            "remove"
        } else {
            "keep"
        });
        // Its own group: a Ctrl-C that ends us must not end what clears up.
        watcher.current_dir("/").process_group(0);
        watcher
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        watcher.spawn().map(Self).map_err(Error::io("watch over", folder))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
