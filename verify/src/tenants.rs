//! Which tenants have rows, and so which slots there is something in.
//!
//! No table names its rows' slot: it follows from the tenant. So a row that stands under a tenant of
//! another slot is looked at in that slot, where nothing makes it.

use std::collections::{BTreeMap, BTreeSet};

use domain::TenantId;
use event_store::Slot;
use sqlx::PgPool;

use crate::error::Error;
use crate::models::Model;
use crate::table::{Holds, Table};
use crate::target::Target;

/// The tenants that have rows in any of the targets.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    pub(crate) by_slot: BTreeMap<Slot, BTreeSet<TenantId>>,
    /// Target, table, and what stands there as a tenant and can be none.
    pub(crate) none: BTreeSet<(usize, &'static str, String)>,
}

impl Tenants {
    pub(crate) fn only(tenant: &TenantId) -> Self {
        Self {
            by_slot: BTreeMap::from([(Slot::of(tenant), BTreeSet::from([tenant.clone()]))]),
            none: BTreeSet::new(),
        }
    }

    pub(crate) async fn of(read_store: &PgPool, targets: &[(Target, &Model)]) -> Result<Self, Error> {
        let mut tenants = Self::default();
        for (index, (target, model)) in targets.iter().enumerate() {
            let schema = target.quoted_schema()?;
            for table in model.tables {
                for text in in_table(read_store, target, &schema, table).await? {
                    match TenantId::new(&text) {
                        Ok(tenant) => {
                            let slot = Slot::of(&tenant);
                            tenants.by_slot.entry(slot).or_default().insert(tenant);
                        }
                        Err(_) => {
                            tenants.none.insert((index, table.name, text));
                        }
                    }
                }
            }
        }
        Ok(tenants)
    }
}

async fn in_table(
    read_store: &PgPool,
    target: &Target,
    schema: &str,
    table: &Table,
) -> Result<Vec<String>, sqlx::Error> {
    match table.holds {
        // From tenant to tenant along the key, because DISTINCT would read every row.
        Holds::Stream | Holds::Sums => {
            let name = table.name;
            let sql = format!(
                "WITH RECURSIVE tenants AS (
                    (SELECT tenant_id FROM {schema}.{name} ORDER BY tenant_id LIMIT 1)
                    UNION ALL
                    SELECT (SELECT n.tenant_id FROM {schema}.{name} AS n WHERE n.tenant_id > tenants.tenant_id
                             ORDER BY n.tenant_id LIMIT 1)
                      FROM tenants WHERE tenants.tenant_id IS NOT NULL)
                 SELECT tenant_id FROM tenants WHERE tenant_id IS NOT NULL"
            );
            sqlx::query_scalar(&sql).fetch_all(read_store).await
        }
        Holds::Parked => {
            sqlx::query_scalar(
                "SELECT DISTINCT tenant_id FROM meta.parked_streams WHERE read_model = $1 AND generation = $2",
            )
            .bind(&target.read_model)
            .bind(target.generation)
            .fetch_all(read_store)
            .await
        }
    }
}
