//! Databases for tests: separate, and gone with the process that asked for them.
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn every_call_gives_a_database_of_its_own() {
    let (one, other) = (local_postgres::testing::fresh_database().await, local_postgres::testing::fresh_database().await);
    assert_ne!(one, other);
    let mut connection = PgConnection::connect(&one).await.unwrap();
    sqlx::query("create table seen (x int)").execute(&mut connection).await.unwrap();
    let mut connection = PgConnection::connect(&other).await.unwrap();
    assert!(sqlx::query("select x from seen").execute(&mut connection).await.is_err());
}
