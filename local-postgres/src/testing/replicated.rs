//! A primary with streaming standbys, gone with the test process.
use sqlx::{Connection, PgConnection};

use super::{ScratchFolder, throwaway};
use crate::{Server, Standby};

/// Fields drop in this order: the servers before the folder that they work in.
#[derive(Debug)]
pub struct Replicated {
    pub standbys: Vec<Standby>,
    pub primary: Server,
    pub folder: ScratchFolder,
}

impl Replicated {
    /// Starts a primary that holds `database`, and as many standbys of it.
    pub async fn start(database: &str, standbys: usize) -> Self {
        let folder = ScratchFolder::new();
        let primary = Server::start(throwaway(folder.path().join("primary"))).await;
        let primary = primary.expect("a primary");
        primary.ensure_database(database).await.expect("a database");
        let mut replicated = Self {
            standbys: Vec::new(),
            primary,
            folder,
        };
        for _ in 0..standbys {
            replicated.add_standby().await;
        }
        replicated
    }

    /// One more standby, `standby_1` being the first.
    pub async fn add_standby(&mut self) -> &Standby {
        let name = format!("standby_{}", self.standbys.len() + 1);
        let config = throwaway(self.folder.path().join(&name));
        let standby = Standby::start(&self.primary, &name, config).await;
        self.standbys.push(standby.expect("a standby"));
        self.standbys.last().expect("just added")
    }

    /// Waits until a standby has replayed all that its primary has written so far.
    pub async fn caught_up(&self, standby: usize) {
        let lsn = "select pg_current_wal_lsn()::text";
        let written: String = ask(&self.primary, lsn).await;
        let replayed = format!("select coalesce(pg_last_wal_replay_lsn() >= '{written}', false)");
        let give_up = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !ask::<bool>(&self.standbys[standby], &replayed).await {
            assert!(
                std::time::Instant::now() < give_up,
                "standby {standby} does not catch up"
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

async fn ask<T>(server: &Server, question: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = PgConnection::connect(&server.url("postgres")).await.expect("connect");
    let answer = sqlx::query_scalar(question)
        .fetch_one(&mut connection)
        .await
        .expect("an answer");
    let _ = connection.close().await;
    answer
}
