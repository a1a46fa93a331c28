//! Schemas that fit, and schemas that are refused.

use migrations::{Database, MigrateError, SchemaError, check, migrate};
use sqlx::{Connection, Executor, PgConnection};

async fn fresh() -> (String, PgConnection) {
    let url = local_postgres::testing::fresh_database().await;
    let connection = PgConnection::connect(&url).await.expect("connect");
    (url, connection)
}

async fn migrated(database: Database) -> PgConnection {
    let (_, mut connection) = fresh().await;
    migrate(database, &mut connection).await.expect("migrate");
    connection
}

#[tokio::test]
async fn given_an_empty_database_when_it_is_migrated_then_it_fits_and_a_second_run_changes_nothing() {
    for database in Database::ALL {
        let (_, mut connection) = fresh().await;
        let first = migrate(database, &mut connection).await.expect("migrate");
        assert_eq!(first.version, database.version());
        assert_eq!(first.applied.last(), Some(&database.version()));
        check(database, &mut connection).await.expect("fits");
        let second = migrate(database, &mut connection).await.expect("again");
        assert_eq!((second.applied, second.version), (vec![], database.version()));
    }
}

#[tokio::test]
async fn given_processes_that_start_together_then_both_find_the_schema_current() {
    let (url, mut first) = fresh().await;
    let mut second = PgConnection::connect(&url).await.expect("connect");
    let database = Database::EventStore;
    let (a, b) = tokio::join!(migrate(database, &mut first), migrate(database, &mut second));
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    check(database, &mut first).await.expect("fits");
}

#[tokio::test]
async fn given_a_schema_older_than_the_binary_then_it_is_refused_until_migrated() {
    for database in Database::ALL {
        let (_, mut empty) = fresh().await;
        let refused = check(database, &mut empty)
            .await
            .expect_err("an empty database does not fit");
        assert!(matches!(refused, SchemaError::Older { found: 0, .. }), "{refused}");
        assert!(refused.to_string().contains("comanda migrate"), "{refused}");
    }
    let mut one_behind = migrated(Database::EventStore).await;
    one_behind
        .execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await
        .expect("plant");
    let refused = check(Database::EventStore, &mut one_behind).await;
    let before = Database::EventStore.version() - 1;
    assert!(
        matches!(refused, Err(SchemaError::Older { found, .. }) if found == before),
        "{refused:?}"
    );
}

#[tokio::test]
async fn given_a_schema_newer_than_the_binary_then_neither_serving_nor_migrating_touches_it() {
    let mut connection = migrated(Database::Control).await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', true, '', 0)";
    connection.execute(later).await.expect("plant");
    let refused = check(Database::Control, &mut connection).await.expect_err("newer");
    assert!(matches!(refused, SchemaError::Newer { found: 9999, .. }), "{refused}");
    assert!(refused.to_string().contains("newer"), "{refused}");
    let refused = migrate(Database::Control, &mut connection).await;
    assert!(
        matches!(refused, Err(MigrateError::Schema(SchemaError::Newer { .. }))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn given_a_history_that_differs_from_the_binarys_then_it_is_refused() {
    let mut edited = migrated(Database::EventStore).await;
    edited
        .execute("UPDATE _sqlx_migrations SET checksum = 'other' WHERE version = 1")
        .await
        .expect("plant");
    let refused = check(Database::EventStore, &mut edited).await;
    assert!(
        matches!(refused, Err(SchemaError::Changed { version: 1, .. })),
        "{refused:?}"
    );
    let refused = migrate(Database::EventStore, &mut edited).await;
    assert!(
        matches!(refused, Err(MigrateError::Schema(SchemaError::Changed { .. }))),
        "{refused:?}"
    );

    let mut skipped = migrated(Database::EventStore).await;
    skipped
        .execute("DELETE FROM _sqlx_migrations WHERE version = 1")
        .await
        .expect("plant");
    let refused = check(Database::EventStore, &mut skipped).await;
    assert!(
        matches!(refused, Err(SchemaError::Changed { version: 1, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn given_the_wrong_kind_of_database_then_it_is_refused() {
    let mut control = migrated(Database::Control).await;
    assert!(check(Database::EventStore, &mut control).await.is_err());
    assert!(migrate(Database::EventStore, &mut control).await.is_err());
}
