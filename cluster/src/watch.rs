//! A helper process that outlives us and ends what we started. It holds the read end of a pipe:
//! when our end closes, however that happens, its work begins.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Error;

#[derive(Debug)]
pub(crate) struct Watcher(Child);

impl Watcher {
    pub(crate) fn of(folders: &[PathBuf]) -> Result<Self, Error> {
        let mut watcher = Command::new("sh");
        watcher.args(["-c", include_str!("watch.sh"), "comanda-cluster-watcher"]);
        // Its own group: a Ctrl-C that ends us must not end what clears up.
        watcher.args(folders).current_dir("/").process_group(0);
        watcher
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let watcher = watcher.spawn();
        watcher.map(Self).map_err(Error::io("run", Path::new("sh")))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
