//! The shipped binary as a user runs it: `comanda up` on a fresh folder and a free port.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tempfile::TempDir;

use super::eventually;
use super::topology::Topology;

/// Where the platform keeps what it knows.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Databases {
    pub(crate) shards: Vec<String>,
    pub(crate) read_store: String,
    /// Standbys of the read store.
    #[serde(default)]
    pub(crate) replicas: Vec<String>,
}

impl Databases {
    /// Everything that answers queries.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.read_store).chain(&self.replicas)
    }
}

/// What the platform writes down about itself while it runs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) url: String,
    pub(crate) databases: Databases,
}

/// A running platform, ended with its PostgreSQL when dropped.
#[derive(Debug)]
pub(crate) struct Platform {
    folder: TempDir,
    port: u16,
    process: Child,
    environment: Vec<(String, String)>,
    pub(crate) run: RunFile,
}

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_comanda");

impl Platform {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with additional environment variables.
    pub(crate) async fn start_with(environment: &[(&str, &str)]) -> Self {
        Self::start_in(Self::new_folder(), environment).await
    }

    /// A folder that a platform can be started in; its data lies in `data` there.
    pub(crate) fn new_folder() -> TempDir {
        let folder = TempDir::with_prefix("comanda-").expect("a folder");
        // PostgreSQL runs as a user of its own under root and must be able to enter.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        folder
    }

    /// Starts on what lies in the folder.
    pub(crate) async fn start_in(folder: TempDir, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let process = spawn(folder.path(), port, &environment);
        let run = await_ready(folder.path(), port).await;
        Self {
            folder,
            port,
            process,
            environment,
            run,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the process has printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// kill -9 of the platform's process. Its PostgreSQL lives on.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }

    /// kill -9 of every process of the platform's PostgreSQL.
    pub(crate) fn kill_postgres(&self) {
        kill_processes_of(&self.data());
    }

    /// Starts again on the same folder and port.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.folder.path(), self.port, &self.environment);
        self.run = await_ready(self.folder.path(), self.port).await;
    }

    /// Waits until the platform says that every part works.
    pub(crate) async fn ready(&self) {
        await_ready(self.folder.path(), self.port).await;
    }

    /// Asks the process to end, as an init system would.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("signalled");
        let process = &mut self.process;
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        loop {
            if let Some(status) = process.try_wait().expect("a status") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running a minute after SIGTERM");
            pause.tick().await;
        }
    }

    /// Processes of the platform's PostgreSQL that are alive.
    pub(crate) fn postgres_processes(&self) -> Vec<i32> {
        processes_of(&self.data())
    }
}

impl Topology for Platform {
    fn url(&self) -> &str {
        &self.run.url
    }

    fn databases(&self) -> &Databases {
        &self.run.databases
    }

    fn folder(&self) -> PathBuf {
        self.data()
    }

    fn comanda(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .stdin(Stdio::null());
        command.output().expect("the binary runs")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        kill_processes_of(&self.data());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("the end of the platform's log:");
            for line in tail.iter().rev() {
                eprintln!("  {line}");
            }
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

fn spawn(folder: &Path, port: u16, environment: &[(String, String)]) -> Child {
    let log = |name: &str| {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(name))
            .expect("a log")
    };
    Command::new(BINARY)
        .args(["up", "--port", &port.to_string(), "--data"])
        .arg(folder.join("data"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log("stdout"))
        .stderr(log("stderr"))
        .spawn()
        .expect("the platform starts")
}

async fn await_ready(folder: &Path, port: u16) -> RunFile {
    let health = format!("http://127.0.0.1:{port}/health/ready");
    let run = folder.join("data/run.json");
    let log = folder.join("stderr");
    eventually(Duration::from_secs(90), || async {
        let response = reqwest::get(&health).await.map_err(|error| {
            format!(
                "{error}; its log ends: {}",
                fs::read_to_string(&log)
                    .unwrap_or_default()
                    .chars()
                    .rev()
                    .take(600)
                    .collect::<String>()
                    .chars()
                    .rev()
                    .collect::<String>()
            )
        })?;
        if !response.status().is_success() {
            return Err(response.text().await.unwrap_or_default());
        }
        let text = fs::read(&run).map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    })
    .await
}

/// PostgreSQL processes that work in this folder.
fn processes_of(data: &Path) -> Vec<i32> {
    let Ok(data) = data.canonicalize() else { return vec![] };
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
            let inside = fs::read_link(at("cwd")).is_ok_and(|folder| folder.starts_with(&data));
            inside && fs::read_to_string(at("comm")).is_ok_and(|name| name.starts_with("postgres"))
        })
        .collect()
}

fn kill_processes_of(data: &Path) {
    for pid in processes_of(data) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
