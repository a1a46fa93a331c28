//! TLS to PostgreSQL: whom the server lets in, and whom clients believe.
#![expect(clippy::unwrap_used, reason = "a test helper that fails has failed the test")]
use std::path::{Path, PathBuf};
use std::process::Command;

use local_postgres::testing::{ScratchFolder, throwaway};
use local_postgres::{Config, Server, Standby, Tls};
use sqlx::{Connection, PgConnection};

fn openssl(folder: &Path, arguments: &str) {
    let run = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// An authority of its own; returns its certificate.
fn authority(folder: &Path, name: &str) -> PathBuf {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
             -addext basicConstraints=critical,CA:TRUE -keyout {name}.key -out {name}.crt"
        ),
    );
    folder.join(format!("{name}.crt"))
}

fn certificate_of(folder: &Path, authority: &str, names: &str) -> (PathBuf, PathBuf) {
    std::fs::write(folder.join("names"), format!("subjectAltName={names}\n")).unwrap();
    openssl(
        folder,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr",
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in server.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -days 2 \
             -extfile names -out server.crt"
        ),
    );
    (folder.join("server.crt"), folder.join("server.key"))
}

#[tokio::test]
async fn clients_believe_the_right_authority_only_and_nobody_gets_in_without_tls() {
    let folder = ScratchFolder::new();
    let (ours, other) = (authority(folder.path(), "ours"), authority(folder.path(), "other"));
    let (certificate, key) = certificate_of(folder.path(), "ours", "IP:127.0.0.1,DNS:localhost");
    let tls = Tls {
        certificate,
        key,
        authority: ours,
    };
    let with_tls = |data: &str| Config {
        tls: Some(tls.clone()),
        ..throwaway(folder.path().join(data))
    };
    let server = Server::start(with_tls("primary")).await.unwrap();
    server.ensure_database("shop").await.unwrap();
    let url = server.url("shop");
    assert!(url.contains("sslmode=verify-full"), "{url}");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert!(
        sqlx::query_scalar::<_, bool>(encrypted)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    );

    let (base, _) = url.split_once('?').unwrap();
    let strangers = format!("{base}?sslmode=verify-full&sslrootcert={}", other.display());
    let refused = PgConnection::connect(&strangers).await.unwrap_err();
    assert!(matches!(refused, sqlx::Error::Tls(_)), "{refused:?}");
    let plain = PgConnection::connect(&format!("{base}?sslmode=disable"))
        .await
        .unwrap_err();
    assert!(plain.to_string().contains("no encryption"), "{plain}");

    let standby = Standby::start(&server, "reads", with_tls("reads")).await.unwrap();
    assert!(PgConnection::connect(&standby.url("shop")).await.is_ok());
    standby.stop().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let folder = ScratchFolder::new();
    let ours = authority(folder.path(), "ours");
    let (certificate, key) = certificate_of(folder.path(), "ours", "DNS:elsewhere.example");
    let tls = Some(Tls {
        certificate,
        key,
        authority: ours,
    });
    let config = Config {
        tls,
        ..throwaway(folder.path().join("primary"))
    };
    let server = Server::start(config).await.unwrap();
    let refused = PgConnection::connect(&server.url("postgres")).await.unwrap_err();
    assert!(matches!(refused, sqlx::Error::Tls(_)), "{refused:?}");
    let anyone = server.url("postgres").replace("verify-full", "verify-ca");
    assert!(PgConnection::connect(&anyone).await.is_ok());
    server.stop().await.unwrap();
}
