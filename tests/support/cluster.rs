//! The cluster that `make cluster` starts, on disks that forget: several processes of each role, real
//! Kafka, standbys, nginx.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use cluster::{Cluster, Config};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::platform::{BINARY, Databases};
use super::topology::Topology;

/// Clusters take turns: one has some twenty processes, and two at once on a small machine would mostly
/// show how each does without a processor.
static TURN: Mutex<()> = Mutex::const_new(());

/// A running cluster, ended with everything of it when dropped.
#[derive(Debug)]
pub(crate) struct OnCluster {
    /// Dropped before its folder.
    pub(crate) cluster: Cluster,
    url: String,
    databases: Databases,
    folder: TempDir,
    /// Given back when everything has ended.
    _turn: MutexGuard<'static, ()>,
}

impl OnCluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts it, changed, when no other runs.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let turn = TURN.lock().await;
        let folder = TempDir::with_prefix("comanda-cluster-").expect("a folder");
        // PostgreSQL runs as a user of its own under root and must be able to enter.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let jars = local_kafka::testing::jars().expect("Kafka's jars");
        let mut config = Config::throwaway(folder.path().join("data"), BINARY, jars);
        config.seed = true;
        change(&mut config);
        let cluster = Cluster::start(config).await.expect("the cluster starts");
        let info = cluster.info().expect("what runs");
        Self {
            url: info.url,
            databases: Databases {
                shards: info.databases.shards,
                read_store: info.databases.read_store,
                replicas: info.databases.read_store_replicas,
            },
            cluster,
            folder,
            _turn: turn,
        }
    }

    /// The binary with the cluster's settings and an environment of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.cluster.comanda();
        command.args(arguments).stdin(Stdio::null());
        command
    }
}

impl Topology for OnCluster {
    fn url(&self) -> &str {
        &self.url
    }

    fn databases(&self) -> &Databases {
        &self.databases
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn comanda(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.args(["--url", &self.url]).output().expect("the binary runs")
    }
}
