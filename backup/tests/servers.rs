//! Backups of real servers: what is restored, what ends an archive, what is removed.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::Duration;

use backup::{ArchiveState, DatabaseAt, DatabaseKind, Error, Folder, Manifest, Receiver, ServerAt, Taking, Until};
use chrono::{DateTime, Utc};
use local_postgres::Server;
use local_postgres::testing::{ScratchFolder, throwaway};
use migrations::Database;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// A server with a shard and a control database, and a table of numbers in the shard.
struct Origin {
    server: Server,
    folder: ScratchFolder,
    backups: tempfile::TempDir,
}

impl Origin {
    async fn start() -> Self {
        let folder = ScratchFolder::new();
        let server = Server::start(throwaway(folder.path().join("origin"))).await.unwrap();
        for (name, kind) in [("control", Database::Control), ("shard_0", Database::EventStore)] {
            server.ensure_database(name).await.unwrap();
            let mut database = PgConnection::connect(&server.url(name)).await.unwrap();
            migrations::migrate(kind, &mut database).await.unwrap();
        }
        let origin = Self {
            server,
            folder,
            backups: tempfile::tempdir().unwrap(),
        };
        origin.run("CREATE TABLE numbers (n bigint PRIMARY KEY)").await;
        origin
    }

    fn folder(&self) -> Folder {
        Folder::create(&self.backups.path().join("backup")).unwrap()
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.server.url("shard_0")).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        self.connect().await.execute(sql).await.unwrap();
    }

    async fn insert(&self, numbers: std::ops::RangeInclusive<i64>) {
        let mut connection = self.connect().await;
        for n in numbers {
            let insert = sqlx::query("INSERT INTO numbers VALUES ($1)").bind(n);
            insert.execute(&mut connection).await.unwrap();
        }
    }

    async fn clock(&self) -> DateTime<Utc> {
        let now = sqlx::query_scalar("SELECT clock_timestamp()");
        now.fetch_one(&mut self.connect().await).await.unwrap()
    }

    async fn servers(&self) -> Vec<ServerAt> {
        let at = |name: &str, kind: DatabaseKind| DatabaseAt {
            name: name.to_owned(),
            kind,
            url: self.server.url(name),
        };
        let databases = [
            at("control", DatabaseKind::Control),
            at("shard_0", DatabaseKind::Shard(0)),
        ];
        backup::servers(&databases).await.unwrap()
    }

    async fn archive(&self) -> Archiving {
        let server = self.servers().await.remove(0);
        let (receiver, state) = Receiver::new(self.folder(), server);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            receiver
                .run(async {
                    let _ = stopped.await;
                })
                .await;
        });
        let mut archiving = Archiving { stop, state, task };
        archiving.wait(|state| state.streaming).await;
        archiving
    }

    async fn back_up(&self) -> Manifest {
        let (folder, servers) = (self.folder(), self.servers().await);
        let password = self.folder.path().join("origin/postgres/password");
        let taking = Taking {
            folder: &folder,
            servers: &servers,
            local_keys: Some(&[password]),
            version: "test",
        };
        backup::take(taking, |_, _| {}).await.unwrap()
    }

    /// Until the archive's disk has everything that was written so far.
    async fn all_archived(&self) {
        let mut connection = self.connect().await;
        let end: String = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        loop {
            let done: Option<bool> = sqlx::query_scalar(
                "SELECT bool_or(write_lsn >= $1::pg_lsn) FROM pg_stat_replication \
                  WHERE application_name = 'pg_receivewal'",
            )
            .bind(&end)
            .fetch_one(&mut connection)
            .await
            .unwrap();
            if done == Some(true) {
                return;
            }
            assert!(tokio::time::Instant::now() < give_up, "{end} is not archived");
            pause.tick().await;
        }
    }
}

struct Archiving {
    stop: oneshot::Sender<()>,
    state: watch::Receiver<ArchiveState>,
    task: JoinHandle<()>,
}

impl Archiving {
    async fn wait(&mut self, wanted: impl FnMut(&ArchiveState) -> bool) -> ArchiveState {
        let reached = tokio::time::timeout(Duration::from_secs(30), self.state.wait_for(wanted));
        reached.await.expect("in time").unwrap().clone()
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

async fn numbers(server: &Server) -> Vec<i64> {
    let mut shard = PgConnection::connect(&server.url("shard_0")).await.unwrap();
    let numbers = sqlx::query_scalar("SELECT n FROM numbers ORDER BY n");
    numbers.fetch_all(&mut shard).await.unwrap()
}

async fn restored(origin: &Origin, manifest: &Manifest, until: Until, name: &str) -> Result<Vec<i64>, Error> {
    let into = origin.folder.path().join(name);
    let server = backup::recover(&origin.folder(), manifest, &manifest.servers[0], until, &into).await?;
    let found = numbers(&server).await;
    server.stop().await?;
    // What it was recovered with is of no use any more: it starts as any other server does.
    let server = Server::start(throwaway(&into)).await?;
    assert_eq!(numbers(&server).await, found);
    server.stop().await?;
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_an_archive_when_restored_then_exactly_the_commits_before_the_time_are_there() {
    let origin = Origin::start().await;
    let archiving = origin.archive().await;
    origin.insert(1..=10).await;
    let manifest = origin.back_up().await;
    assert_eq!(
        manifest.servers[0].databases.len(),
        2,
        "one server holds both databases"
    );
    origin.insert(11..=20).await;
    let time = origin.clock().await;
    origin.insert(21..=30).await;
    origin.all_archived().await;
    // A disk that is no more: only the archive is left.
    origin.server.kill().await.unwrap();

    let at_time = restored(&origin, &manifest, Until::Time(time), "at-time")
        .await
        .unwrap();
    assert_eq!(at_time, (1..=20).collect::<Vec<_>>());
    let all = restored(&origin, &manifest, Until::Latest, "latest").await.unwrap();
    assert_eq!(all, (1..=30).collect::<Vec<_>>());

    let later = Until::Time(time + chrono::Duration::hours(1));
    let beyond = restored(&origin, &manifest, later, "beyond").await.unwrap_err();
    assert!(
        matches!(beyond, Error::Postgres(local_postgres::Error::EndsBefore { .. })),
        "{beyond:?}"
    );
    let over = restored(&origin, &manifest, Until::Latest, "latest").await.unwrap_err();
    assert!(
        matches!(over, Error::Postgres(local_postgres::Error::HoldsData { .. })),
        "{over:?}"
    );
    archiving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_no_archive_then_a_backup_holds_its_own_moment_only() {
    let origin = Origin::start().await;
    origin.insert(1..=5).await;
    let manifest = origin.back_up().await;
    assert_eq!(manifest.servers[0].archive, None);
    let latest = restored(&origin, &manifest, Until::Latest, "latest").await.unwrap();
    assert_eq!(latest, (1..=5).collect::<Vec<_>>());
    let time = Until::Time(origin.clock().await);
    let refused = restored(&origin, &manifest, time, "at-time").await.unwrap_err();
    assert!(matches!(refused, Error::NotArchived { .. }), "{refused:?}");
    let early = Until::Time(manifest.servers[0].ended_at - chrono::Duration::hours(1));
    assert!(matches!(
        backup::choose(&origin.folder(), early),
        Err(Error::TooEarly { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_slot_that_the_server_gave_up_then_another_archive_begins_and_asks_for_a_backup() {
    let origin = Origin::start().await;
    let mut archiving = origin.archive().await;
    origin.back_up().await;
    let first = archiving.wait(|state| state.streaming && state.has_base).await;
    assert_eq!(first.trouble(), None);
    let drop_slot = "DO $$ DECLARE s record; BEGIN \
                       FOR s IN SELECT slot_name, active_pid FROM pg_replication_slots LOOP \
                         PERFORM pg_terminate_backend(s.active_pid, 5000); \
                         PERFORM pg_drop_replication_slot(s.slot_name); END LOOP; END $$";
    origin.run(drop_slot).await;
    let second = archiving
        .wait(|state| state.streaming && state.archive != first.archive)
        .await;
    let (trouble, _) = second.trouble().expect("it cannot be restored from");
    assert!(trouble.contains("no base backup"), "{trouble}");
    origin.back_up().await;
    archiving.wait(|state| state.trouble().is_none()).await;
    archiving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_old_backups_when_pruned_then_what_is_kept_can_still_be_restored() {
    let origin = Origin::start().await;
    let archiving = origin.archive().await;
    let oldest = origin.back_up().await;
    for n in 1..=3 {
        origin.insert(n..=n).await;
        origin.run("SELECT pg_switch_wal()").await;
    }
    let newest = origin.back_up().await;
    origin.insert(4..=4).await;
    origin.all_archived().await;
    let folder = origin.folder();
    let before = segments(folder.path());
    let pruned = backup::prune(&folder, 1).unwrap();
    assert_eq!(pruned.backups, [oldest.id]);
    assert!(pruned.segments >= 3, "{pruned:?}");
    assert_eq!(segments(folder.path()), before - pruned.segments);
    assert_eq!(
        backup::prune(&folder, 1).unwrap(),
        backup::Pruned::default(),
        "nothing is left to remove"
    );
    let all = restored(&origin, &newest, Until::Latest, "latest").await.unwrap();
    assert_eq!(all, [1, 2, 3, 4]);
    let checked = backup::check(&folder).await.unwrap();
    assert!(checked.iter().all(|it| it.problem.is_none()), "{checked:?}");
    archiving.stop().await;
}

fn segments(folder: &Path) -> usize {
    let archives = std::fs::read_dir(folder.join("servers")).unwrap().flatten();
    archives
        .map(|archive| std::fs::read_dir(archive.path().join("wal")).unwrap().count())
        .sum()
}
