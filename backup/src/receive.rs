//! The loop that archives a server's log with `pg_receivewal`.
//!
//! Guarantee: what the server wrote is in the archive, in order and without a hole, or the server
//! still has it: its replication slot moves only past segments that lie on the archive's disk. A
//! server that is away, a full disk and a killed `pg_receivewal` are waited out and tried again for
//! ever. A slot that the server gave up (the archive was further behind than `max_slot_wal_keep_size`)
//! ends the archive and begins another, which health says needs a base backup.
//!
//! Killed, this process leaves `pg_receivewal` running; the next start ends it and goes on at the
//! beginning of the segment that it was in. Not needed for correctness: that the loop runs at all
//! times, or notices a death at once.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::archive::Archive;
use crate::error::Error;
use crate::folder::Folder;
use crate::programs;
use crate::server::ServerAt;
use crate::state::ArchiveState;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look at the server may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Archives one server's log until it is stopped.
#[derive(Debug)]
pub struct Receiver {
    folder: Folder,
    server: ServerAt,
    state: watch::Sender<ArchiveState>,
}

impl Receiver {
    /// Also returns how it is doing, now and on every change.
    pub fn new(folder: Folder, server: ServerAt) -> (Self, watch::Receiver<ArchiveState>) {
        let (state, watched) = watch::channel(ArchiveState::default());
        (Self { folder, server, state }, watched)
    }

    /// Runs until `stop` is ready; the log received by then is in the archive.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut delay = FIRST_DELAY;
        loop {
            let since = Instant::now();
            let ended = tokio::select! {
                () = &mut stop => return,
                ended = self.receive() => ended,
            };
            let Err(error) = ended;
            self.note(&error);
            // It did run: its end begins a new count.
            if since.elapsed() > LONGEST_DELAY {
                delay = FIRST_DELAY;
            }
            tokio::select! {
                () = &mut stop => return,
                () = sleep(delay) => {}
            }
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    fn note(&self, error: &Error) {
        let mut why = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            why.push_str(&format!(": {source}"));
        }
        if self.state.borrow().why.as_ref() != Some(&why) {
            tracing::warn!(
                why,
                remedy = error.remedy(),
                "the log is not being archived; trying again"
            );
        }
        self.state.send_modify(|state| {
            state.streaming = false;
            state.why = Some(why);
        });
    }

    /// Until `pg_receivewal` ends, which it never does by itself where all is well.
    async fn receive(&self) -> Result<std::convert::Infallible, Error> {
        let server = self.server_now().await?;
        let archive = Archive::find_or_begin(&self.folder, &server).await?;
        let wal = self.folder.wal(&archive.id);
        let _lock = archive.lock(&self.folder)?;
        end_leftover(&wal).await;
        let mut command = programs::client(&server, "pg_receivewal")?;
        command.arg("--directory").arg(&wal);
        command.args(["--slot", &archive.slot, "--no-loop", "--status-interval=1"]);
        command.stderr(Stdio::piped());
        let child = command.spawn().map_err(Error::io("run", "pg_receivewal".as_ref()))?;
        let ended = child.wait_with_output();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                output = &mut ended => {
                    let output = output.map_err(Error::io("run", "pg_receivewal".as_ref()))?;
                    return Err(Error::Program {
                        program: "pg_receivewal".to_owned(),
                        said: last_line(&output),
                    });
                }
                () = sleep(LOOK_EVERY) => self.look(&server, &archive).await?,
            }
        }
    }

    /// The server as it is now: a restoration or promotion gives it another timeline.
    async fn server_now(&self) -> Result<ServerAt, Error> {
        let found = crate::servers(&self.server.databases).await?;
        found.into_iter().next().ok_or_else(|| Error::Url {
            database: self.server.name(),
        })
    }

    async fn look(&self, server: &ServerAt, archive: &Archive) -> Result<(), Error> {
        let look = async {
            let mut connection = server.connect().await?;
            archive.slot(server, &mut connection).await
        };
        // A server that is away or hangs is noticed by pg_receivewal itself.
        let Ok(Ok(slot)) = timeout(PATIENCE, look).await else {
            return Ok(());
        };
        let Some(slot) = slot.filter(|slot| !slot.is_lost()) else {
            return Err(Error::SlotLost { server: server.name() });
        };
        let free = nix::sys::statvfs::statvfs(self.folder.path()).ok();
        let has_base = self.has_base(archive);
        self.state.send_replace(ArchiveState {
            archive: Some(archive.id.clone()),
            streaming: slot.active,
            retained_bytes: u64::try_from(slot.retained_bytes).unwrap_or_default(),
            free_bytes: free.map(|disk| disk.blocks_available() * disk.fragment_size()),
            has_base,
            why: None,
        });
        Ok(())
    }

    fn has_base(&self, archive: &Archive) -> bool {
        let known = self.state.borrow();
        if known.has_base && known.archive.as_ref() == Some(&archive.id) {
            return true;
        }
        let manifests = self.folder.manifests().unwrap_or_default();
        let mut servers = manifests.iter().flat_map(|manifest| &manifest.servers);
        servers.any(|server| server.archive.as_ref() == Some(&archive.id))
    }
}

/// What a program said last; it says why it ends there.
fn last_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().last().unwrap_or("nothing").to_owned()
}

/// Ends the `pg_receivewal` that a killed process left writing here.
async fn end_leftover(wal: &Path) {
    let give_up = Instant::now() + Duration::from_secs(5);
    let insist = Instant::now() + Duration::from_secs(2);
    while let Some(pid) = writing(wal) {
        let how = if Instant::now() > insist {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        // It may just have gone.
        let _ = kill(Pid::from_raw(pid), how);
        if Instant::now() > give_up {
            tracing::warn!(process.pid = pid, "a pg_receivewal left over does not end");
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The `pg_receivewal` that writes into this folder.
fn writing(wal: &Path) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let wal = wal.display().to_string();
    pids.find(|pid| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let program = std::fs::read_link(proc.join("exe"));
        let named = program.is_ok_and(|it| {
            it.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("pg_receivewal"))
        });
        let line = std::fs::read(proc.join("cmdline")).unwrap_or_default();
        named
            && String::from_utf8_lossy(&line)
                .split('\0')
                .any(|argument| argument == wal)
    })
}
