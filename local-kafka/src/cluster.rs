//! All nodes together.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::task::JoinSet;

use crate::config::Config;
use crate::folder::{self, Identity, Ports};
use crate::node::{Node, NodeId};
use crate::watch::{Afterwards, Watcher};
use crate::{Error, java, properties};

/// A running cluster. Dropping it kills the nodes; [`Cluster::stop`] ends them in order.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    ports: Vec<Ports>,
    folder: PathBuf,
    /// Ends last: it waits for the nodes.
    _watcher: Watcher,
}

impl Cluster {
    /// Starts the cluster that the folder holds, or a new one; ready when this returns.
    ///
    /// # Errors
    /// Where Java or the jars are missing, or a node does not start.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_with(config, Afterwards::Keep).await
    }

    pub(crate) async fn start_with(mut config: Config, afterwards: Afterwards) -> Result<Self, Error> {
        config.check()?;
        std::fs::create_dir_all(&config.folder).map_err(Error::io("create", &config.folder))?;
        // Processes are told apart by the folder they work in, as the kernel writes it.
        config.folder = config
            .folder
            .canonicalize()
            .map_err(Error::io("find", &config.folder))?;
        // What a killed process left behind ends before anything starts on its data.
        if afterwards == Afterwards::Keep {
            drop(Watcher::of(&config.folder, Afterwards::Keep)?);
        }
        let watcher = Watcher::of(&config.folder, afterwards)?;
        let kept = Identity::read(&config)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let identity = kept.clone().unwrap_or_else(|| Identity::fresh(config.nodes));
            match Self::start_nodes(&config, &identity, kept.is_none()).await {
                Ok(nodes) => {
                    identity.write(&config.folder)?;
                    return Ok(Self {
                        nodes,
                        ports: identity.ports,
                        folder: config.folder,
                        _watcher: watcher,
                    });
                }
                // Between finding a free port and using it, another process may take it.
                Err(error) if error.is_port_taken() && kept.is_none() && tries < 5 => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn start_nodes(config: &Config, identity: &Identity, fresh: bool) -> Result<Vec<Node>, Error> {
        let ids = (1..=config.nodes).map(NodeId);
        let nodes: Vec<_> = ids
            .zip(&identity.ports)
            .map(|(id, ports)| node(config, id, *ports))
            .collect();
        let mut formats = JoinSet::new();
        for node in &nodes {
            write_settings(config, identity, node, fresh)?;
            let (config, id) = (config.clone(), node.id);
            let (folder, cluster_id) = (node.folder.clone(), identity.cluster_id.clone());
            if fresh {
                // It waits for a process, and keeps a thread busy meanwhile.
                formats.spawn_blocking(move || format(&config, id, &folder, &cluster_id));
            }
        }
        while let Some(formatted) = formats.join_next().await {
            formatted.map_err(|error| Error::io("format", &config.folder)(error.into()))??;
        }
        for node in &nodes {
            node.spawn()?;
        }
        for node in &nodes {
            node.ready().await?;
        }
        Ok(nodes)
    }

    /// The open listeners of all nodes, as `bootstrap.servers` wants them.
    pub fn bootstrap(&self) -> String {
        self.addresses(|ports| ports.plain)
    }

    /// The listeners with TLS and SASL, where [`Config::secure`] asked for them.
    pub fn secure_bootstrap(&self) -> String {
        self.addresses(|ports| ports.secure)
    }

    fn addresses(&self, port: impl Fn(&Ports) -> u16) -> String {
        let addresses = self.ports.iter().map(|ports| format!("127.0.0.1:{}", port(ports)));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Node `id`, from 1.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`].
    pub fn node(&self, id: u8) -> Result<&Node, Error> {
        self.nodes
            .iter()
            .find(|node| node.id.0 == id)
            .ok_or(Error::NoSuchNode(NodeId(id)))
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends all nodes in order. They stop together: one that stops alone in the end would wait for
    /// a quorum that is gone.
    ///
    /// # Errors
    /// Only where the kernel refuses to signal one.
    pub async fn stop(self) -> Result<(), Error> {
        let stops = self.nodes.into_iter().map(|node| async move { node.stop().await });
        let mut all = JoinSet::new();
        stops.for_each(|stop| {
            all.spawn(stop);
        });
        while let Some(stopped) = all.join_next().await {
            stopped.map_err(|error| Error::io("stop", &self.folder)(error.into()))??;
        }
        Ok(())
    }
}

fn node(config: &Config, id: NodeId, ports: Ports) -> Node {
    let folder = folder::of_node(&config.folder, id);
    Node::new(id, config.jars.clone(), config.heap_mb, folder, ports.plain)
}

fn write_settings(config: &Config, identity: &Identity, node: &Node, fresh: bool) -> Result<(), Error> {
    let (folder, data) = (&node.folder, node.folder.join("data"));
    if fresh && folder.exists() {
        std::fs::remove_dir_all(folder).map_err(Error::io("clear", folder))?;
    }
    std::fs::create_dir_all(&data).map_err(Error::io("create", &data))?;
    let settings = folder.join("server.properties");
    let text = properties::of_node(config, node.id, &identity.ports, &data);
    std::fs::write(&settings, text).map_err(Error::io("write", &settings))
}

fn format(config: &Config, id: NodeId, folder: &Path, cluster_id: &str) -> Result<(), Error> {
    let mut tool = java::command(&config.jars, 64, "kafka.tools.StorageTool")?;
    tool.args(["format", "--cluster-id", cluster_id, "--config", "server.properties"]);
    if let Some(secure) = &config.secure {
        let (name, password) = (&secure.username, &secure.password);
        tool.arg("--add-scram")
            .arg(format!("SCRAM-SHA-512=[name={name},password={password}]"));
    }
    let said = tool
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("format", folder))?;
    if said.status.success() {
        return Ok(());
    }
    let output = [said.stdout, said.stderr].concat();
    Err(Error::Format {
        node: id,
        output: String::from_utf8_lossy(&output).trim().to_owned(),
    })
}
