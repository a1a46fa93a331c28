//! Which generations to verify.

use sqlx::PgPool;

use crate::error::Error;

/// One generation of a read model, in its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub read_model: String,
    pub generation: i32,
    pub schema: String,
}

type Row = (String, i32, String);

impl Target {
    fn of((read_model, generation, schema): Row) -> Self {
        Self {
            read_model,
            generation,
            schema,
        }
    }

    /// The generations that queries read, of every read model.
    ///
    /// # Errors
    /// Where the read store does not answer.
    pub async fn served(read_store: &PgPool) -> Result<Vec<Self>, Error> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT g.read_model, g.generation, g.schema_name
               FROM meta.read_models AS m JOIN meta.generations AS g USING (read_model, generation)
              ORDER BY g.read_model",
        )
        .fetch_all(read_store)
        .await?;
        Ok(rows.into_iter().map(Self::of).collect())
    }

    /// One generation of a read model; the one that is served where none is named.
    ///
    /// # Errors
    /// Where there is no such read model or generation, or the read store does not answer.
    pub async fn find(read_store: &PgPool, read_model: &str, generation: Option<i32>) -> Result<Self, Error> {
        let model = crate::models::find(read_model)?;
        let row: Option<Row> = sqlx::query_as(
            "SELECT g.read_model, g.generation, g.schema_name
               FROM meta.generations AS g LEFT JOIN meta.read_models AS m USING (read_model, generation)
              WHERE g.read_model = $1 AND CASE WHEN $2::int IS NULL THEN m.generation IS NOT NULL
                                               ELSE g.generation = $2 END",
        )
        .bind(model.name)
        .bind(generation)
        .fetch_optional(read_store)
        .await?;
        row.map(Self::of).ok_or_else(|| {
            let read_model = read_model.to_owned();
            match generation {
                Some(generation) => Error::UnknownGeneration { read_model, generation },
                None => Error::NotServed { read_model },
            }
        })
    }

    /// The schema, quoted for a statement. Generations have plain names; another one did not come from
    /// us and must not reach a statement.
    pub(crate) fn quoted_schema(&self) -> Result<String, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !self.schema.is_empty() && self.schema.bytes().all(plain) {
            Ok(format!("\"{}\"", self.schema))
        } else {
            Err(Error::SchemaName {
                schema: self.schema.clone(),
            })
        }
    }
}
