//! Holds what the databases contain against what the log says, independently of the code that
//! wrote either: plain SQL in, a fold by the domain's own rules, differences out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::order::{Order, OrderEvent};
use domain::{Event, StreamId};
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};

use super::eventually;
use super::platform::Databases;

/// An order's row as every copy of it must read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderRow {
    pub(crate) establishment: String,
    pub(crate) business_date: String,
    pub(crate) number: i64,
    pub(crate) status: String,
    pub(crate) total: i64,
    pub(crate) units: i64,
    pub(crate) version: i64,
}

/// Key of an order: tenant and id.
pub(crate) type OrderKey = (String, String);
/// Key of a day: tenant, establishment, business date.
type DayKey = (String, String, String);

/// Everything the log says, folded.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) orders: BTreeMap<OrderKey, OrderRow>,
    pub(crate) created: BTreeMap<OrderKey, u32>,
    pub(crate) events: usize,
    heads: BTreeMap<i32, i64>,
    days: BTreeMap<DayKey, Day>,
    timeline: BTreeSet<(String, String, i64)>,
    broken: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Day {
    orders: i64,
    sales: i64,
    customers: i64,
}

struct Stored {
    slot: i32,
    slot_position: i64,
    stream: StreamId,
    sequence: i64,
    event: Event,
    metadata: BTreeMap<String, String>,
}

impl Log {
    /// Reads the log of every slot from the shard that owns it. What a slot left behind is not of it.
    pub(crate) async fn read(databases: &Databases) -> Self {
        let mut log = Self::default();
        let mut folded: BTreeMap<OrderKey, (Order, i64, i64)> = BTreeMap::new();
        let mut slots: BTreeMap<i32, i64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for url in &databases.shards {
            for (stored, event_id) in read_shard(url).await {
                log.events += 1;
                if !ids.insert(event_id.clone()) {
                    log.broken.push(format!("event {event_id} is stored twice"));
                }
                let expected = slots.get(&stored.slot).map_or(1, |last| last + 1);
                if stored.slot_position != expected {
                    log.broken.push(format!(
                        "slot {} holds position {} where {expected} was due",
                        stored.slot, stored.slot_position
                    ));
                }
                slots.insert(stored.slot, stored.slot_position);
                log.fold(stored, &mut folded);
            }
        }
        log.heads = slots;
        log.finish(folded);
        log
    }

    fn fold(&mut self, stored: Stored, folded: &mut BTreeMap<OrderKey, (Order, i64, i64)>) {
        let Event::Order(event) = stored.event else { return };
        let key = (stored.stream.tenant().to_string(), stored.stream.id().to_owned());
        let (order, version, number) = folded.entry(key.clone()).or_default();
        if stored.sequence != *version + 1 {
            self.broken.push(format!(
                "order {key:?} has sequence {} after {version}",
                stored.sequence
            ));
        }
        if let OrderEvent::OrderCreated(_) = &event {
            *self.created.entry(key.clone()).or_default() += 1;
            *number = stored
                .metadata
                .get("number")
                .and_then(|number| number.parse().ok())
                .unwrap_or_default();
        }
        order.evolve(&event);
        *version = stored.sequence;
        self.timeline.insert((key.0, key.1, stored.sequence));
    }

    fn finish(&mut self, folded: BTreeMap<OrderKey, (Order, i64, i64)>) {
        let mut numbers: BTreeMap<DayKey, BTreeSet<i64>> = BTreeMap::new();
        let mut customers: BTreeMap<DayKey, BTreeSet<String>> = BTreeMap::new();
        for (key, (order, version, number)) in folded {
            let Some(state) = order.state() else {
                self.broken
                    .push(format!("order {key:?} has events but was never created"));
                continue;
            };
            let created = &state.created;
            let day = (
                key.0.clone(),
                created.establishment_id.to_string(),
                created.business_date.to_string(),
            );
            if !numbers.entry(day.clone()).or_default().insert(number) {
                self.broken.push(format!("{day:?} has number {number} twice"));
            }
            if state.status.counts_as_sale() {
                let entry = self.days.entry(day.clone()).or_default();
                entry.orders += 1;
                entry.sales += created.totals.total.0;
                if let Some(id) = created
                    .customer
                    .as_ref()
                    .and_then(|customer| customer.customer_id.as_ref())
                {
                    customers.entry(day.clone()).or_default().insert(id.to_string());
                }
            }
            let row = OrderRow {
                establishment: day.1,
                business_date: day.2,
                number,
                status: state.status.to_string(),
                total: created.totals.total.0,
                units: created.items.iter().map(|item| i64::from(item.quantity)).sum(),
                version,
            };
            self.orders.insert(key, row);
        }
        for (day, ids) in customers {
            if let Some(entry) = self.days.get_mut(&day) {
                entry.customers = i64::try_from(ids.len()).unwrap_or(i64::MAX);
            }
        }
        for (day, numbers) in numbers {
            let dense = numbers
                .iter()
                .copied()
                .eq(1..=i64::try_from(numbers.len()).unwrap_or(i64::MAX));
            if !dense {
                self.broken
                    .push(format!("numbers of {day:?} are not 1..{}", numbers.len()));
            }
        }
    }

    /// The sum of sales over the whole log, by tenant.
    pub(crate) fn sales(&self, tenant: &str) -> i64 {
        self.days
            .iter()
            .filter(|(day, _)| day.0 == tenant)
            .map(|(_, day)| day.sales)
            .sum()
    }

    /// Where each slot with events ends.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (i32, i64)> {
        self.heads.iter().map(|(slot, head)| (*slot, *head))
    }

    /// What is wrong with the log itself (G3).
    pub(crate) fn faults(&self) -> &[String] {
        &self.broken
    }

    /// Waits until every read model's checkpoints have reached the end of this log.
    pub(crate) async fn await_caught_up(&self, databases: &Databases) {
        for url in databases.reads() {
            self.await_caught_up_at(url).await;
        }
    }

    pub(crate) async fn await_caught_up_at(&self, url: &str) {
        eventually(Duration::from_secs(90), || async {
            let mut connection = PgConnection::connect(url).await.map_err(|e| e.to_string())?;
            let rows: Vec<(String, i32, i64)> = sqlx::query_as(
                "select m.read_model, c.slot::int, c.slot_position from meta.read_models m
                   join meta.checkpoints c using (read_model, generation)",
            )
            .fetch_all(&mut connection)
            .await
            .map_err(|error| error.to_string())?;
            let models: BTreeSet<&String> = rows.iter().map(|(model, ..)| model).collect();
            let reached: BTreeMap<_, _> = rows.iter().map(|(model, slot, at)| ((model, *slot), *at)).collect();
            for (slot, head) in &self.heads {
                for model in &models {
                    let at = reached.get(&(*model, *slot)).copied().unwrap_or_default();
                    if at < *head {
                        return Err(format!("{model} is at {at} of {head} in slot {slot}"));
                    }
                }
            }
            if models.is_empty() {
                Err("no read model has a checkpoint".into())
            } else {
                Ok(())
            }
        })
        .await;
    }

    /// Where the read models differ from the log (G1, G4), in the read store and every standby of it.
    /// Empty once they agree.
    pub(crate) async fn differences(&self, databases: &Databases) -> Vec<String> {
        let mut found = Vec::new();
        for (copy, url) in databases.reads().enumerate() {
            let here = self.differences_at(url).await;
            found.extend(here.into_iter().map(|it| format!("read store {copy}: {it}")));
        }
        found
    }

    /// The same for one database.
    pub(crate) async fn differences_at(&self, url: &str) -> Vec<String> {
        let mut connection = PgConnection::connect(url).await.expect("the read store answers");
        let mut found = Vec::new();
        // Nothing here is poison: a stream that stands still was fed wrongly.
        let parked: Vec<String> = sqlx::query_scalar(
            "select format('%s: %s is parked at %s: %s', read_model, aggregate_id, first_sequence, error)
               from meta.parked_streams",
        )
        .fetch_all(&mut connection)
        .await
        .expect("parked streams read");
        found.extend(parked);
        compare("orders", &self.orders, &read_orders(&mut connection).await, &mut found);
        compare("daily_sales", &self.days, &read_days(&mut connection).await, &mut found);
        let log: BTreeMap<_, _> = self.timeline.iter().map(|entry| (entry.clone(), ())).collect();
        compare(
            "order_timeline",
            &log,
            &read_timeline(&mut connection).await,
            &mut found,
        );
        found
    }
}

async fn read_shard(url: &str) -> Vec<(Stored, String)> {
    let mut connection = PgConnection::connect(url).await.expect("the shard answers");
    let rows = sqlx::query(
        "select slot::int as slot, slot_position, aggregate_type, aggregate_id, sequence, event_id::text as event_id,
                event_type, event_version, payload, metadata
           from events where slot in (select slot from slots where owned) order by slot, slot_position",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the log reads");
    rows.iter().map(|row| (stored(row), row.get("event_id"))).collect()
}

fn stored(row: &PgRow) -> Stored {
    let kind: String = row.get("event_type");
    let version: String = row.get("event_version");
    let payload: Value = row.get("payload");
    let metadata: Value = row.get("metadata");
    Stored {
        slot: row.get("slot"),
        slot_position: row.get("slot_position"),
        stream: StreamId::from_stored(row.get("aggregate_type"), row.get("aggregate_id")).expect("a stream"),
        sequence: row.get("sequence"),
        event: Event::decode(&kind, &version, payload).expect("decodes"),
        metadata: serde_json::from_value(metadata).expect("flat metadata"),
    }
}

/// The schema that serves a read model.
async fn schema(connection: &mut PgConnection, read_model: &str) -> String {
    sqlx::query_scalar(
        "select g.schema_name from meta.read_models m
           join meta.generations g using (read_model, generation) where m.read_model = $1",
    )
    .bind(read_model)
    .fetch_one(connection)
    .await
    .expect("a generation serves")
}

async fn read_orders(connection: &mut PgConnection) -> BTreeMap<OrderKey, OrderRow> {
    let schema = schema(connection, "orders").await;
    let statement = format!(
        "select tenant_id, order_id::text as order_id, establishment_id, business_date::text as business_date,
                number, status, total, item_count::bigint as units, version from {schema}.orders"
    );
    let rows = sqlx::query(&statement)
        .fetch_all(connection)
        .await
        .expect("orders read");
    rows.iter()
        .map(|row| {
            let order = OrderRow {
                establishment: row.get("establishment_id"),
                business_date: row.get("business_date"),
                number: row.get("number"),
                status: row.get("status"),
                total: row.get("total"),
                units: row.get("units"),
                version: row.get("version"),
            };
            ((row.get("tenant_id"), row.get("order_id")), order)
        })
        .collect()
}

async fn read_days(connection: &mut PgConnection) -> BTreeMap<DayKey, Day> {
    let schema = schema(connection, "daily_sales").await;
    let statement = format!(
        "select tenant_id, establishment_id, business_date::text as business_date, orders, sales,
                unique_customers from {schema}.days where orders > 0"
    );
    let rows = sqlx::query(&statement).fetch_all(connection).await.expect("days read");
    rows.iter()
        .map(|row| {
            let day = Day {
                orders: row.get("orders"),
                sales: row.get("sales"),
                customers: row.get("unique_customers"),
            };
            (
                (
                    row.get("tenant_id"),
                    row.get("establishment_id"),
                    row.get("business_date"),
                ),
                day,
            )
        })
        .collect()
}

async fn read_timeline(connection: &mut PgConnection) -> BTreeMap<(String, String, i64), ()> {
    let schema = schema(connection, "order_timeline").await;
    let statement = format!("select tenant_id, order_id::text as order_id, sequence from {schema}.entries");
    let rows = sqlx::query(&statement)
        .fetch_all(connection)
        .await
        .expect("the timeline reads");
    rows.iter()
        .map(|row| ((row.get("tenant_id"), row.get("order_id"), row.get("sequence")), ()))
        .collect()
}

fn compare<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    read_model: &str,
    log: &BTreeMap<K, V>,
    rows: &BTreeMap<K, V>,
    found: &mut Vec<String>,
) {
    for (key, expected) in log {
        match rows.get(key) {
            None => found.push(format!("{read_model}: {key:?} is missing")),
            Some(row) if row != expected => {
                found.push(format!("{read_model}: {key:?} is {row:?}, the log says {expected:?}"));
            }
            Some(_) => {}
        }
    }
    for key in rows.keys().filter(|key| !log.contains_key(key)) {
        found.push(format!("{read_model}: {key:?} is not in the log"));
    }
}
