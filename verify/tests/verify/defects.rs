//! Defects planted one by one, each in a tenant of its own: each is found, and named.

use std::collections::BTreeSet;

use domain::order::OrderStatus;
use event_store::Slot;
use verify::{Difference, Scope};

use crate::support::{World, tenant};

/// What is broken, and what has to be said of it.
struct Defect {
    /// `$tenant`, `$other` and `$slot` stand for the tenant's name, another's, and the tenant's slot.
    sql: &'static str,
    /// Each difference of the tenant: table, kind, and words that its description must hold.
    told: &'static [(&'static str, &'static str, &'static [&'static str])],
}

const fn defect(sql: &'static str, told: &'static [(&'static str, &'static str, &'static [&'static str])]) -> Defect {
    Defect { sql, told }
}

/// The completed order, the placed one, and so on, by what `World::week` does.
const DEFECTS: &[Defect] = &[
    defect(
        "UPDATE orders_g1.orders SET total = total + 1 WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("orders", "changed", &["total is 573", "the log says 572"])],
    ),
    defect(
        "DELETE FROM orders_g1.orders WHERE tenant_id = '$tenant' AND status = 'rejected'",
        &[("orders", "missing", &["sequence 2"])],
    ),
    defect(
        "INSERT INTO orders_g1.orders (tenant_id, order_id, establishment_id, number, business_date, reference,
            status, service_type, channel, table_id, currency, subtotal, discount, tax, tip, total, item_count,
            items, customer_id, customer_name, customer_contact, note, placed_at, updated_at, version)
         SELECT tenant_id, '00000000-0000-7000-8000-000000000001', establishment_id, number + 100, business_date,
            reference, status, service_type, channel, table_id, currency, subtotal, discount, tax, tip, total,
            item_count, items, customer_id, customer_name, customer_contact, note, placed_at, updated_at, version
           FROM orders_g1.orders WHERE tenant_id = '$tenant' AND status = 'placed'",
        &[(
            "orders",
            "extra",
            &["00000000-0000-7000-8000-000000000001", "no such stream"],
        )],
    ),
    // As it stood before its last event.
    defect(
        "UPDATE orders_g1.orders AS o SET status = e.status, updated_at = e.recorded_at, version = e.sequence
           FROM order_timeline_g1.entries AS e
          WHERE o.tenant_id = '$tenant' AND o.status = 'completed' AND e.tenant_id = o.tenant_id
            AND e.order_id = o.order_id AND e.sequence = 4",
        &[(
            "orders",
            "changed",
            &[
                "status is ready, the log says completed",
                "as after sequence 4; the log goes to 5",
            ],
        )],
    ),
    defect(
        "UPDATE orders_g1.orders SET tenant_id = '$other' WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[],
    ),
    defect(
        "UPDATE orders_g1.orders SET items = jsonb_set(items, '{0,quantity}', '7')
          WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("orders", "changed", &["items[0].quantity is 7, the log says 1"])],
    ),
    defect(
        "UPDATE orders_g1.orders SET number = 77 WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("orders", "changed", &["number is 77, the log says 1"])],
    ),
    defect(
        "UPDATE orders_g1.orders SET business_date = '2026-03-09' WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[(
            "orders",
            "changed",
            &["business_date is 2026-03-09, the log says 2026-03-01"],
        )],
    ),
    defect(
        "UPDATE orders_g1.orders SET updated_at = updated_at - interval '1 microsecond'
          WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("orders", "changed", &["updated_at is"])],
    ),
    defect(
        "UPDATE orders_g1.orders SET version = version + 1 WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("orders", "changed", &["version is 6, the log says 5"])],
    ),
    defect(
        "UPDATE orders_g1.orders SET customer_name = NULL WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[(
            "orders",
            "changed",
            &["customer_name is nothing, the log says Giulia Bianchi"],
        )],
    ),
    defect(
        "DELETE FROM order_timeline_g1.entries WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[(
            "entries",
            "missing",
            &["sequence=5", "the log has the event at slot position"],
        )],
    ),
    defect(
        "INSERT INTO order_timeline_g1.entries (tenant_id, order_id, sequence, event_type, from_status, status,
            reason, actor, occurred_at, recorded_at)
         SELECT tenant_id, order_id, sequence + 1, event_type, from_status, status, reason, actor, occurred_at,
            recorded_at FROM order_timeline_g1.entries WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("entries", "extra", &["sequence=6", "the stream ends at sequence 5"])],
    ),
    defect(
        "UPDATE order_timeline_g1.entries SET actor = 'nobody' WHERE tenant_id = '$tenant' AND status = 'completed'",
        &[("entries", "changed", &["actor is nobody, the log says waiter"])],
    ),
    defect(
        "UPDATE daily_sales_g1.days SET sales = sales + 1
          WHERE tenant_id = '$tenant' AND establishment_id = 'main' AND business_date = '2026-03-01'",
        &[(
            "days",
            "changed",
            &["sales is", "as the log does: only the day's row is wrong"],
        )],
    ),
    defect(
        "UPDATE daily_sales_g1.days SET unique_customers = unique_customers + 1
          WHERE tenant_id = '$tenant' AND establishment_id = 'main' AND business_date = '2026-03-01'",
        &[("days", "changed", &["unique_customers is 2, the log says 1"])],
    ),
    defect(
        "DELETE FROM daily_sales_g1.days WHERE tenant_id = '$tenant' AND establishment_id = 'bar'",
        &[("days", "missing", &["the log has 1 orders that count for the day"])],
    ),
    defect(
        "INSERT INTO daily_sales_g1.days (tenant_id, establishment_id, business_date, currency, orders, sales,
            unique_customers) VALUES ('$tenant', 'main', '2026-02-28', 'USD', 1, 100, 0)",
        &[("days", "extra", &["2026-02-28", "no order that counts for the day"])],
    ),
    defect(
        "DELETE FROM daily_sales_g1.contributions AS c USING orders_g1.orders AS o
          WHERE c.tenant_id = '$tenant' AND o.tenant_id = c.tenant_id AND o.order_id = c.order_id
            AND o.status = 'completed'",
        &[("contributions", "missing", &["the stream stands at sequence 5"])],
    ),
    // A cancelled order that was never taken out.
    defect(
        "UPDATE daily_sales_g1.contributions AS c SET orders = 1, sales = o.total, customer_id = o.customer_id
           FROM orders_g1.orders AS o WHERE c.tenant_id = '$tenant' AND o.tenant_id = c.tenant_id
            AND o.order_id = c.order_id AND o.status = 'cancelled'",
        &[(
            "contributions",
            "changed",
            &["orders is 1, the log says 0", "as after sequence 1; the log goes to 2"],
        )],
    ),
    defect(
        "UPDATE daily_sales_g1.customers SET refs = refs + 1
          WHERE tenant_id = '$tenant' AND customer_id = 'giulia' AND business_date = '2026-03-01'",
        &[(
            "customers",
            "changed",
            &["customer_id=giulia", "refs is 3, the log says 2"],
        )],
    ),
    defect(
        "UPDATE products_g1.products SET price = 550 WHERE tenant_id = '$tenant' AND product_id = 'cake'",
        &[(
            "products",
            "changed",
            &["product_id=cake", "price is 550, the log says 575"],
        )],
    ),
    defect(
        "UPDATE products_g1.products SET available = true WHERE tenant_id = '$tenant' AND product_id = 'tea'",
        &[("products", "changed", &["available is true, the log says false"])],
    ),
    defect(
        "UPDATE products_g1.products SET modifiers = '[]' WHERE tenant_id = '$tenant' AND product_id = 'tea'",
        &[("products", "changed", &["modifiers[0] is nothing"])],
    ),
    defect(
        "UPDATE establishments_g1.establishments SET name = 'Trattoria'
          WHERE tenant_id = '$tenant' AND establishment_id = 'main'",
        &[(
            "establishments",
            "changed",
            &["name is Trattoria, the log says Trattoria da Enzo"],
        )],
    ),
    defect(
        "DELETE FROM establishments_g1.establishments WHERE tenant_id = '$tenant' AND establishment_id = 'bar'",
        &[("establishments", "missing", &["establishment_id=bar"])],
    ),
    defect(
        "DELETE FROM meta.parked_events WHERE read_model = 'orders' AND sequence = 3 AND aggregate_id LIKE '$tenant/%'",
        &[("parked_events", "missing", &["sequence=3", "parked from sequence 2"])],
    ),
    // It was let go, and its events never applied.
    defect(
        "WITH gone AS (DELETE FROM meta.parked_events WHERE read_model = 'orders' AND aggregate_id LIKE '$tenant/%'
                       RETURNING read_model)
         UPDATE meta.checkpoints SET parked = (SELECT 0 FROM gone LIMIT 1)
          WHERE read_model = 'orders' AND slot = $slot",
        &[
            ("checkpoints", "changed", &["parked is 0, the log says 1"]),
            ("parked_events", "missing", &["sequence=2"]),
            ("parked_events", "missing", &["sequence=3"]),
        ],
    ),
];

/// These break a whole slot, so nothing else is said of it.
const BROKEN_SLOTS: &[Defect] = &[
    defect(
        "UPDATE meta.checkpoints SET slot_position = slot_position + 5 WHERE read_model = 'products' AND slot = $slot",
        &[("checkpoints", "checkpoint_ahead", &["the log ends before it"])],
    ),
    defect(
        "UPDATE meta.checkpoints SET incarnation = 9 WHERE read_model = 'products' AND slot = $slot",
        &[("checkpoints", "checkpoint_ahead", &["incarnation 9"])],
    ),
    defect(
        "DELETE FROM meta.checkpoints WHERE read_model = 'products' AND slot = $slot",
        &[("checkpoints", "checkpoint_missing", &["no checkpoint"])],
    ),
];

fn line(it: &Difference) -> String {
    let why = it.why.clone().unwrap_or_default();
    format!(
        "{} {} {}: {}: {why}",
        it.table,
        it.kind.name(),
        it.key_text(),
        it.what()
    )
}

/// Whether every difference told is among those found, and no other.
fn fits(found: &[&Difference], told: &[(&str, &str, &[&str])]) -> bool {
    let mut left: Vec<&Difference> = found.to_vec();
    for (table, kind, words) in told {
        let fitting = left.iter().position(|it| {
            let text = line(it);
            it.table == *table && it.kind.name() == *kind && words.iter().all(|word| text.contains(word))
        });
        let Some(index) = fitting else { return false };
        left.remove(index);
    }
    left.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_defects_planted_then_each_is_found_and_named_and_nothing_else() {
    let mut world = World::new().await;
    let all: Vec<&Defect> = DEFECTS.iter().chain(BROKEN_SLOTS).collect();
    let name = |nth: usize| format!("house-{nth}");
    let mut slots = BTreeSet::new();
    for nth in 0..=all.len() {
        let tenant = tenant(&name(nth));
        assert!(slots.insert(Slot::of(&tenant)), "the tenants' slots differ");
        if nth == all.len() {
            // Rows of others go astray here.
            break;
        }
        let orders = world.week(&tenant).await;
        if all.get(nth).is_some_and(|defect| defect.sql.contains("parked")) && nth < DEFECTS.len() {
            world.poison(&orders[1]).await;
            assert!(world.change(&orders[1], OrderStatus::Accepted).await);
        }
    }
    world.project().await;
    assert!(world.verify(&Scope::default()).await.is_clean());
    let other = name(all.len());
    for (nth, defect) in all.iter().enumerate() {
        let slot = Slot::of(&tenant(&name(nth)));
        let sql = defect.sql.replace("$tenant", &name(nth)).replace("$other", &other);
        world.execute(&sql.replace("$slot", &slot.to_string())).await;
    }

    let report = world.verify(&Scope::default()).await;

    assert_eq!(report.omitted, 0);
    for (nth, defect) in all.iter().enumerate() {
        let slot = Slot::of(&tenant(&name(nth)));
        let of_it = report.differences.iter().filter(|it| it.slot == Some(slot));
        let found: Vec<&Difference> = of_it.collect();
        let lines: Vec<String> = found.iter().map(|it| line(it)).collect();
        assert!(fits(&found, defect.told), "{}\nis told as {lines:#?}", defect.sql);
    }
    // The row that went astray is told of where it stands.
    let astray: Vec<&Difference> = report.differences.iter().filter(|it| it.tenant == other).collect();
    let [astray] = astray.as_slice() else {
        panic!("{astray:#?}");
    };
    assert_eq!((astray.table, astray.kind.name()), ("orders", "other_tenant"));
    assert_eq!(astray.what(), "the row belongs to tenant house-4");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_rows_under_what_can_be_no_tenant_then_they_are_named() {
    let mut world = World::new().await;
    world.week(&tenant("roma")).await;
    world.project().await;
    world
        .execute("UPDATE establishments_g1.establishments SET tenant_id = 'ro/ma' WHERE establishment_id = 'bar'")
        .await;
    let report = world.verify(&Scope::default()).await;
    let lines: Vec<String> = report.differences.iter().map(line).collect();
    assert_eq!(report.differences.len(), 2, "{lines:#?}");
    assert_eq!(
        (report.differences[0].slot, report.differences[0].tenant.as_str()),
        (None, "ro/ma")
    );
    assert_eq!(report.differences[1].kind.name(), "missing");
}
