//! Whether a generation that was filled is what it is to be.

use event_store::EventStore;
use sqlx::PgPool;

pub use super::compare::Differing;
use super::compare::{Compared, compare};
use crate::error::Error;
use crate::generation::Generation;

/// How a generation was found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Rows held against the log.
    pub rows: u64,
    /// Rows that are not what the log says, in words; the first ones.
    pub differences: Vec<String>,
    /// How many there are.
    pub differing_rows: u64,
    /// Tenants whose rows were held against those of the generation that is served, at equal
    /// checkpoints. 0 where there is none of this code version.
    pub compared_tenants: u64,
    /// Hash over all that was compared, equal in both.
    pub fingerprint: Option<String>,
    /// Tenants whose rows differ from those that are served.
    pub differing: Vec<Differing>,
}

impl Checked {
    /// Whether it may be served without anybody having looked.
    pub fn is_right(&self) -> bool {
        self.differing_rows == 0 && self.differing.is_empty()
    }
}

/// Holds each generation against the log, and against the served one of the same code version.
pub(super) async fn check(
    store: &EventStore,
    read_store: &PgPool,
    generations: &[Generation],
) -> Result<Vec<Checked>, Error> {
    let target = |generation: &Generation| verify::Target {
        read_model: generation.read_model.to_owned(),
        generation: generation.number,
        schema: generation.schema.as_str().to_owned(),
    };
    let targets: Vec<verify::Target> = generations.iter().map(target).collect();
    let report = verify::run(store, read_store, &targets, &verify::Scope::default()).await?;
    let mut all = vec![];
    for generation in generations {
        let Compared {
            tenants,
            fingerprint,
            differing,
        } = compare(read_store, generation).await?;
        let of_tenants = report.fingerprints.iter();
        let rows = of_tenants.filter(|((read_model, _), _)| read_model == generation.read_model);
        let differences = report
            .differences
            .iter()
            .filter(|it| it.read_model == generation.read_model);
        let described: Vec<String> = differences.map(described).collect();
        all.push(Checked {
            rows: rows.map(|(_, fingerprint)| fingerprint.rows).sum(),
            // Those beyond what is described may be of any of them.
            differing_rows: described.len() as u64 + report.omitted,
            differences: described,
            compared_tenants: tenants,
            fingerprint,
            differing,
        });
    }
    Ok(all)
}

fn described(difference: &verify::Difference) -> String {
    let verify::Difference { table, tenant, .. } = difference;
    let why = difference
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    format!("{table} {tenant} {}: {}{why}", difference.key_text(), difference.what())
}
