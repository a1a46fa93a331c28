//! Databases for tests: separate, and gone with the process that asked for them.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use local_postgres::testing::fresh_database;
use sqlx::{Connection, PgConnection};

const ASK: &str = "COMANDA_ASK_FOR_A_DATABASE";
const OVERRIDE: &str = "COMANDA_TEST_POSTGRES";

#[tokio::test]
async fn every_call_gives_a_database_of_its_own() {
    let (one, other) = (fresh_database().await, fresh_database().await);
    assert_ne!(one, other);
    let mut connection = PgConnection::connect(&one).await.unwrap();
    sqlx::query("create table seen (x int)")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut connection = PgConnection::connect(&other).await.unwrap();
    assert!(
        sqlx::query("select x from seen")
            .execute(&mut connection)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn asking_process() {
    if std::env::var_os(ASK).is_none() {
        return;
    }
    let mut connection = PgConnection::connect(&fresh_database().await).await.unwrap();
    let folder: String = sqlx::query_scalar("show data_directory")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    println!("data in {folder}");
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_test_process_leaves_neither_server_nor_folder() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "asking_process", "--nocapture"])
        .env(ASK, "yes")
        .env_remove(OVERRIDE);
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let told = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("data in ")?.1.trim().to_owned()));
    let cluster = std::path::PathBuf::from(told.expect("a database"));
    let server = std::fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    let server = format!("/proc/{}/exe", server.lines().next().unwrap());
    assert!(std::fs::read_link(&server).is_ok());

    process.kill().unwrap();
    process.wait().unwrap();
    let folder = cluster.parent().and_then(|it| it.parent()).unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    while std::fs::read_link(&server).is_ok() || folder.exists() {
        assert!(Instant::now() < give_up, "{} is still there", folder.display());
        std::thread::yield_now();
    }
}
