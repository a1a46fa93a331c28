//! Any history, and any one mutation of any one row: it is found.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use domain::order::OrderStatus;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use verify::Scope;

use crate::support::{Sample, World, tenant};

#[derive(Debug, Clone)]
enum Action {
    Place(Sample),
    Change(prop::sample::Index, OrderStatus),
    DefineProduct(i64),
    ChangeAvailability(bool),
    DefineEstablishment(String),
    Poison(prop::sample::Index),
}

/// What is done to a row.
#[derive(Debug, Clone)]
enum Mutation {
    Delete,
    /// A copy under another key.
    Copy,
    Change(prop::sample::Index),
}

const TABLES: [(&str, &str); 7] = [
    ("orders_g1", "orders"),
    ("order_timeline_g1", "entries"),
    ("daily_sales_g1", "days"),
    ("daily_sales_g1", "contributions"),
    ("daily_sales_g1", "customers"),
    ("products_g1", "products"),
    ("establishments_g1", "establishments"),
];

fn sample() -> impl Strategy<Value = Sample> {
    let days = ["2026-03-01T12:00:00Z", "2026-03-02T04:59:59Z", "2026-03-02T12:00:00Z"];
    (
        prop::sample::select(vec!["main", "bar"]),
        prop::option::of(prop::sample::select(vec!["giulia", "marco"])),
        prop::sample::select(days.to_vec()),
        prop::collection::vec((1_u32..20, 0_i64..10_000), 1..4),
    )
        .prop_map(|(establishment, customer, placed_at, items)| Sample {
            establishment,
            customer,
            placed_at,
            items,
        })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => sample().prop_map(Action::Place),
        8 => (any::<prop::sample::Index>(), prop::sample::select(OrderStatus::ALL))
            .prop_map(|(order, to)| Action::Change(order, to)),
        1 => (0_i64..5_000).prop_map(Action::DefineProduct),
        1 => any::<bool>().prop_map(Action::ChangeAvailability),
        1 => "[a-zA-Zè ]{0,8}x".prop_map(Action::DefineEstablishment),
        1 => any::<prop::sample::Index>().prop_map(Action::Poison),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        1 => Just(Mutation::Delete),
        1 => Just(Mutation::Copy),
        4 => any::<prop::sample::Index>().prop_map(Mutation::Change),
    ]
}

async fn live(world: &mut World, name: &str, actions: &[Action]) {
    let tenant = tenant(name);
    let (mut orders, mut poisoned) = (vec![], vec![]);
    world.define_product(&tenant, "tea", 300).await;
    world.define_establishment(&tenant, "main", "Main").await;
    for action in actions {
        match action {
            Action::Place(sample) => orders.push(world.place(&tenant, sample).await),
            Action::Change(order, to) if !orders.is_empty() => {
                // Refused as often as not; then nothing is in the log.
                world.change(order.get(&orders), *to).await;
            }
            Action::Poison(order) if !orders.is_empty() => {
                let order = order.get(&orders).clone();
                if !poisoned.contains(&order) {
                    world.poison(&order).await;
                    poisoned.push(order);
                }
            }
            Action::Change(..) | Action::Poison(_) => {}
            Action::DefineProduct(price) => world.define_product(&tenant, "tea", *price).await,
            Action::ChangeAvailability(available) => world.change_availability(&tenant, "tea", *available).await,
            Action::DefineEstablishment(name) => world.define_establishment(&tenant, "main", name).await,
        }
    }
}

/// Name, type, and whether it belongs to the key.
type Column = (String, String, bool);

async fn columns(world: &World, (schema, table): (&str, &str)) -> Vec<Column> {
    sqlx::query_as(
        "SELECT c.column_name::text, c.data_type::text, k.column_name IS NOT NULL
           FROM information_schema.columns AS c
           LEFT JOIN information_schema.key_column_usage AS k USING (table_schema, table_name, column_name)
          WHERE table_schema = $1 AND table_name = $2 AND c.is_generated = 'NEVER' AND column_name <> 'tenant_id'
          ORDER BY c.ordinal_position",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(&world.read_store)
    .await
    .expect("columns")
}

/// Another value of the column's type, that no row of these histories has.
fn other(column: &str, kind: &str) -> String {
    match kind {
        "text" => format!("coalesce({column}, '') || 'x'"),
        "bigint" | "integer" => format!("{column} + 1000"),
        "boolean" => format!("NOT {column}"),
        "date" => format!("{column} + 100"),
        "timestamp with time zone" => format!("{column} + interval '1 microsecond'"),
        "uuid" => "'00000000-0000-7000-8000-000000000001'::uuid".to_owned(),
        "jsonb" => format!("{column} || '[{{}}]'"),
        other => panic!("no other value of type {other}"),
    }
}

/// Does it to one row of the tenant's; whether it has one.
async fn mutate(world: &World, of: (&str, &str), name: &str, row: prop::sample::Index, mutation: &Mutation) -> bool {
    let (schema, table) = of;
    let rows: Vec<String> = sqlx::query_scalar(&format!(
        "SELECT ctid::text FROM {schema}.{table} WHERE tenant_id = '{name}' ORDER BY ctid"
    ))
    .fetch_all(&world.read_store)
    .await
    .expect("rows");
    if rows.is_empty() {
        return false;
    }
    let place = format!("ctid = '{}'::tid", row.get(&rows));
    let columns = columns(world, of).await;
    let sql = match mutation {
        Mutation::Delete => format!("DELETE FROM {schema}.{table} WHERE {place}"),
        Mutation::Change(column) => {
            let (column, kind, _) = column.get(&columns);
            format!(
                "UPDATE {schema}.{table} SET {column} = {} WHERE {place}",
                other(column, kind)
            )
        }
        Mutation::Copy => {
            // A number is given once only.
            let value = |(column, kind, key): &Column| {
                if *key || column == "number" {
                    other(column, kind)
                } else {
                    column.clone()
                }
            };
            let names: Vec<&str> = columns.iter().map(|(column, ..)| column.as_str()).collect();
            let values: Vec<String> = columns.iter().map(value).collect();
            format!(
                "INSERT INTO {schema}.{table} (tenant_id, {}) SELECT tenant_id, {} FROM {schema}.{table} WHERE {place}",
                names.join(", "),
                values.join(", ")
            )
        }
    };
    world.execute(&sql).await;
    true
}

#[test]
fn any_one_mutation_of_any_one_row_is_found() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (world, houses) = (RefCell::new(runtime.block_on(World::new())), Cell::new(0));
    let config = Config {
        cases: 48,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let cases = (
        prop::collection::vec(action(), 1..30),
        prop::sample::select(TABLES.to_vec()),
        any::<prop::sample::Index>(),
        mutation(),
    );
    let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, seeded).run(&cases, |(actions, of, row, mutation)| {
        houses.set(houses.get() + 1);
        let (mut world, name) = (world.borrow_mut(), format!("house-{}", houses.get()));
        runtime.block_on(async {
            live(&mut world, &name, &actions).await;
            world.project().await;
            let scope = Scope::of(tenant(&name));
            let before = world.verify(&scope).await;
            prop_assert!(before.is_clean(), "{:#?}", before.differences);
            if !mutate(&world, of, &name, row, &mutation).await {
                return Ok(());
            }
            let after = world.verify(&scope).await;
            prop_assert_eq!(after.omitted, 0);
            let found: BTreeSet<&str> = after.differences.iter().map(|it| it.table).collect();
            prop_assert_eq!(found, BTreeSet::from([of.1]));
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
