//! A log of several tenants in two shards, and what stands in it by its own tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use domain::metadata::key;
use domain::{
    BusinessDate, EstablishmentId, EventId, EventType, Numbering, OrderId, ProductId, Sequence, StreamId, TenantId,
};
use event_store::{
    Append, EventStore, NewEvent, Options, RecordedEvent, ShardId, ShardOptions, Slot, SlotPosition, bootstrap,
};
use migrations::{Database, migrate};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use crate::publishing::PARTITIONS;

const SHARDS: i16 = 2;
const TENANTS: u16 = 30;
const ORDERS_EACH: u128 = 4;

/// Attributes that a record may have, as the published document says: metadata of these names, but
/// for the underscores, travels as them, and the rest of it together.
static NAMED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let headers = &contracts::asyncapi()["components"]["schemas"]["Headers"];
    let required = headers["required"].as_array().unwrap();
    let all = headers["properties"].as_object().unwrap().keys();
    all.filter(|name| !required.contains(&Value::from(name.as_str())))
        .filter_map(|name| Some(name.strip_prefix("ce_")?.to_owned()))
        .collect()
});

/// An event as its row says, in the words of the contract.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) slot: i64,
    pub(crate) slot_position: i64,
    pub(crate) tenant: String,
    /// But for `time`.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Metadata without an attribute, as JSON.
    pub(crate) further: Option<String>,
    pub(crate) time: DateTime<Utc>,
    pub(crate) payload: String,
}

impl Stored {
    pub(crate) fn partition(&self) -> i32 {
        i32::try_from(self.slot % i64::from(PARTITIONS)).unwrap()
    }

    fn of(row: &PgRow, shard: i16) -> Self {
        let text = |column: &str| row.get::<String, _>(column);
        let number = |column: &str| row.get::<i64, _>(column);
        let (tenant, event_type, version) = (text("tenant_id"), text("event_type"), text("event_version"));
        let (kind, id) = (text("aggregate_type"), text("aggregate_id"));
        let subject = id.strip_prefix(&format!("{tenant}/")).unwrap();
        let mut attributes: BTreeMap<String, String> = [
            ("specversion", "1.0".to_owned()),
            ("datacontenttype", "application/json".to_owned()),
            ("id", text("event_id")),
            ("source", format!("/tenants/{tenant}")),
            ("dataschema", format!("urn:comanda:event:{event_type}:{version}")),
            ("type", event_type),
            ("eventversion", version),
            ("subject", format!("{kind}/{subject}")),
            ("stream", format!("{kind}:{id}")),
            ("tenantid", tenant.clone()),
            ("sequence", number("sequence").to_string()),
            ("slot", number("slot").to_string()),
            ("slotposition", number("slot_position").to_string()),
            ("incarnation", number("incarnation").to_string()),
            ("shard", shard.to_string()),
            ("shardposition", number("position").to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut further: BTreeMap<String, String> = serde_json::from_str(&text("metadata")).unwrap();
        further.remove(key::TENANT_ID);
        further.retain(|name, value| {
            let attribute = name.replace('_', "");
            let named = NAMED.contains(&attribute);
            if named {
                attributes.insert(attribute, std::mem::take(value));
            }
            !named
        });
        Self {
            slot: number("slot"),
            slot_position: number("slot_position"),
            tenant,
            attributes,
            further: (!further.is_empty()).then(|| serde_json::to_string(&further).unwrap()),
            time: row.get("recorded_at"),
            payload: text("payload"),
        }
    }
}

pub(crate) struct Log {
    pub(crate) store: EventStore,
    pub(crate) shards: Vec<ShardOptions>,
    pub(crate) stored: Vec<Stored>,
}

impl Log {
    pub(crate) async fn with_events() -> Self {
        let mut control = open(&local_postgres::testing::fresh_database().await).await;
        migrate(Database::Control, &mut control).await.unwrap();
        let mut shards = Vec::new();
        for id in 0..SHARDS {
            let url = local_postgres::testing::fresh_database().await;
            migrate(Database::EventStore, &mut open(&url).await).await.unwrap();
            shards.push(ShardOptions { id: ShardId(id), url });
        }
        bootstrap(&mut control, &shards).await.unwrap();
        let options = Options {
            shards: shards.clone(),
            ..Options::default()
        };
        let store = EventStore::connect(options).await.unwrap();
        for append in appends() {
            store.append(append).await.unwrap();
        }
        let mut stored = Vec::new();
        for shard in &shards {
            stored.extend(rows(shard).await);
        }
        let log = Self { store, shards, stored };
        log.assert_worth_reading();
        log
    }

    /// Several tenants share a slot or a partition, and everything that can be in a record is in one.
    fn assert_worth_reading(&self) {
        let slots: BTreeSet<_> = self.stored.iter().map(|it| it.slot).collect();
        let partitions: BTreeSet<_> = self.stored.iter().map(Stored::partition).collect();
        let types: BTreeSet<_> = self.stored.iter().map(|it| it.attributes["type"].as_str()).collect();
        assert!(self.stored.len() > 300, "{}", self.stored.len());
        assert_eq!(partitions.len(), usize::from(PARTITIONS));
        assert!(slots.len() > partitions.len());
        assert_eq!(types, EventType::ALL.iter().map(|it| it.as_str()).collect());
        let occurs = |name: &String| self.stored.iter().any(|it| it.attributes.contains_key(name));
        assert!(!NAMED.is_empty() && NAMED.iter().all(occurs));
        assert!(self.stored.iter().any(|it| it.further.is_some()));
    }

    /// The same as the store gives it to a relay, slot by slot, each in order.
    pub(crate) async fn recorded(&self) -> Vec<(ShardId, RecordedEvent)> {
        let mut recorded = Vec::new();
        let slots: BTreeMap<_, _> = self
            .stored
            .iter()
            .map(|it| (it.slot, it.attributes["shard"].parse().unwrap()))
            .collect();
        for (slot, shard) in slots {
            let slot = Slot(slot.try_into().unwrap());
            let events = self.store.read_slot(slot, SlotPosition(0), 1_000).await.unwrap();
            recorded.extend(events.into_iter().map(|event| (ShardId(shard), event)));
        }
        assert_eq!(recorded.len(), self.stored.len());
        recorded
    }

    /// Whether the cursor of every shard has reached the end of its log.
    pub(crate) async fn is_published(&self, topic: &str) -> bool {
        for shard in &self.shards {
            match relay::published(&mut open(&shard.url).await, topic).await.unwrap() {
                Some(it) if it.position == it.head => {}
                _ => return false,
            }
        }
        true
    }
}

async fn open(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn rows(shard: &ShardOptions) -> Vec<Stored> {
    let rows = sqlx::query(
        "SELECT e.slot::bigint AS slot, e.slot_position, s.incarnation::bigint AS incarnation, e.position, \
                e.tenant_id, e.aggregate_type, e.aggregate_id, e.sequence, e.event_id::text AS event_id, \
                e.event_type, e.event_version, e.recorded_at, e.metadata::text AS metadata, \
                e.payload::text AS payload \
           FROM events e JOIN slots s USING (slot)",
    );
    let rows = rows.fetch_all(&mut open(&shard.url).await).await.unwrap();
    rows.iter().map(|row| Stored::of(row, shard.id.0)).collect()
}

/// Every kind of event, the tenants' mixed as those of a busy evening.
fn appends() -> Vec<Append> {
    let tenants: Vec<_> = (0..TENANTS)
        .map(|nth| TenantId::new(&format!("tenant-{nth}")).unwrap())
        .collect();
    let (establishment, product) = (
        EstablishmentId::new("trattoria").unwrap(),
        ProductId::new("pizza").unwrap(),
    );
    let numbering = Numbering {
        establishment_id: establishment.clone(),
        business_date: BusinessDate("2026-02-28".parse().unwrap()),
    };
    let mut appends = Appends::default();
    for tenant in &tenants {
        appends.add(
            tenant,
            StreamId::establishment(tenant, &establishment),
            0,
            EventType::EstablishmentDefined,
        );
    }
    for tenant in &tenants {
        let stream = StreamId::product(tenant, &product);
        appends.add(tenant, stream.clone(), 0, EventType::ProductDefined);
        appends.add(tenant, stream, 1, EventType::ProductAvailabilityChanged);
    }
    for nth in 0..ORDERS_EACH {
        for (tenant, id) in tenants.iter().zip(nth << 32..) {
            let stream = StreamId::order(tenant, OrderId(Uuid::from_u128(id)));
            appends.add(tenant, stream.clone(), 0, EventType::OrderCreated);
            appends.all.last_mut().unwrap().numbering = Some(numbering.clone());
            appends.add(tenant, stream, 1, EventType::OrderStatusChanged);
        }
    }
    appends.all
}

#[derive(Default)]
struct Appends {
    all: Vec<Append>,
}

impl Appends {
    fn add(&mut self, tenant: &TenantId, stream: StreamId, expected: i64, event: EventType) {
        let nth = self.all.len();
        self.all.push(Append {
            stream,
            expected: Sequence(expected),
            numbering: None,
            events: vec![NewEvent {
                event_id: EventId(Uuid::from_u128(u128::try_from(nth).unwrap() + 1)),
                event_type: event.as_str().to_owned(),
                event_version: event.version().to_owned(),
                payload: RawValue::from_string(payload(event, nth)).unwrap(),
                metadata: metadata(tenant, nth)
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            }],
        });
    }
}

/// Some on one line and some on many, with text that is more than ASCII: a reader gets the bytes.
fn payload(event: EventType, nth: usize) -> String {
    let golden = format!(
        "{}/../domain/tests/golden/{}",
        env!("CARGO_MANIFEST_DIR"),
        contracts::file_name(event)
    );
    let text = std::fs::read_to_string(golden).unwrap();
    let mut payload: Value = serde_json::from_str(&text).unwrap();
    for place in ["/note/ct", "/name"] {
        if let Some(text) = payload.pointer_mut(place) {
            *text = format!("größer, „{nth}“ = \"1\\2\"\n漢😀").into();
        }
    }
    if nth.is_multiple_of(2) {
        serde_json::to_string_pretty(&payload).unwrap()
    } else {
        payload.to_string()
    }
}

/// From the least to everything.
fn metadata(tenant: &TenantId, nth: usize) -> Vec<(&'static str, String)> {
    let mut metadata = vec![(key::TENANT_ID, tenant.to_string())];
    if !nth.is_multiple_of(5) {
        metadata.extend([
            (key::ESTABLISHMENT_ID, "trattoria".to_owned()),
            (key::OCCURRED_AT, "2026-03-01T12:00:00Z".to_owned()),
            (key::ACTOR, format!("Zoë, till {nth} = \"bar\"")),
            (key::CORRELATION_ID, format!("c-{nth}")),
            (key::CAUSATION_ID, format!("d-{nth}")),
            (key::OPERATION, "create_order".to_owned()),
            (key::IDEMPOTENCY_KEY, format!("k {nth}")),
            (key::FINGERPRINT, "0".repeat(64)),
        ]);
    }
    if nth.is_multiple_of(3) {
        metadata.push(("device", "a=1, b=\"2\"".to_owned()));
        metadata.push(("weather", "schön".to_owned()));
    }
    metadata
}
