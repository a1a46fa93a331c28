//! A key set over HTTPS: whose certificate is believed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use service::health::Status;
use service::settings::AuthSettings;

use crate::auth_jwks::{Following, by_url, ed, jwk, set};

/// An authority that is its own server, for the host given.
fn certificate(folder: &Path, name: &str, host: &str) {
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
         -addext subjectAltName={host} -keyout {name}.key -out {name}.crt"
    );
    let run = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Serves the files of a folder.
struct Server {
    process: Child,
    address: String,
    /// It tells what it serves.
    _told: BufReader<ChildStdout>,
}

impl Server {
    fn start(folder: &Path, name: &str) -> Self {
        let arguments = format!("s_server -accept 127.0.0.1:0 -cert {name}.crt -key {name}.key -WWW");
        let mut process = Command::new("openssl")
            .current_dir(folder)
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(process.stdout.take().unwrap());
        let mut lines = told.by_ref().lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
        Self {
            process,
            address: address.expect("an address"),
            _told: told,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn given_a_private_authority_then_it_is_believed_for_its_own_host_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    certificate(path, "ours", "IP:127.0.0.1");
    certificate(path, "other", "IP:127.0.0.1");
    certificate(path, "elsewhere", "DNS:elsewhere.example");
    std::fs::write(path.join("jwks.json"), set(&[jwk("one", "ed25519.pem")])).unwrap();
    let (ours, elsewhere) = (Server::start(path, "ours"), Server::start(path, "elsewhere"));
    let follow = |server: &Server, authority: Option<&str>| {
        Following::start(AuthSettings {
            jwks_ca_file: authority.map(|name| path.join(format!("{name}.crt"))),
            ..by_url(format!("https://{}/jwks.json", server.address), 20)
        })
    };
    for (server, authority) in [(&ours, Some("other")), (&ours, None), (&elsewhere, Some("elsewhere"))] {
        let following = follow(server, authority);
        following.until_trouble("the key set cannot be fetched").await;
        assert!(!following.accepts(&ed("one")), "{authority:?}");
    }
    let following = follow(&ours, Some("ours"));
    following.until(Status::Ok).await;
    assert!(following.accepts(&ed("one")));
}
