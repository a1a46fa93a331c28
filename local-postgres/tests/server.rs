//! The server's life: started, killed, orphaned, adopted, stopped, refused.
//!
//! A supervising process that is to be killed is this test program again, told
//! by [`SUPERVISE`] to run [`supervising_process`] only.
#![expect(clippy::unwrap_used, reason = "a test helper that fails has failed the test")]
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use local_postgres::testing::ScratchFolder;
use local_postgres::{Config, Error, Server, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, Executor, PgConnection, Row};

const SUPERVISE: &str = "COMANDA_SUPERVISE";
const PATIENCE: Duration = Duration::from_secs(60);

fn serving(server: &Server) -> i32 {
    match *server.state().borrow() {
        State::Serving { pid } => pid,
        ref other => panic!("not serving: {other:?}"),
    }
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn is_there(pid: i32) -> bool {
    // The program of a zombie cannot be read.
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "still not so: {what}");
        std::thread::yield_now();
    }
}

async fn count(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query("select count(*) from kept")
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get(0)
}

async fn keep_a_row(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("create table if not exists kept (x int); insert into kept values (1)")
        .execute(&mut connection)
        .await
        .unwrap();
}

/// Waits for the next time the server serves, under another process number.
async fn serves_again(server: &Server, before: i32) -> i32 {
    let mut state = server.state();
    let again = |state: &State| matches!(state, State::Serving { pid } if *pid != before);
    tokio::time::timeout(PATIENCE, state.wait_for(again))
        .await
        .expect("serves again")
        .unwrap();
    serving(server)
}

#[tokio::test]
async fn data_port_and_password_outlive_a_stop() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    server.ensure_database("shop").await.unwrap();
    server.ensure_database("shop").await.unwrap();
    let (url, pid) = (server.url("shop"), serving(&server));
    keep_a_row(&url).await;
    server.stop().await.unwrap();
    assert!(!is_there(pid));

    let again = Server::start(Config::new(folder.path())).await.unwrap();
    assert_eq!(again.url("shop"), url);
    assert_eq!(count(&url).await, 1);
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_is_started_again_and_again_and_serves() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    server.ensure_database("shop").await.unwrap();
    let url = server.url("shop");
    let mut pid = serving(&server);
    for kills in 1..=3 {
        keep_a_row(&url).await;
        kill_9(pid);
        pid = serves_again(&server, pid).await;
        assert_eq!(count(&url).await, kills);
    }
    server.stop().await.unwrap();
    assert!(!is_there(pid));
}

#[tokio::test]
async fn clients_busy_at_the_time_of_the_kill_do_not_keep_it_from_starting() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    let pid = serving(&server);
    let mut busy = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let backend: i32 = sqlx::query("select pg_backend_pid()")
        .fetch_one(&mut busy)
        .await
        .unwrap()
        .get(0);
    // This never looks whether its server is still there.
    let endless = "do $$ begin loop end loop; end $$";
    let running = tokio::spawn(async move { busy.execute(endless).await.map(|_| ()) });
    let mut watcher = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let give_up = Instant::now() + PATIENCE;
    let active = "select state = 'active' from pg_stat_activity where pid = $1";
    while !sqlx::query_scalar::<_, bool>(active)
        .bind(backend)
        .fetch_one(&mut watcher)
        .await
        .unwrap()
    {
        assert!(Instant::now() < give_up);
    }
    kill_9(pid);
    serves_again(&server, pid).await;
    assert!(running.await.unwrap().is_err());
    assert!(!is_there(backend));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_password_opens_the_server() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    let url = server.url("postgres");
    let (_, rest) = url.split_once('@').unwrap();
    for stranger in ["comanda", "comanda:guess", "postgres"] {
        assert!(
            PgConnection::connect(&format!("postgres://{stranger}@{rest}"))
                .await
                .is_err(),
            "{stranger}"
        );
    }
    let password = std::fs::metadata(folder.path().join("postgres/password")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&password.permissions()) & 0o777,
        0o600
    );
    let shown = format!("{server:?}");
    let secret = std::fs::read_to_string(folder.path().join("postgres/password")).unwrap();
    assert!(!shown.contains(secret.trim()), "{shown}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_running_server_is_durable() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    for setting in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        let value: String = sqlx::query_scalar(&format!("show {setting}"))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, "on", "{setting}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_supervisor_on_the_folder_is_refused_and_told_who_has_it() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    let refused = Server::start(Config::new(folder.path())).await.unwrap_err();
    assert!(matches!(refused, Error::AlreadyRunning { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains(&std::process::id().to_string()),
        "{refused}"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_configured_port_in_use_is_refused_and_a_remembered_one_given_up() {
    let folder = ScratchFolder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = Server::start(Config {
        port: Some(port),
        ..Config::new(folder.path())
    })
    .await
    .unwrap_err();
    assert!(
        matches!(refused, Error::PortInUse { port: it } if it == port),
        "{refused:?}"
    );
    assert!(refused.remedy().contains("another port"));

    std::fs::write(folder.path().join("postgres/port"), port.to_string()).unwrap();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    assert_ne!(server.port(), port);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_living_stranger_does_not_hinder() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    server.stop().await.unwrap();
    let stale = format!("{}\n/elsewhere\n1\n1\n\n127.0.0.1\n1 1\nready\n", std::process::id());
    std::fs::write(folder.path().join("postgres/cluster/postmaster.pid"), stale).unwrap();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    assert_ne!(serving(&server), i32::try_from(std::process::id()).unwrap());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_unfinished_setup_is_begun_anew() {
    let folder = ScratchFolder::new();
    let unfinished = folder.path().join("postgres/cluster.new/base");
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(folder.path().join("postgres/password"), "half").unwrap();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    assert!(PgConnection::connect(&server.url("postgres")).await.is_ok());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_password_is_named_with_a_remedy() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    server.stop().await.unwrap();
    std::fs::remove_file(folder.path().join("postgres/password")).unwrap();
    let refused = Server::start(Config::new(folder.path())).await.unwrap_err();
    assert!(matches!(refused, Error::PasswordMissing { .. }), "{refused:?}");
    assert!(refused.remedy().contains("backup"));
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_left_alone() {
    let folder = ScratchFolder::new();
    let cluster = folder.path().join("postgres/cluster");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let refused = Server::start(Config::new(folder.path())).await.unwrap_err();
    assert!(matches!(refused, Error::OtherMajor { major: 9, .. }), "{refused:?}");
    assert!(refused.remedy().contains("postgresql-9"));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_so_in_its_own_words() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    server.stop().await.unwrap();
    std::fs::remove_file(folder.path().join("postgres/cluster/global/pg_control")).unwrap();
    let refused = Server::start(Config::new(folder.path())).await.unwrap_err();
    assert!(
        matches!(&refused, Error::DidNotStart { tail, .. } if tail.contains("could not find the database system")),
        "{refused:?}"
    );
    assert!(refused.remedy().contains("server.log"));
}

#[tokio::test]
async fn database_names_are_checked() {
    let folder = ScratchFolder::new();
    let server = Server::start(Config::new(folder.path())).await.unwrap();
    for name in ["", "Shop", "1shop", "shop\"", "shop;drop", &"s".repeat(64)] {
        let refused = server.ensure_database(name).await;
        assert!(matches!(refused, Err(Error::DatabaseName { .. })), "{name}");
    }
    server.ensure_database("user").await.unwrap();
    server.stop().await.unwrap();
}

#[test]
fn a_dropped_server_ends_even_with_its_runtime_gone() {
    let folder = ScratchFolder::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::start(Config::new(folder.path()))).unwrap();
    let pid = serving(&server);
    drop(runtime);
    drop(server);
    until("the server is gone", || !is_there(pid));
}

/// Another process that supervises the folder's server, and the server's number.
fn supervisor_of(folder: &Path) -> (Child, i32) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "supervising_process", "--nocapture"])
        .env(SUPERVISE, folder);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let told = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("serving ")?.1.trim().parse().ok());
    (process, told.expect("the supervising process serves"))
}

#[test]
fn supervising_process() {
    let Some(folder) = std::env::var_os(SUPERVISE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::start(Config::new(folder)).await.unwrap();
        println!("serving {}", serving(&server));
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_postgres_whose_supervisor_was_killed_is_adopted_and_supervised() {
    let folder = ScratchFolder::new();
    let (mut killed, orphan) = supervisor_of(folder.path());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(is_there(orphan));

    let server = Server::start(Config::new(folder.path())).await.unwrap();
    assert_eq!(serving(&server), orphan);
    server.ensure_database("shop").await.unwrap();
    keep_a_row(&server.url("shop")).await;

    kill_9(orphan);
    let fresh = serves_again(&server, orphan).await;
    assert_eq!(count(&server.url("shop")).await, 1);
    server.stop().await.unwrap();
    assert!(!is_there(fresh));
}

#[tokio::test]
async fn an_orphan_with_other_settings_is_ended_and_replaced() {
    let folder = ScratchFolder::new();
    let (mut killed, orphan) = supervisor_of(folder.path());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let server = Server::start(Config {
        max_connections: 50,
        ..Config::new(folder.path())
    })
    .await
    .unwrap();
    assert!(!is_there(orphan));
    assert_ne!(serving(&server), orphan);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_adopted_server_is_stopped_like_any_other() {
    let folder = ScratchFolder::new();
    let (mut killed, orphan) = supervisor_of(folder.path());
    killed.kill().unwrap();
    killed.wait().unwrap();
    Server::start(Config::new(folder.path()))
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    assert!(!is_there(orphan));
}

#[test]
fn a_scratch_folder_takes_its_supervisor_and_server_with_it() {
    let folder = ScratchFolder::new();
    let path = folder.path().to_owned();
    let (mut supervisor, server) = supervisor_of(&path);
    drop(folder);
    assert!(!is_there(server) && !path.exists());
    assert!(!supervisor.wait().unwrap().success());
}
