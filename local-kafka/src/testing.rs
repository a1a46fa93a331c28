//! Throwaway clusters for tests, gone with the test process even when it is killed.
//!
//! The jars are brought by `scripts/kafka-jars` on the first use.
#![expect(
    clippy::expect_used,
    reason = "a test that gets no cluster has failed; there is nobody to recover"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::Error;
use crate::cluster::Cluster;
use crate::config::{Config, Secure};
use crate::watch::Afterwards;

/// A cluster of `nodes` with nothing in it. Dropping it ends it and removes its data.
pub async fn cluster(nodes: u8) -> Cluster {
    start(config(nodes)).await
}

/// Like [`cluster`], with settings of one's own; see [`config`].
pub async fn start(config: Config) -> Cluster {
    Cluster::start_with(config, Afterwards::Remove)
        .await
        .unwrap_or_else(|error| panic!("no Kafka: {error}"))
}

/// A single node that all tests of the process share; each takes topics of its own.
pub async fn shared() -> &'static Cluster {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED.get_or_init(|| cluster(1)).await
}

/// The settings of a throwaway cluster in a new folder.
pub fn config(nodes: u8) -> Config {
    let jars = jars().unwrap_or_else(|error| panic!("no Kafka: {error}"));
    let folder = tempfile::Builder::new()
        .prefix("comanda-kafka-")
        .tempdir()
        .expect("a scratch folder");
    Config {
        broker_session: Duration::from_secs(3),
        ..Config::new(folder.keep(), jars, nodes)
    }
}

/// A single node with TLS and SASL/SCRAM, and what its clients need.
#[derive(Debug)]
pub struct SecureCluster {
    pub cluster: Cluster,
    /// PEM: the certificate that signs the broker's.
    pub ca_file: PathBuf,
    pub username: String,
    pub password: String,
}

/// See [`SecureCluster`]. Needs the program `openssl`.
pub async fn secure() -> SecureCluster {
    let mut config = config(1);
    let (key_and_certificate, ca_file) = certificate(&config.folder);
    let secure = Secure {
        key_and_certificate,
        username: "relay".to_owned(),
        password: "not-a-secret".to_owned(),
    };
    config.secure = Some(secure.clone());
    SecureCluster {
        cluster: start(config).await,
        ca_file,
        username: secure.username,
        password: secure.password,
    }
}

/// A certificate for 127.0.0.1 that is its own authority.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate, both) = (folder.join("key.pem"), folder.join("ca.pem"), folder.join("broker.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let said = openssl.stdin(Stdio::null()).output().expect("openssl");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let read = |path| std::fs::read_to_string(path).expect("what openssl wrote");
    std::fs::write(&both, read(&key) + &read(&certificate)).expect("write the broker's key");
    (both, certificate)
}

/// The folder of Kafka's jars, brought where they are missing.
///
/// # Errors
///
/// Without Maven or a repository to fetch from.
pub fn jars() -> Result<PathBuf, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka-jars");
    let said = Command::new(&script)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run", &script))?;
    if !said.status.success() {
        let reason = String::from_utf8_lossy(&said.stderr).trim().to_owned();
        return Err(Error::NoJars { reason });
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()))
}
