//! SQL reads what was selected, once.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Once;

use super::support::{OrderRow, World, insert_catalogue};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

thread_local! {
    /// Every statement that ran on this thread while one is listening.
    static STATEMENTS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Listen;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if matches!(field.name(), "summary" | "db.statement") {
            write!(self.0, "{value:?} ").unwrap();
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Listen {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut text = Text(String::new());
            event.record(&mut text);
            STATEMENTS.with_borrow_mut(|statements| statements.iter_mut().for_each(|all| all.push(text.0.clone())));
        }
    }
}

/// The statements that a query runs on read models, once pointers and connections are warm.
async fn statements(world: &World, query: &str) -> Vec<String> {
    static LISTENING: Once = Once::new();
    // One for the whole process: what a thread without its own would miss depends on the others.
    LISTENING
        .call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Listen)).unwrap());
    world.query("dev", query, json!({})).await.data();
    STATEMENTS.set(Some(Vec::new()));
    world.query("dev", query, json!({})).await.data();
    let all = STATEMENTS.take().unwrap_or_default();
    all.into_iter().filter(|sql| sql.contains("meta.checkpoints")).collect()
}

async fn world() -> World {
    let world = World::new().await;
    insert_catalogue(&world, "dev", "plain").await;
    for number in 1..=30 {
        OrderRow::new("dev", number).insert(&world).await;
    }
    world
}

#[tokio::test]
async fn given_a_few_fields_then_no_other_column_is_read() {
    let world = world().await;
    let all = statements(
        &world,
        "{ orders(establishmentId: \"main\") { nodes { number status } } }",
    )
    .await;
    assert_eq!(all.len(), 1, "{all:#?}");
    let sql = &all[0];
    for selected in ["page.order_id", "page.placed_at", "page.number", "page.status"] {
        assert!(sql.contains(selected), "{selected}: {sql}");
    }
    for other in [
        "items",
        "total",
        "currency",
        "customer",
        "note",
        "reference",
        "search",
        "version",
        "count(",
        "EXISTS (SELECT 1 FROM \\\"orders",
    ] {
        assert!(!sql.contains(other), "{other}: {sql}");
    }
}

#[tokio::test]
async fn given_fields_made_of_several_columns_then_each_column_is_read_once() {
    let world = world().await;
    let query = "{ orders(establishmentId: \"main\") { nodes { total { amount } ...M } edges { node { a: tax { currency } } } } }
                 fragment M on Order { ... on Order { tip { amount } } items { name } }";
    let all = statements(&world, query).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    let inner = &all[0][all[0].find("JOIN (").unwrap()..];
    for column in ["total", "tax", "tip", "currency", "items"] {
        assert_eq!(inner.matches(&format!("page.{column}")).count(), 1, "{column}: {inner}");
    }
}

#[tokio::test]
async fn given_a_page_with_timelines_then_two_statements_answer_however_long_it_is() {
    let world = world().await;
    for size in [1, 30] {
        let query = format!(
            "{{ orders(establishmentId: \"main\", first: {size}) {{ nodes {{ number timeline {{ status }} items {{ name }} }} }} }}"
        );
        let all = statements(&world, &query).await;
        assert_eq!(all.len(), 2, "{all:#?}");
        assert!(
            !all[1].contains("actor") && !all[1].contains("recorded_at"),
            "{}",
            all[1]
        );
    }
}

#[tokio::test]
async fn given_counts_and_page_info_then_they_are_asked_only_when_selected() {
    let world = world().await;
    let list = |inner: &str| format!("{{ orders(establishmentId: \"main\", first: 5) {{ {inner} }} }}");
    let counted = statements(&world, &list("totalCount nodes { id }")).await;
    assert_eq!(counted.len(), 1);
    assert!(counted[0].contains("count(*)"));
    let plain = statements(&world, &list("nodes { id }")).await;
    assert!(
        plain[0].contains("LIMIT 5)") && !plain[0].contains("count(*)"),
        "{}",
        plain[0]
    );
    let next = statements(&world, &list("pageInfo { hasNextPage } nodes { id }")).await;
    assert!(next[0].contains("LIMIT 6)"), "{}", next[0]);
}

#[tokio::test]
async fn given_every_root_field_then_one_statement_each_and_tenant_first() {
    let world = world().await;
    let query = "{ orders(establishmentId: \"main\") { nodes { id } } order(id: \"00000000-0000-0000-0000-000000000001\") { id }
        products(establishmentId: \"main\") { nodes { id } } establishments { nodes { id } }
        orderByNumber(establishmentId: \"main\", date: \"2026-01-31\", number: 1) { id }
        dailySales(establishmentId: \"main\", from: \"2026-01-31\", to: \"2026-01-31\") { orders } }";
    let all = statements(&world, query).await;
    assert_eq!(all.len(), 6, "{all:#?}");
    for sql in &all {
        assert!(sql.contains("AS page WHERE page.tenant_id = $1"), "{sql}");
    }
}

#[tokio::test]
async fn given_introspection_then_nothing_is_read() {
    let world = world().await;
    assert!(
        statements(&world, "{ __schema { types { name } } __typename }")
            .await
            .is_empty()
    );
}
