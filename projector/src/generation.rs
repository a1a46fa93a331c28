//! Generations: which tables of a read model are served, and which this projector fills.

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
}

/// Serialises projectors that start at the same time; any number that nobody else uses.
const LOCK: i64 = 0x636f_6d61_6e64_6103;

/// Makes sure that every registered read model has a generation that this code may fill, and gives
/// them in the registry's order. A read model seen for the first time gets generation 1, empty, and
/// the log is read from its beginning to fill it.
///
/// # Errors
/// [`Error::OtherCodeVersion`] where a generation was filled by another version of its projection;
/// [`Error::Database`] where the read store does not answer.
pub async fn ensure_generations(read_store: &PgPool) -> Result<Vec<Generation>, Error> {
    ensure(read_store, &crate::registry::all()).await
}

pub(crate) async fn ensure(read_store: &PgPool, models: &[Registered]) -> Result<Vec<Generation>, Error> {
    let mut connection = read_store.acquire().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    let mut generations = Vec::with_capacity(models.len());
    for model in models {
        let generation = match served(&mut transaction, model).await? {
            Some(generation) => generation,
            None => create_first(&mut transaction, model).await?,
        };
        generations.push(generation);
    }
    transaction.commit().await?;
    Ok(generations)
}

/// The generation that the pointer names.
async fn served(connection: &mut PgConnection, model: &Registered) -> Result<Option<Generation>, Error> {
    let row: Option<(i32, String, i32)> = sqlx::query_as(
        "SELECT g.generation, g.schema_name, g.code_version
           FROM meta.read_models AS m JOIN meta.generations AS g USING (read_model, generation)
          WHERE m.read_model = $1",
    )
    .bind(model.name)
    .fetch_optional(connection)
    .await?;
    let Some((number, schema_name, stored)) = row else {
        return Ok(None);
    };
    if stored != model.code_version {
        let (read_model, code) = (model.name, model.code_version);
        return Err(Error::OtherCodeVersion {
            read_model,
            generation: number,
            stored,
            code,
        });
    }
    let schema = Schema::new(&schema_name).ok_or(Error::SchemaName { schema_name })?;
    Ok(Some(Generation {
        read_model: model.name,
        number,
        schema,
    }))
}

async fn create_first(connection: &mut PgConnection, model: &Registered) -> Result<Generation, Error> {
    const FIRST: i32 = 1;
    let schema_name = format!("{}_g{FIRST}", model.name);
    let Some(schema) = Schema::new(&schema_name) else {
        return Err(Error::SchemaName { schema_name });
    };
    sqlx::query(
        "INSERT INTO meta.generations (read_model, generation, schema_name, code_version) VALUES ($1, $2, $3, $4)",
    )
    .bind(model.name)
    .bind(FIRST)
    .bind(&schema_name)
    .bind(model.code_version)
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
    .bind(FIRST)
    .bind(i32::from(Slot::COUNT))
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO meta.read_models (read_model, generation) VALUES ($1, $2)")
        .bind(model.name)
        .bind(FIRST)
        .execute(&mut *connection)
        .await?;
    tracing::info!(
        read_model = model.name,
        generation = FIRST,
        "created the read model's first generation"
    );
    Ok(Generation {
        read_model: model.name,
        number: FIRST,
        schema,
    })
}
