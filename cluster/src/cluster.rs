//! All of it together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::{try_join, try_join_all};

use crate::config::{Config, Role};
use crate::folder::{self, Folder, Lock};
use crate::info::{Info, Kafka};
use crate::postgres::Servers;
use crate::process::Process;
use crate::settings::{TOPIC, Topology};
use crate::watch::Watcher;
use crate::{Error, Gateway, Memory, Postgres, leftovers, memory, nginx, ports, ready, secrets};

/// Until every process is ready, with whatever it has to catch up with.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A running cluster. [`Cluster::stop`] ends it in order; dropping it ends it as fast as its data
/// allow. Either way nothing is left running.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    folder: Folder,
    processes: Vec<Process>,
    /// None once it is being ended.
    servers: Option<Servers>,
    kafka: Option<local_kafka::Cluster>,
    secrets: Vec<PathBuf>,
    /// These end last, in this order.
    _watcher: Watcher,
    _lock: Lock,
}

impl Cluster {
    /// Starts the cluster that the folder holds, or a new one. When this returns, every process is
    /// ready, and `cluster.json` says where it is.
    ///
    /// # Errors
    /// Where something is missing or does not start; [`Error::AlreadyRunning`]. What was started is
    /// ended again.
    pub async fn start(mut config: Config) -> Result<Self, Error> {
        let folder = Folder::create(&config.folder)?;
        config.binary = found(&config.binary, "run `make build`")?;
        config.jars = found(&config.jars, "run `scripts/kafka-jars`")?;
        let nginx = nginx::program()?;
        let lock = folder.lock()?;
        clear(&folder).await?;
        let watcher = Watcher::of(&folder.workplaces())?;

        let kafka = async {
            let kafka = local_kafka::Cluster::start(kafka_config(&config, &folder)).await;
            kafka.map_err(Error::from)
        };
        let databases = async {
            let servers = Servers::start(&config, &folder).await?;
            let secrets = write_secrets(&folder, &servers)?;
            write_settings(&config, &folder, &servers, None)?;
            migrate(&config, &folder).await?;
            Ok((servers, secrets))
        };
        let (kafka, (servers, secrets)) = try_join(kafka, databases).await?;
        write_settings(&config, &folder, &servers, Some(&kafka))?;
        let cluster = Self {
            processes: processes(&config, &folder, nginx),
            config,
            folder,
            servers: Some(servers),
            kafka: Some(kafka),
            secrets,
            _watcher: watcher,
            _lock: lock,
        };
        cluster.start_processes().await?;
        if cluster.config.seed {
            cluster.seed().await?;
        }
        cluster.await_ready().await?;
        cluster.write_info()?;
        Ok(cluster)
    }

    async fn start_processes(&self) -> Result<(), Error> {
        let of_roles = |roles: &'static [Role]| {
            let all = self.processes.iter();
            all.filter(move |process| roles.contains(&process.role))
                .collect::<Vec<_>>()
        };
        // A relay makes the topic that projectors read; until it is there they would only ask.
        let first = of_roles(&[Role::CommandApi, Role::QueryApi, Role::OpsApi, Role::Relay, Role::Nginx]);
        for process in &first {
            process.spawn()?;
        }
        ready::all(&of_roles(&[Role::Relay]), READY_LIMIT).await?;
        let projectors = of_roles(&[Role::Projector]);
        for process in &projectors {
            process.spawn()?;
        }
        try_join_all(first.iter().chain(&projectors).map(|process| process.answers())).await?;
        ready::all(&of_roles(&[Role::CommandApi]), READY_LIMIT).await
    }

    /// Where clients go.
    pub fn url(&self) -> String {
        let nginx = self.processes.iter().find(|process| process.role == Role::Nginx);
        nginx.map(Process::url).unwrap_or_default()
    }

    /// Where everything is, as `cluster.json` says it.
    ///
    /// # Errors
    /// [`Error::NoSuch`] where the cluster is being ended.
    pub fn info(&self) -> Result<Info, Error> {
        let servers = self.servers()?;
        let kafka = self.kafka()?;
        let mut processes: Vec<_> = self.processes.iter().map(Process::info).collect();
        processes.extend(kafka.nodes().iter().map(of_node));
        processes.extend(servers.all().iter().map(|server| server.info()));
        Ok(Info {
            url: self.url(),
            supervisor: std::process::id(),
            processes,
            kafka: Kafka {
                bootstrap_servers: kafka.bootstrap(),
                topic: TOPIC.to_owned(),
            },
            databases: servers.databases()?,
            settings: self.folder.settings(),
            secrets: self.secrets.clone(),
        })
    }

    /// Writes `cluster.json` anew.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_info(&self) -> Result<(), Error> {
        self.info()?.write(&self.folder.info())
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A process by its name: `command-api-1`, `relay-2`, `projector-3`, `query-api-1`, `nginx`.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub fn process(&self, name: &str) -> Result<&Process, Error> {
        let found = self.processes.iter().find(|process| process.name == name);
        found.ok_or_else(|| Error::NoSuch(name.to_owned()))
    }

    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// A server by its name: `shards-a`, `shards-b`, `read-0`, `shards-a-standby`, `read-1`…
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub fn postgres(&self, name: &str) -> Result<&Postgres, Error> {
        self.servers()?.get(name)
    }

    /// The brokers.
    ///
    /// # Errors
    /// [`Error::NoSuch`] where the cluster is being ended.
    pub fn kafka(&self) -> Result<&local_kafka::Cluster, Error> {
        self.kafka.as_ref().ok_or_else(|| Error::NoSuch("kafka".to_owned()))
    }

    fn servers(&self) -> Result<&Servers, Error> {
        let servers = self.servers.as_ref();
        servers.ok_or_else(|| Error::NoSuch("postgres".to_owned()))
    }

    /// A token of this tenant's, from `comanda token`, with all rights but operating the platform.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub async fn token(&self, tenant: &str) -> Result<String, Error> {
        let mut command = self.comanda();
        command.args(["token", "--tenant", tenant]);
        run(command).await.map_err(|output| Error::Token { output })
    }

    /// The tenant `dev`, as `comanda seed` makes it.
    async fn seed(&self) -> Result<(), Error> {
        let mut command = self.comanda();
        command.args(["seed", "--url", &self.url()]);
        let seeded = run(command).await;
        seeded.map(|_| ()).map_err(|output| Error::Seed { output })
    }

    /// The binary with this cluster's settings; a verb is to be added.
    pub fn comanda(&self) -> std::process::Command {
        comanda(&self.config, &self.folder)
    }

    /// Waits until every process is ready, nginx gets through to both APIs, and the read models
    /// have what the log had when this was called.
    ///
    /// # Errors
    /// [`Error::Died`], [`Error::NotReady`] after two minutes.
    pub async fn await_ready(&self) -> Result<(), Error> {
        let all: Vec<_> = self.processes.iter().collect();
        let (gateways, roles): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.role == Role::Nginx);
        ready::all(&roles, READY_LIMIT).await?;
        for gateway in gateways {
            ready::through(gateway, READY_LIMIT).await?;
        }
        let databases = self.servers()?.databases()?;
        ready::caught_up(&databases.shards, &databases.read_store, READY_LIMIT).await
    }

    /// Memory of every process; of PostgreSQL's and nginx's together with their helpers'.
    pub fn memory(&self) -> Vec<Memory> {
        self.info()
            .map(|info| memory::of_cluster(&info, &self.folder))
            .unwrap_or_default()
    }

    /// Starts again what ended without having been told to. (PostgreSQL is started again whether
    /// or not this is called.)
    ///
    /// # Errors
    /// Where something does not start.
    pub async fn revive(&self) -> Result<(), Error> {
        for process in self.processes.iter().filter(|process| process.died()) {
            tracing::warn!(process.name = process.name, "a process died; starting it again");
            process.spawn()?;
        }
        let nodes = self.kafka()?.nodes();
        for node in nodes.iter().filter(|node| node.pid().is_none()) {
            tracing::warn!(process.name = node_name(node), "a Kafka node died; starting it again");
            node.restart().await?;
        }
        Ok(())
    }

    /// Ends everything in order: first what clients talk to, last the databases.
    ///
    /// # Errors
    /// Where something does not end; it is killed then.
    pub async fn stop(mut self) -> Result<(), Error> {
        for roles in [
            [Role::Nginx].as_slice(),
            &[Role::CommandApi, Role::QueryApi, Role::OpsApi],
            &[Role::Relay, Role::Projector],
        ] {
            let all = self.processes.iter();
            let ends = all.filter(|process| roles.contains(&process.role)).map(ended);
            try_join_all(ends).await?;
        }
        let (kafka, servers) = (self.kafka.take(), self.servers.take());
        let kafka = async {
            match kafka {
                Some(kafka) => kafka.stop().await.map_err(Error::from),
                None => Ok(()),
            }
        };
        let servers = async {
            match servers {
                Some(servers) => servers.stop().await,
                None => Ok(()),
            }
        };
        try_join(kafka, servers).await?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.folder.info());
        self.processes.iter().for_each(Process::kill_now);
        // Before their processes end: nobody is to start them again.
        drop(self.servers.take());
        if let Err(error) = leftovers::end(&self.folder.workplaces(), self.config.throwaway) {
            tracing::error!(%error, "the cluster was not ended completely");
        }
        drop(self.kafka.take());
    }
}

async fn ended(process: &Process) -> Result<(), Error> {
    match process.terminate().await {
        Ok(_) | Err(Error::NotRunning { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a cluster that was killed left behind.
async fn clear(folder: &Folder) -> Result<(), Error> {
    let folder = folder.clone();
    let left = tokio::task::spawn_blocking(move || leftovers::clear(&folder)).await??;
    if left > 0 {
        tracing::warn!(processes = left, "ended what an earlier cluster had left running");
    }
    Ok(())
}

fn found(path: &Path, remedy: &'static str) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|_| Error::Missing {
        path: path.to_owned(),
        remedy,
    })
}

fn kafka_config(config: &Config, folder: &Folder) -> local_kafka::Config {
    local_kafka::Config {
        heap_mb: config.heap_mb,
        ..local_kafka::Config::new(folder.kafka(), &config.jars, config.brokers)
    }
}

fn write_secrets(folder: &Folder, servers: &Servers) -> Result<Vec<PathBuf>, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let place = folder.secrets();
    let mut private = std::fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(&place);
    made.map_err(Error::io("create", &place))?;
    let databases = servers.databases()?;
    let mut urls = vec![
        ("control-url".to_owned(), databases.control),
        ("read-0-url".to_owned(), databases.read_store),
    ];
    let shards = databases.shards.into_iter().enumerate();
    urls.extend(shards.map(|(id, url)| (format!("shard-{id}-url"), url)));
    let standbys = servers.read_standbys().into_iter();
    urls.extend(standbys.map(|(name, url)| (format!("{name}-url"), url)));
    let mut files = vec![secrets::ensure_token_secret(&place)?];
    files.extend(secrets::write(&place, &urls)?);
    Ok(files)
}

/// The settings; before Kafka runs, without its address, which preparing databases does not need.
fn write_settings(
    config: &Config,
    folder: &Folder,
    servers: &Servers,
    kafka: Option<&local_kafka::Cluster>,
) -> Result<(), Error> {
    let replication = config.brokers.min(3);
    let topology = Topology {
        secrets: folder.secrets(),
        shards: (0..).take(servers.databases()?.shards.len()).collect(),
        replicas: servers.read_standbys().into_iter().map(|(name, _)| name).collect(),
        bootstrap_servers: kafka.map(local_kafka::Cluster::bootstrap).unwrap_or_default(),
        partitions: config.partitions,
        replication,
        min_insync: replication.saturating_sub(1).max(1),
        host: None,
    };
    folder::write_private(&folder.settings(), &topology.render())
}

fn comanda(config: &Config, folder: &Folder) -> std::process::Command {
    let mut command = std::process::Command::new(&config.binary);
    command.arg("--config").arg(folder.settings());
    // Not where a settings file of somebody's may lie.
    command.current_dir(folder.home());
    command
}

async fn migrate(config: &Config, folder: &Folder) -> Result<(), Error> {
    let mut command = comanda(config, folder);
    command.arg("migrate");
    let done = run(command).await;
    done.map(|_| ()).map_err(|output| Error::Migrate { output })
}

/// What it prints, or what it says where it fails.
async fn run(command: std::process::Command) -> Result<String, String> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn processes(config: &Config, folder: &Folder, nginx: PathBuf) -> Vec<Process> {
    let instances: Vec<_> = config.instances().collect();
    let mut free = ports::free(instances.len() + 1).into_iter();
    let settings = folder.settings().to_string_lossy().into_owned();
    let mut all = Vec::new();
    for ((role, number), port) in instances.into_iter().zip(free.by_ref()) {
        let name = format!("{role}-{number}");
        let place = folder.process(&name);
        let process = Process::new(name, role, port, config.binary.clone(), place)
            .arguments([role.name(), "--config", &settings, "--port", &port.to_string()])
            .environment(config.environment_of(role));
        all.push(process);
    }
    let ports_of = |role| {
        let its = all.iter().filter(|process| process.role == role);
        its.map(|process| process.port).collect::<Vec<_>>()
    };
    let port = config.port.or_else(|| free.next()).unwrap_or_default();
    let gateway = Gateway {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        command_apis: ports_of(Role::CommandApi),
        query_apis: ports_of(Role::QueryApi),
    };
    let place = folder.process("nginx");
    let prefix = format!("{}/", place.display());
    let nginx = Process::new("nginx".to_owned(), Role::Nginx, port, nginx, place)
        .arguments(["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"])
        .environment(config.environment_of(Role::Nginx))
        .gateway(gateway);
    all.push(nginx);
    all
}

fn node_name(node: &local_kafka::Node) -> String {
    format!("kafka-{}", node.id())
}

fn of_node(node: &local_kafka::Node) -> crate::ProcessInfo {
    let address = node.address();
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    crate::ProcessInfo {
        name: node_name(node),
        role: Role::Kafka,
        pid: node.pid(),
        port: port.unwrap_or_default(),
        url: address,
        log: node.log(),
    }
}
