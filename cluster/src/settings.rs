//! The one settings file of the topology. `docker compose` mounts the same text with other
//! addresses, which a test compares.

use std::fmt::Write;
use std::path::PathBuf;

/// What differs from one place to another. Secrets are named by file only.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Holds a file `<name>-url` per database, and `token-secret`.
    pub secrets: PathBuf,
    pub shards: Vec<i16>,
    /// Standbys of the read store.
    pub replicas: Vec<String>,
    pub bootstrap_servers: String,
    pub partitions: u16,
    pub replication: u8,
    pub min_insync: u8,
    /// Where the APIs listen, if not on this machine only.
    pub host: Option<&'static str>,
}

/// The topic's name, as everywhere.
pub(crate) const TOPIC: &str = "comanda.events.v1";

impl Topology {
    /// The topology of docker-compose.yml.
    pub fn compose() -> Self {
        Self {
            secrets: PathBuf::from("/run/comanda"),
            shards: vec![0, 1, 2, 3],
            replicas: vec!["read-1".to_owned(), "read-2".to_owned()],
            bootstrap_servers: "kafka-1:9092,kafka-2:9092,kafka-3:9092".to_owned(),
            partitions: 64,
            replication: 3,
            min_insync: 2,
            host: Some("0.0.0.0"),
        }
    }

    /// The settings file.
    pub fn render(&self) -> String {
        let mut text = String::from(HEAD);
        if let Some(host) = self.host {
            let _ = write!(text, "\n[http]\nhost = {}\n", quoted(host));
        }
        let _ = write!(
            text,
            "\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret_file = {}\n",
            self.file("token-secret")
        );
        let _ = write!(
            text,
            "\n[control]\nurl_file = {}\nconnections = 2\n",
            self.file("control-url")
        );
        // Nine processes share two servers, each with a pool per shard.
        text.push_str("\n[event_store]\nconnections = 6\nshards = [\n");
        for id in &self.shards {
            let _ = writeln!(
                text,
                "    {{ id = {id}, url_file = {} }},",
                self.file(&format!("shard-{id}-url"))
            );
        }
        let _ = write!(
            text,
            "]\n\n[[read_stores]]\nname = \"main\"\nurl_file = {}\nconnections = 8\nreplicas = [\n",
            self.file("read-0-url")
        );
        for name in &self.replicas {
            let _ = writeln!(
                text,
                "    {{ name = {}, url_file = {} }},",
                quoted(name),
                self.file(&format!("{name}-url"))
            );
        }
        let _ = write!(
            text,
            "]\n\n[kafka]\nbootstrap = {}\n\n[kafka.topic]\nname = {}\npartitions = {}\nreplication = {}\nmin_insync = {}\n",
            quoted(&self.bootstrap_servers),
            quoted(TOPIC),
            self.partitions,
            self.replication,
            self.min_insync,
        );
        text.push_str(TAIL);
        text
    }

    fn file(&self, name: &str) -> String {
        quoted(&self.secrets.join(name).to_string_lossy())
    }
}

const HEAD: &str = "\
# The whole topology: every process reads this file and takes its part. Written by comanda-cluster;
# what is not here has its default, see comanda.example.toml.
";

const TAIL: &str = "
[projector]
feed = \"kafka\"
read_store = \"main\"

[log]
format = \"json\"
";

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn given_odd_paths_then_the_text_stays_one_string() {
        assert_eq!(quoted("a \"b\" \\c\n"), "\"a \\\"b\\\" \\\\c\\u000A\"");
    }
}
