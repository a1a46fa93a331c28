//! What is kept of a cluster between starts: its id, its ports, and per node a folder.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Config;
use crate::node::NodeId;
use crate::{Error, port};

/// The ports of one node, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) controller: u16,
    pub(crate) secure: u16,
}

/// A cluster's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    pub(crate) ports: Vec<Ports>,
}

impl Identity {
    /// Kafka's ids: 16 bytes in URL-safe Base64. Its tools read one that begins with a dash as an option.
    pub(crate) fn fresh(nodes: u8) -> Self {
        let cluster_id = loop {
            let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
            if !id.starts_with('-') {
                break id;
            }
        };
        let ports = port::free(usize::from(nodes) * 3);
        let ports = ports.chunks_exact(3).map(|it| Ports {
            plain: it[0],
            controller: it[1],
            secure: it[2],
        });
        Self {
            cluster_id,
            ports: ports.collect(),
        }
    }

    /// What an earlier start left, if there was one.
    pub(crate) fn read(config: &Config) -> Result<Option<Self>, Error> {
        let Ok(text) = std::fs::read_to_string(file(&config.folder)) else {
            return Ok(None);
        };
        let Some(found) = Self::parse(&text) else {
            return Ok(None);
        };
        let wanted = usize::from(config.nodes);
        if found.ports.len() != wanted {
            let folder = config.folder.clone();
            return Err(Error::OtherTopology {
                folder,
                found: found.ports.len(),
                wanted,
            });
        }
        Ok(Some(found))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = file(folder);
        std::fs::write(&path, self.print()).map_err(Error::io("write", &path))
    }

    fn print(&self) -> String {
        let ports = self
            .ports
            .iter()
            .map(|it| format!("{} {} {}\n", it.plain, it.controller, it.secure));
        format!("{}\n{}", self.cluster_id, ports.collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let cluster_id = lines.next()?.to_owned();
        let ports = lines.map(|line| {
            let mut numbers = line.split(' ').map_while(|it| it.parse().ok());
            Some(Ports {
                plain: numbers.next()?,
                controller: numbers.next()?,
                secure: numbers.next()?,
            })
        });
        Some(Self {
            cluster_id,
            ports: ports.collect::<Option<_>>()?,
        })
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("cluster")
}

pub(crate) fn of_node(folder: &Path, id: NodeId) -> PathBuf {
    folder.join(format!("node-{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_written() {
        let identity = Identity::fresh(3);
        assert_eq!(Identity::parse(&identity.print()), Some(identity.clone()));
        let mut ports: Vec<_> = identity
            .ports
            .iter()
            .flat_map(|it| [it.plain, it.controller, it.secure])
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9, "every port is used once");
        assert_eq!(identity.cluster_id.len(), 22);
    }

    #[test]
    fn a_cluster_of_another_size_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        Identity::fresh(3).write(folder.path()).unwrap();
        let other = Identity::read(&Config::new(folder.path(), "", 1));
        assert!(
            matches!(
                other,
                Err(Error::OtherTopology {
                    found: 3,
                    wanted: 1,
                    ..
                })
            ),
            "{other:?}"
        );
        assert!(Identity::read(&Config::new(folder.path(), "", 3)).unwrap().is_some());
    }
}
