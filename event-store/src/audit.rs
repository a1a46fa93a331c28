//! Looking for what must never be: a gap or a double in what the log counts.
//!
//! Each counter is dense, so `count = max = count(distinct)`, and `max` is what the head says.
//! Statement by statement, one slot at a time, so that no snapshot is held for long.

use domain::TenantId;

use crate::error::Error;
use crate::ids::{ShardId, Slot};
use crate::shard::Shard;
use crate::store::EventStore;

/// A counter of the log that is not dense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub shard: ShardId,
    /// The counter, such as `slot 17` or `stream order:acme/…`.
    pub counter: String,
    /// Where the log says that it stands.
    pub head: i64,
    pub count: i64,
    pub distinct: i64,
    pub max: i64,
}

/// counter, head, count, distinct, max
type Row = (String, i64, i64, i64, i64);

/// The head is also checked where no event is left to compare it with.
const SLOT: &str = "
    SELECT 'slot ' || s.slot, s.slot_position,
           count(e.slot_position), count(DISTINCT e.slot_position), coalesce(max(e.slot_position), 0)
      FROM slots s LEFT JOIN events e ON e.slot = s.slot
     WHERE s.slot = $1
     GROUP BY s.slot, s.slot_position";

const STREAMS: &str = "
    SELECT 'stream ' || aggregate_type || ':' || aggregate_id, max(sequence),
           count(*), count(DISTINCT sequence), max(sequence)
      FROM events WHERE slot = $1
     GROUP BY aggregate_type, aggregate_id
    HAVING NOT (min(sequence) = 1 AND count(*) = max(sequence))";

/// Numbers that were given out, against the counters that gave them.
const ORDER_NUMBERS: &str = "
    SELECT 'order numbers of ' || coalesce(c.tenant_id, n.tenant_id) || '/'
               || coalesce(c.establishment_id, n.establishment_id) || ' on '
               || coalesce(c.business_date, n.business_date),
           coalesce(c.last_number, 0), coalesce(n.count, 0), coalesce(n.distinct_count, 0), coalesce(n.max, 0)
      FROM (SELECT * FROM order_numbers WHERE slot = $1) c
      FULL JOIN (
           SELECT tenant_id, establishment_id, business_date, count(*) AS count,
                  count(DISTINCT number) AS distinct_count, max(number) AS max
             FROM (SELECT tenant_id, payload ->> 'establishment_id' AS establishment_id,
                          (payload ->> 'business_date')::date AS business_date,
                          (metadata ->> 'number')::bigint AS number
                     FROM events WHERE slot = $1 AND metadata ->> 'number' IS NOT NULL) given
            GROUP BY tenant_id, establishment_id, business_date) n
        ON n.tenant_id = c.tenant_id AND n.establishment_id = c.establishment_id
       AND n.business_date = c.business_date";

const SHARD: &str = "
    SELECT 'position', (SELECT position FROM shard), count(*), count(DISTINCT position), coalesce(max(position), 0)
      FROM events";

const OWNED: [&str; 3] = [SLOT, STREAMS, ORDER_NUMBERS];
const COPIED: [&str; 2] = [SLOT, STREAMS];

impl EventStore {
    /// Checks every counter of a shard. Empty where all is well. Quiet shards only: the last check,
    /// of `position`, reads the whole shard at once.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit(&self, shard: ShardId) -> Result<Vec<Finding>, Error> {
        let shard = self.shard(shard)?;
        let mut findings = Vec::new();
        for head in self.heads(shard.id).await? {
            // A copy that was left, or is being made, gives out no numbers.
            let checks: &[&str] = if head.owned { &OWNED } else { &COPIED };
            findings.extend(audit_slot(&shard, head.slot, checks).await?);
        }
        let rows: Vec<Row> = sqlx::query_as(SHARD)
            .fetch_all(&shard.pool)
            .await
            .map_err(Error::read)?;
        findings.extend(not_dense(shard.id, rows));
        Ok(findings)
    }

    /// Checks the counters of a tenant's slot, on the shard that owns it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit_tenant(&self, tenant: &TenantId) -> Result<Vec<Finding>, Error> {
        let slot = Slot::of(tenant);
        audit_slot(&*self.owner(slot).await?, slot, &OWNED).await
    }
}

async fn audit_slot(shard: &Shard, slot: Slot, checks: &[&str]) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for sql in checks {
        let rows = sqlx::query_as(sql)
            .bind(slot.as_i16())
            .fetch_all(&shard.pool)
            .await
            .map_err(Error::read)?;
        findings.extend(not_dense(shard.id, rows));
    }
    Ok(findings)
}

fn not_dense(shard: ShardId, rows: Vec<Row>) -> impl Iterator<Item = Finding> {
    rows.into_iter()
        .filter(|(_, head, count, distinct, max)| !(head == count && count == distinct && distinct == max))
        .map(move |(counter, head, count, distinct, max)| Finding {
            shard,
            counter,
            head,
            count,
            distinct,
            max,
        })
}
