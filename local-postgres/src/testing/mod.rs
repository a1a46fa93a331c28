//! Databases and data folders for tests, gone with the test process even when
//! it is killed.
//!
//! The first [`fresh_database`] of a process starts a throwaway server; the
//! environment variable `COMANDA_TEST_POSTGRES` names one to use instead (a URL
//! without a database). A helper process holds the read end of a pipe: when our
//! end closes, however that happens, it ends the server and removes its folder.
//! Nothing here depends on a tokio runtime staying alive: each test has its own.
#![expect(
    clippy::expect_used,
    reason = "a test that gets no database has failed; there is nobody to recover"
)]
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection};

use crate::account::Account;
use crate::cluster::{self, Layout};
use crate::postmaster::{Launch, PidFile};
use crate::settings::{Durability, Options};
use crate::{Config, Error, port, secret};

mod replicated;

pub use replicated::Replicated;

/// A fresh, empty database on the test server; returns its URL. Every call makes
/// another, so a test that needs several databases calls it several times.
pub async fn fresh_database() -> String {
    let name = format!("t_{}", secret::random_hex::<12>().expect("random name"));
    let admin = database_url("postgres");
    let mut admin = PgConnection::connect(&admin).await.expect("connect to the test server");
    admin
        .execute(format!("create database {name}").as_str())
        .await
        .expect("create a test database");
    database_url(&name)
}

/// What a server of a test is started with: small, and not made to outlive a power cut.
pub fn throwaway(data: impl Into<PathBuf>) -> Config {
    Config {
        max_connections: 100,
        shared_buffers_mb: Some(64),
        durability: Durability::Throwaway,
        ..Config::new(data)
    }
}

/// A new folder that `comanda up --data` can use even under root. Dropping it,
/// or the end of the test process in any way, ends the PostgreSQL (and its
/// supervisor) that runs there and removes it.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    watcher: Child,
}

impl ScratchFolder {
    pub fn new() -> Self {
        let account = Account::of_this_process().expect("a user for PostgreSQL");
        let usual = std::env::temp_dir();
        let parent = if account.reaches(&usual) {
            usual
        } else {
            PathBuf::from("/tmp")
        };
        let made = tempfile::Builder::new()
            .prefix("comanda-test-")
            .tempdir_in(parent)
            .expect("a scratch folder");
        let path = made.keep().canonicalize().expect("the scratch folder");
        let watcher = watch(&path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("open the scratch folder");
        Self { path, watcher }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for ScratchFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Starts the helper that clears `folder` once we are gone.
fn watch(folder: &Path) -> Child {
    let mut watcher = Command::new("sh");
    watcher
        .arg("-c")
        .arg(include_str!("watch.sh"))
        .arg("comanda-test-watcher")
        .arg(folder)
        .arg(std::process::id().to_string());
    // Its own group: a Ctrl-C that ends the tests must not end what clears up.
    watcher.current_dir("/").process_group(0);
    watcher
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    watcher.spawn().expect("a helper process")
}

fn database_url(database: &str) -> String {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    match std::env::var("COMANDA_TEST_POSTGRES") {
        Ok(base) => format!("{}/{database}", base.trim_end_matches('/')),
        Err(_) => SERVER.get_or_init(TestServer::start).url(database),
    }
}

/// Lives in a static, which is never dropped: the pipe closes with the process.
struct TestServer {
    port: u16,
    password: String,
    _alive: Option<ChildStdin>,
}

impl TestServer {
    fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("no test server: {error:?}; {}", error.remedy()))
    }

    fn url(&self, database: &str) -> String {
        cluster::url(self.port, &self.password, database, None)
    }

    fn try_start() -> Result<Self, Error> {
        let mut folder = std::mem::ManuallyDrop::new(ScratchFolder::new());
        let account = Account::of_this_process()?;
        let layout = Layout::create(folder.path(), &account)?;
        let binaries = layout.binaries(None, None)?;
        layout.initialise(&binaries, &account)?;
        let password = secret::read(&layout.password())?;
        // Between finding a free port and using it, another process may take it.
        let mut tries = 0;
        let port = loop {
            let port = port::free()?;
            let (layout, binaries, account) = (layout.clone(), binaries.clone(), account.clone());
            tries += 1;
            match launch(&Launch {
                layout,
                binaries,
                account,
                port,
                options: Options {
                    connections: 400,
                    durability: Durability::Throwaway,
                    shared_buffers_mb: None,
                    tls: None,
                    following: None,
                    recovering: None,
                },
            }) {
                Ok(()) => break port,
                Err(Error::PortInUse { .. }) if tries < 10 => {}
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            port,
            password,
            _alive: folder.watcher.stdin.take(),
        })
    }
}

fn launch(launch: &Launch) -> Result<(), Error> {
    let (mut command, log_begins) = launch.command()?;
    let mut server = command.spawn().map_err(Error::io("run", &launch.program()))?;
    let pid = i32::try_from(server.id()).ok();
    let limit = Duration::from_secs(60);
    let give_up = Instant::now() + limit;
    while !PidFile::read(&launch.layout.cluster()).is_some_and(|it| it.ready && Some(it.pid) == pid) {
        if server.try_wait().is_ok_and(|status| status.is_some()) {
            return Err(launch.failure(log_begins));
        }
        if Instant::now() > give_up {
            return Err(Error::NotReady {
                log: launch.layout.log(),
                seconds: limit.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
