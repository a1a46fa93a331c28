//! Moves as an operator orders them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};
use tokio_util::sync::CancellationToken;

use super::MoveOptions;
use super::record::{self, Move, unfinished_moves};
use super::step::{Observer, Step};
use super::work::{Place, Work};
use crate::control::unreachable;
use crate::error::Error;
use crate::ids::{Ownership, ShardId, Slot};
use crate::options::ShardOptions;

/// Moves of different slots at the same time, per shard.
const CONNECTIONS: u32 = 8;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Moves slots between the shards of a platform. Cheap to clone.
#[derive(Clone)]
pub struct Mover {
    control: PgConnectOptions,
    shards: BTreeMap<ShardId, PgPool>,
    options: MoveOptions,
    observer: Arc<Observer>,
}

/// What is to be done for slots to be at a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedMoves {
    /// In order.
    pub moves: Vec<Move>,
    /// Slots that are there already.
    pub there: Vec<Slot>,
}

/// How a move ended.
#[derive(Debug, Clone, PartialEq)]
pub enum MoveEnd {
    Done(Move),
    /// The slot is where it was; the move says why.
    Undone(Move),
    /// It was told to stop before anything was shut, and can go on later.
    Stopped(Move),
}

impl MoveEnd {
    pub fn as_move(&self) -> &Move {
        match self {
            Self::Done(it) | Self::Undone(it) | Self::Stopped(it) => it,
        }
    }
}

impl Mover {
    /// Nothing is asked of a database yet.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where a URL is not one of PostgreSQL's.
    pub fn new(control_url: &str, shards: &[ShardOptions], options: MoveOptions) -> Result<Self, Error> {
        let parsed = |url: &str, name: &dyn Fn() -> String| {
            url.parse::<PgConnectOptions>()
                .map_err(|_| Error::Misconfigured(format!("{}: its URL is not one of PostgreSQL's", name())))
        };
        let control = parsed(control_url, &|| "the control database".to_owned())?
            .application_name("comanda mover")
            .disable_statement_logging();
        let mut pools = BTreeMap::new();
        for shard in shards {
            let options = parsed(&shard.url, &|| format!("shard {}", shard.id))?;
            pools.insert(shard.id, pool(shard.id, options));
        }
        Ok(Self {
            control,
            shards: pools,
            options,
            observer: Arc::new(|_, _| {}),
        })
    }

    /// Has every step of every move told.
    #[must_use]
    pub fn observed_by(self, observer: impl Fn(&Move, Step) + Send + Sync + 'static) -> Self {
        Self {
            observer: Arc::new(observer),
            ..self
        }
    }

    /// Records the moves that bring `slots` to `target`; those under way to there already are among
    /// them. Nothing is moved yet.
    ///
    /// # Errors
    /// [`Error::NotMoved`] where a slot is on its way elsewhere or has no owner; [`Error::Unavailable`],
    /// [`Error::UnknownShard`].
    pub async fn plan(&self, slots: &[Slot], target: ShardId) -> Result<PlannedMoves, Error> {
        self.pool(target)?;
        let owners = self.owners().await;
        let mut planned = PlannedMoves {
            moves: Vec::new(),
            there: Vec::new(),
        };
        let mut asked = Vec::new();
        let under_way = unfinished_moves(&mut self.connect().await?).await?;
        for slot in slots {
            let pending = under_way.iter().find(|it| it.slot == *slot);
            match (pending, owners.found.get(slot)) {
                (Some(pending), _) => asked.push((*slot, pending.source)),
                (None, Some((_, owner))) if *owner == target => planned.there.push(*slot),
                (None, Some((_, owner))) => asked.push((*slot, *owner)),
                (None, None) => return Err(owners.nobodys(*slot)),
            }
        }
        if !asked.is_empty() {
            planned.moves = record::record(&mut self.connect().await?, &asked, target).await?;
        }
        Ok(planned)
    }

    /// Goes on with a move from wherever it stands. To be waited for once it has shut the slot: dropped
    /// there, the slot stays shut until another mover goes on. `stop` ends it before that.
    ///
    /// # Errors
    /// [`Error::NotMoved`] where it cannot go on, with what to do; [`Error::Unavailable`].
    pub async fn run(&self, moving: &Move, stop: &CancellationToken) -> Result<MoveEnd, Error> {
        self.begin(moving, stop).await?.run().await
    }

    /// Takes a move back: the slot's appends are taken where they were.
    ///
    /// # Errors
    /// [`Error::NotMoved`] where it was decided already that the target takes over, and the source has not
    /// taken the slot up again since; or where another mover is at it. [`Error::Unavailable`].
    pub async fn undo(&self, moving: &Move) -> Result<MoveEnd, Error> {
        let stop = CancellationToken::new();
        self.begin(moving, &stop).await?.undo("an operator took it back").await
    }

    /// The moves that are neither done nor undone, oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn unfinished(&self) -> Result<Vec<Move>, Error> {
        unfinished_moves(&mut self.connect().await?).await
    }

    async fn begin<'a>(&'a self, moving: &Move, stop: &'a CancellationToken) -> Result<Work<'a>, Error> {
        let place = Place {
            control: self.control.clone(),
            source: self.pool(moving.source)?.clone(),
            target: self.pool(moving.target)?.clone(),
            options: &self.options,
            observer: &*self.observer,
            stop,
        };
        Work::begin(place, moving).await
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = (ShardId, &PgPool)> {
        self.shards.iter().map(|(id, pool)| (*id, pool))
    }

    fn pool(&self, shard: ShardId) -> Result<&PgPool, Error> {
        self.shards.get(&shard).ok_or(Error::UnknownShard(shard))
    }

    async fn connect(&self) -> Result<sqlx::PgConnection, Error> {
        self.control.connect().await.map_err(unreachable)
    }

    /// Who owns what, by the shards themselves.
    async fn owners(&self) -> Owners {
        let read = self.shards.values().cloned().map(claims);
        let read = join_all(read.collect::<Vec<_>>()).await;
        let mut owners = Owners::default();
        for (shard, rows) in self.shards.keys().copied().zip(read) {
            match rows {
                Ok(rows) => owners.add(shard, rows),
                Err(error) => owners.away = Some(error),
            }
        }
        owners
    }
}

async fn claims(shard: PgPool) -> Result<Vec<(i16, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT slot, ownership FROM slots WHERE owned OR fenced")
        .fetch_all(&shard)
        .await
}

#[derive(Debug, Default)]
struct Owners {
    found: BTreeMap<Slot, (Ownership, ShardId)>,
    /// Why a shard could not be read.
    away: Option<sqlx::Error>,
}

impl Owners {
    fn add(&mut self, shard: ShardId, rows: Vec<(i16, i64)>) {
        for (slot, ownership) in rows {
            let Some(slot) = Slot::from_i16(slot) else { continue };
            let claim = (Ownership(ownership), shard);
            let best = self.found.entry(slot).or_insert(claim);
            if claim.0 > best.0 {
                *best = claim;
            }
        }
    }

    fn nobodys(self, slot: Slot) -> Error {
        match self.away {
            Some(error) => Error::unavailable("a shard that may own the slot cannot be read", error),
            None => Error::NotMoved {
                slot,
                reason: "no shard owns it: see `comanda doctor`".to_owned(),
            },
        }
    }
}

/// Each connection makes sure that it leads to that shard, on a server that takes appends.
fn pool(shard: ShardId, options: PgConnectOptions) -> PgPool {
    let options = options.application_name("comanda mover").options([
        ("statement_timeout", "30000"),
        ("lock_timeout", "10000"),
        ("synchronous_commit", "on"),
    ]);
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let (found,): (i16,) = sqlx::query_as("SELECT shard_id FROM recognise_server(0, 0)")
                    .fetch_one(connection)
                    .await?;
                if ShardId(found) == shard {
                    return Ok(());
                }
                let problem = format!("the database of shard {shard} says that it is shard {found}");
                Err(sqlx::Error::Configuration(problem.into()))
            })
        })
        .connect_lazy_with(options)
}

impl std::fmt::Debug for Mover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mover")
            .field("shards", &self.shards.keys())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
