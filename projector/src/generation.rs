//! Generations: which tables of a read model are served, and which this projector feeds.
//!
//! Every generation that is `live` and of this binary's code version is fed, served or not, so that
//! switching to it, or back, needs no catching up.

use event_store::Slot;
use sqlx::{Acquire, PgConnection, PgPool};

use crate::error::Error;
use crate::model::Registered;
use crate::projection::Schema;

/// One generation of a read model, in a schema of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub read_model: &'static str,
    pub number: i32,
    pub schema: Schema,
    /// Whether queries are sent to it, as last seen.
    pub served: bool,
}

impl Generation {
    /// Whether both are the same tables.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.read_model == other.read_model && self.number == other.number
    }
}

/// What becomes of a generation's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Only the rebuild that made it writes it.
    Filling,
    /// Every projector of its code version feeds it.
    Live,
    /// As of a position that has passed.
    Scratch,
    /// Kept, but of a history of the log that ended before it did.
    Retired,
    /// Its tables are about to go.
    Dropping,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Live => "live",
            Self::Scratch => "scratch",
            Self::Retired => "retired",
            Self::Dropping => "dropping",
        }
    }

    pub(crate) fn from_stored(name: &str) -> Result<Self, sqlx::Error> {
        [Self::Filling, Self::Live, Self::Scratch, Self::Retired, Self::Dropping]
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| sqlx::Error::Decode(format!("{name} is not a generation's state").into()))
    }
}

/// A generation to feed, and the code that does.
#[derive(Debug, Clone)]
pub(crate) struct Fed {
    pub(crate) model: Registered,
    pub(crate) generation: Generation,
}

/// A read model of which this binary may feed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) read_model: &'static str,
    pub(crate) generation: i32,
    pub(crate) stored: i32,
    pub(crate) code: i32,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::OtherCodeVersion {
            read_model: refused.read_model,
            generation: refused.generation,
            stored: refused.stored,
            code: refused.code,
        }
    }
}

/// What this binary feeds, and what it must not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) fed: Vec<Fed>,
    pub(crate) refused: Vec<Refused>,
}

/// Serialises projectors that start, and rebuilds that begin, at the same time; any number that
/// nobody else uses.
const LOCK: i64 = 0x636f_6d61_6e64_6103;

pub(crate) async fn lock(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Makes sure that every registered read model has a generation, and gives those that are served
/// and that this binary may feed, in the registry's order. A read model seen for the first time gets
/// an empty one, and the log is read from its beginning to fill it. One that only another code
/// version filled is left out: it is to be rebuilt.
///
/// # Errors
/// [`Error::Database`] where the read store does not answer.
pub async fn ensure_generations(read_store: &PgPool) -> Result<Vec<Generation>, Error> {
    let standing = standing(read_store, &crate::registry::all()).await?;
    let generations = standing.fed.into_iter().map(|fed| fed.generation);
    Ok(generations.filter(|generation| generation.served).collect())
}

/// What there is to feed. Creates the first generation of a read model that has none.
pub(crate) async fn standing(read_store: &PgPool, models: &[Registered]) -> Result<Standing, Error> {
    let mut connection = read_store.acquire().await?;
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    for model in models {
        if !is_served(&mut transaction, model).await? {
            create_first(&mut transaction, model).await?;
        }
    }
    let standing = look(&mut transaction, models).await?;
    transaction.commit().await?;
    Ok(standing)
}

/// What there is to feed, now.
pub(crate) async fn look(connection: &mut PgConnection, models: &[Registered]) -> Result<Standing, Error> {
    let rows: Vec<(String, i32, String, i32, bool)> = sqlx::query_as(
        "SELECT g.read_model, g.generation, g.schema_name, g.code_version, m.generation IS NOT NULL
           FROM meta.generations AS g LEFT JOIN meta.read_models AS m USING (read_model, generation)
          WHERE g.state = 'live'
          ORDER BY g.read_model, g.generation",
    )
    .fetch_all(connection)
    .await?;
    let mut standing = Standing::default();
    for model in models {
        let live = rows.iter().filter(|(read_model, ..)| read_model == model.name);
        let (ours, others): (Vec<_>, Vec<_>) = live.partition(|(_, _, _, version, _)| *version == model.code_version);
        for (_, number, schema_name, _, served) in &ours {
            let schema_name = schema_name.clone();
            let schema = Schema::new(&schema_name).ok_or(Error::SchemaName { schema_name })?;
            standing.fed.push(Fed {
                model: model.clone(),
                generation: Generation {
                    read_model: model.name,
                    number: *number,
                    schema,
                    served: *served,
                },
            });
        }
        if let (true, Some((_, generation, _, stored, _))) = (ours.is_empty(), others.iter().max_by_key(|it| it.4)) {
            standing.refused.push(Refused {
                read_model: model.name,
                generation: *generation,
                stored: *stored,
                code: model.code_version,
            });
        }
    }
    Ok(standing)
}

async fn is_served(connection: &mut PgConnection, model: &Registered) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM meta.read_models WHERE read_model = $1)")
        .bind(model.name)
        .fetch_one(connection)
        .await
}

async fn create_first(connection: &mut PgConnection, model: &Registered) -> Result<(), Error> {
    let generation = create(connection, model, State::Live).await?;
    sqlx::query("INSERT INTO meta.read_models (read_model, generation) VALUES ($1, $2)")
        .bind(model.name)
        .bind(generation.number)
        .execute(&mut *connection)
        .await?;
    tracing::info!(
        read_model = model.name,
        generation = generation.number,
        "created the read model's first generation"
    );
    Ok(())
}

/// Makes an empty generation. The caller holds [`lock`].
pub(crate) async fn create(
    connection: &mut PgConnection,
    model: &Registered,
    state: State,
) -> Result<Generation, Error> {
    let number: i32 = sqlx::query_scalar(
        "SELECT 1 + greatest(
            (SELECT coalesce(max(generation), 0) FROM meta.generations WHERE read_model = $1),
            (SELECT coalesce(max(generation), 0) FROM meta.dropped_generations WHERE read_model = $1))",
    )
    .bind(model.name)
    .fetch_one(&mut *connection)
    .await?;
    let schema_name = format!("{}_g{number}", model.name);
    let Some(schema) = Schema::new(&schema_name) else {
        return Err(Error::SchemaName { schema_name });
    };
    sqlx::query(
        "INSERT INTO meta.generations (read_model, generation, schema_name, code_version, state)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(model.name)
    .bind(number)
    .bind(&schema_name)
    .bind(model.code_version)
    .bind(state.as_str())
    .execute(&mut *connection)
    .await?;
    // The name passed Schema::new as part of the schema's, so it is plain.
    sqlx::query(&format!("SELECT meta.create_{}($1)", model.name))
        .bind(&schema_name)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO meta.checkpoints (read_model, generation, slot)
         SELECT $1, $2, slot FROM generate_series(0, $3 - 1) AS slot",
    )
    .bind(model.name)
    .bind(number)
    .bind(i32::from(Slot::COUNT))
    .execute(&mut *connection)
    .await?;
    Ok(Generation {
        read_model: model.name,
        number,
        schema,
        served: false,
    })
}
