//! Nothing is found where nothing is wrong.

use domain::order::OrderStatus;
use verify::{Error, Scope, Target};

use crate::support::{World, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn given_tenants_parked_streams_and_a_lag_then_nothing_is_found() {
    let mut world = World::new().await;
    let (roma, milano, napoli) = (tenant("roma"), tenant("milano"), tenant("napoli"));
    let orders = world.week(&roma).await;
    world.week(&milano).await;
    let sick = world.week(&napoli).await;
    world.poison(&sick[1]).await;
    assert!(world.change(&sick[1], OrderStatus::Accepted).await);
    world.project().await;
    // From here on the read models lag.
    assert!(world.change(&orders[1], OrderStatus::Accepted).await);
    world.define_product(&milano, "tea", 310).await;
    world.week(&tenant("palermo")).await;

    let report = world.verify(&Scope::default()).await;

    assert!(report.is_clean(), "{:#?}", report.differences);
    assert_eq!((report.slots, report.tenants), (3, 3));
    let rows: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM orders_g1.orders) + (SELECT count(*) FROM order_timeline_g1.entries)
              + (SELECT count(*) FROM daily_sales_g1.days) + (SELECT count(*) FROM daily_sales_g1.contributions)
              + (SELECT count(*) FROM daily_sales_g1.customers) + (SELECT count(*) FROM products_g1.products)
              + (SELECT count(*) FROM establishments_g1.establishments)
              + (SELECT count(*) FROM meta.parked_events)",
    )
    .fetch_one(&world.read_store)
    .await
    .expect("a count");
    assert_eq!(report.rows, u64::try_from(rows).expect("a count"));
    let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM meta.parked_streams")
        .fetch_one(&world.read_store)
        .await
        .expect("a count");
    assert_eq!(parked, 3, "one in each read model of orders");
    assert_eq!(report.fingerprints.len(), 15);

    world.project().await;
    let later = world.verify(&Scope::default()).await;
    assert!(later.is_clean(), "{:#?}", later.differences);
    assert_eq!(later.tenants, 4);
    let print = |name: &str| {
        let key = ("orders".to_owned(), tenant(name));
        (report.fingerprints[&key], later.fingerprints[&key])
    };
    let (before, after) = print("roma");
    assert_ne!(before, after, "the order moved on");
    let (before, after) = print("napoli");
    assert_eq!(before, after, "nothing came about");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_one_tenant_then_only_its_rows_are_looked_at() {
    let mut world = World::new().await;
    let (roma, milano) = (tenant("roma"), tenant("milano"));
    world.week(&roma).await;
    world.week(&milano).await;
    world.project().await;
    world
        .execute("UPDATE orders_g1.orders SET total = total + 1 WHERE tenant_id = 'milano' AND status = 'placed'")
        .await;

    let of_roma = world.verify(&Scope::of(roma)).await;
    let of_milano = world.verify(&Scope::of(milano)).await;

    assert!(of_roma.is_clean(), "{:#?}", of_roma.differences);
    assert_eq!((of_roma.slots, of_roma.tenants), (1, 1));
    assert_eq!(of_milano.differences.len(), 1, "{:#?}", of_milano.differences);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_all_rows_of_a_tenant_gone_then_each_is_missing() {
    let mut world = World::new().await;
    world.week(&tenant("roma")).await;
    world.project().await;
    for (schema, table) in [
        ("orders_g1", "orders"),
        ("order_timeline_g1", "entries"),
        ("daily_sales_g1", "days"),
        ("daily_sales_g1", "contributions"),
        ("daily_sales_g1", "customers"),
        ("products_g1", "products"),
        ("establishments_g1", "establishments"),
    ] {
        world.execute(&format!("DELETE FROM {schema}.{table}")).await;
    }
    let report = world.verify(&Scope::default()).await;
    assert!(report.differences.iter().all(|it| it.kind.name() == "missing"));
    let orders = report.differences.iter().filter(|it| it.table == "orders").count();
    assert_eq!((orders, report.rows), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_no_such_read_model_or_generation_then_it_is_said() {
    let world = World::new().await;
    let found = Target::find(&world.read_store, "orders", Some(1)).await.expect("there");
    assert_eq!((found.generation, found.schema.as_str()), (1, "orders_g1"));
    let unknown = Target::find(&world.read_store, "orders", Some(7)).await;
    assert!(
        matches!(unknown, Err(Error::UnknownGeneration { generation: 7, .. })),
        "{unknown:?}"
    );
    let unknown = Target::find(&world.read_store, "tables", None).await;
    assert!(matches!(unknown, Err(Error::UnknownReadModel { .. })), "{unknown:?}");
}
