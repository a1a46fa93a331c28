//! The loop that looks how every endpoint is.
//!
//! Guarantee: while it runs, each endpoint's reachability, generations and checkpoints are at most
//! one interval and one look old. One that refuses connections is passed over from the next look
//! on, one that hangs after [`MISSES`] looks; requests that wait for it are sent elsewhere. One
//! that is back takes requests once its breaker has been open long enough.
//!
//! A crash loses nothing: all of it is read again. Not needed for correctness: what a request
//! requires it checks on the snapshot that it reads. Without the loop (one endpoint, embedded)
//! requests look for themselves.

use std::time::Duration;

use service::Shutdown;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::{sleep, timeout};

use super::ReadStores;
use super::replica::{Replica, Watched};
use crate::position::Checkpoint;
use crate::read_model::{Pointers, ReadModel};

/// A look that takes longer counts as missed.
const LOOK: Duration = Duration::from_secs(1);
const MISSES: u32 = 2;

#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error("it gave no answer within {} s", LOOK.as_secs())]
    TimedOut,
    #[error("it does not answer")]
    Failed(#[source] sqlx::Error),
}

/// One endpoint as this loop sees it.
struct Look {
    connection: Option<PgConnection>,
    /// Of each read model: what its checkpoints summed up to when they were last read.
    sums: Vec<(ReadModel, i32, i64, i64)>,
    misses: u32,
}

pub(super) async fn run(stores: ReadStores, at: usize, every: Duration, shutdown: Shutdown) {
    let Some(replica) = stores.replica(at) else { return };
    let mut look = Look {
        connection: None,
        sums: Vec::new(),
        misses: 0,
    };
    loop {
        look.once(&stores, &replica).await;
        tokio::select! {
            () = sleep(every) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

impl Look {
    async fn once(&mut self, stores: &ReadStores, replica: &Replica) {
        let seen = match timeout(LOOK, self.look(replica)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Missed::Failed(error)),
            Err(_) => Err(Missed::TimedOut),
        };
        match seen {
            Ok(()) => {
                if self.misses > 0 {
                    tracing::info!(read_store.name = %replica.name(), "the read store answers again");
                }
                self.misses = 0;
                let lag = stores.compare(replica);
                replica.answered();
                replica.set_watched(Watched {
                    lag: Some(lag),
                    fault: None,
                });
            }
            Err(missed) => self.missed(replica, &missed),
        }
        report(replica);
    }

    fn missed(&mut self, replica: &Replica, missed: &Missed) {
        self.connection = None;
        self.misses += 1;
        let gone = match missed {
            Missed::Failed(_) => true,
            Missed::TimedOut => self.misses >= MISSES,
        };
        if !gone {
            return;
        }
        if replica.open() {
            let error: &dyn std::error::Error = missed;
            tracing::warn!(read_store.name = %replica.name(), error, "the read store is away; its queries go elsewhere");
        }
        let lag = replica.watched().and_then(|watched| watched.lag);
        let fault = Some(missed.to_string());
        replica.set_watched(Watched { lag, fault });
    }

    /// A connection of its own: the pool's may all be taken.
    async fn look(&mut self, replica: &Replica) -> Result<(), sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&replica.pool().connect_options()).await?,
        };
        replica.point_to(Pointers::read(&mut connection).await?);
        // 5 read models of 1024 slots: the sums tell where anything has moved.
        let sums = sqlx::query(
            "SELECT read_model, generation, coalesce(sum(slot_position), 0)::bigint, coalesce(sum(incarnation), 0)::bigint \
             FROM meta.read_models JOIN meta.checkpoints USING (read_model, generation) \
             GROUP BY read_model, generation",
        )
        .fetch_all(&mut connection)
        .await?;
        let mut now = Vec::new();
        for row in sums {
            let name: String = row.try_get(0)?;
            let Some(model) = ReadModel::from_stored(&name) else {
                continue;
            };
            let sum = (model, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            if !self.sums.contains(&sum) {
                replica.know(model, sum.1, read(&mut connection, &name, sum.1).await?);
            }
            now.push(sum);
        }
        for (gone, ..) in self.sums.iter().filter(|it| !now.iter().any(|sum| sum.0 == it.0)) {
            replica.forget(*gone);
        }
        self.sums = now;
        self.connection = Some(connection);
        Ok(())
    }
}

/// All checkpoints of a read model, by slot.
async fn read(connection: &mut PgConnection, model: &str, generation: i32) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT coalesce(array_agg(slot), '{}'), coalesce(array_agg(slot_position), '{}'), \
             coalesce(array_agg(incarnation), '{}') \
         FROM meta.checkpoints WHERE read_model = $1 AND generation = $2 AND slot_position > 0",
    )
    .bind(model)
    .bind(generation)
    .fetch_one(connection)
    .await?;
    let (slots, positions, incarnations): (Vec<i32>, Vec<i64>, Vec<i32>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let mut checkpoints = Vec::new();
    for ((slot, position), incarnation) in slots.into_iter().zip(positions).zip(incarnations) {
        let Ok(slot) = u16::try_from(slot).map(usize::from) else {
            continue;
        };
        if checkpoints.len() <= slot {
            checkpoints.resize(slot + 1, Checkpoint::default());
        }
        checkpoints[slot] = Checkpoint::stored(incarnation, position);
    }
    Ok(checkpoints)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn report(replica: &Replica) {
    let Some(Watched { lag, fault }) = replica.watched() else {
        return;
    };
    let name = replica.name().to_owned();
    if let Some(lag) = lag {
        metrics::gauge!("query_replica_lag_events", "replica" => name.clone()).set(lag as f64);
    }
    metrics::gauge!("query_replica_up", "replica" => name.clone()).set(f64::from(u8::from(fault.is_none())));
    let open = !replica.is_closed();
    metrics::gauge!("query_replica_breaker_open", "replica" => name).set(f64::from(u8::from(open)));
}
