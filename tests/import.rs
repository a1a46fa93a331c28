//! Real orders come in from a file, once however often it is imported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::checker::Log;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

const ESTABLISHMENT: &str = "downtown";

async fn open(platform: &dyn Topology, tenant: &str) -> Client {
    let client = platform.client(tenant);
    let body = json!({"name": "Downtown", "time_zone": "America/New_York", "currency": "USD"});
    let answer = client.put(&format!("/v1/establishments/{ESTABLISHMENT}"), &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    client
}

fn import(platform: &dyn Topology, tenant: &str, file: &Path) -> Output {
    let file = file.to_str().expect("a path");
    let arguments = [
        "import",
        file,
        "--tenant",
        tenant,
        "--establishment",
        ESTABLISHMENT,
        "--date",
        "2012-06-01",
        "-o",
        "json",
    ];
    platform.comanda(&arguments)
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

async fn sales(client: &Client) -> Value {
    let query = "query($e: ID!) { dailySales(establishmentId: $e, from: \"2012-06-01\", to: \"2012-06-01\") {
        date orders sales { amount currency } } }";
    client.query(query, json!({"e": ESTABLISHMENT})).await.body["data"]["dailySales"].clone()
}

async fn assert_sales(client: &Client, orders: i64, amount: i64) {
    let expected = json!([{"date": "2012-06-01", "orders": orders, "sales": {"amount": amount, "currency": "USD"}}]);
    eventually(Duration::from_secs(30), || async {
        let found = sales(client).await;
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found} is not {expected}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_reported_by_number_and_the_rest_is_imported_once() {
    bad_lines(&Platform::start().await).await;
}

pub(crate) async fn bad_lines(platform: &dyn Topology) {
    let client = open(platform, "kiosk").await;
    let file = platform.folder().join("orders.tsv");
    let lines = [
        "order_id\tquantity\titem_name\tchoice_description\titem_price",
        "1\t1\tChips\tNULL\t$2.39 ",
        "1\t2\tChicken Bowl\t[Salsa, [Rice, Beans]]\t$16.98 ",
        "2\tmany\tIzze\t[Clementine]\t$3.39 ",
        "3\t1\tIzze\t[Clementine]\t$3.39 ",
        "4\t1\tIzze\t[Apple]\tfree",
        "5\t3\tTaco\tNULL\t$10.00 ",
    ];
    fs::write(&file, lines.join("\n")).expect("written");

    let first = import(platform, "kiosk", &file);
    let errors = String::from_utf8_lossy(&first.stderr);
    assert!(
        errors.contains('4') && errors.contains('6'),
        "bad lines are named: {errors}"
    );
    assert_sales(&client, 3, 239 + 1_698 + 339 + 1_000).await;

    let before = Log::read(platform.databases()).await.events;
    let second = import(platform, "kiosk", &file);
    assert_eq!(
        Log::read(platform.databases()).await.events,
        before,
        "the second run stored nothing"
    );
    let (first, second) = (summary(&first), summary(&second));
    assert_eq!(first["lines"], second["lines"], "{first} {second}");
    assert_sales(&client, 3, 239 + 1_698 + 339 + 1_000).await;
}

/// The published data set, where it lies beside the checkout.
fn published_orders() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/restaurant-orders.tsv");
    file.canonicalize().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_restaurant_orders_come_in_to_the_cent_twice() {
    published(&Platform::start().await).await;
}

pub(crate) async fn published(platform: &dyn Topology) {
    let Some(file) = published_orders() else {
        println!("the data set is not beside this checkout");
        return;
    };
    let client = open(platform, "chain").await;
    for _ in 0..2 {
        let output = import(platform, "chain", &file);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let summary = summary(&output);
        assert_eq!(
            (&summary["orders"], &summary["lines"], &summary["units"]),
            (&json!(1_834), &json!(4_622), &json!(4_972)),
            "{summary}"
        );
        assert_sales(&client, 1_834, 3_450_016).await;
        let log = Log::read(platform.databases()).await;
        assert_eq!(log.sales("chain"), 3_450_016);
        assert_eq!(log.orders.keys().filter(|(tenant, _)| tenant == "chain").count(), 1_834);
    }
}
