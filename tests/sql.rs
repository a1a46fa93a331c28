//! The log in SQL, as an analyst of one tenant gets it.

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::support::load::Load;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

fn json_of(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn orders(url: &str) -> Vec<(String, i64)> {
    let mut connection = PgConnection::connect(url).await.expect("the reader connects");
    let orders = sqlx::query_as(
        "select tenant_id, count(*) from analytics.events where event_type = 'OrderCreated' group by 1 order by 1",
    );
    orders.fetch_all(&mut connection).await.expect("the view reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_reader_of_one_tenant_then_it_sees_that_tenants_orders_while_others_order() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "sql", 2).await;
    load.run(40, 4).await;
    let unready = platform.comanda(&["sql", "grant", "--tenant", "sql-0", "--role", "one"]);
    assert_eq!(
        unready.status.code(),
        Some(1),
        "the view across shards is not there yet"
    );
    let set_up = platform.comanda(&["sql", "setup", "-o", "json"]);
    assert_eq!(
        json_of(&set_up).as_array().map(Vec::len),
        Some(5),
        "four shards and all of them"
    );

    let one = json_of(&platform.comanda(&["sql", "grant", "--tenant", "sql-0", "--role", "one", "-o", "json"]));
    let all = json_of(&platform.comanda(&["sql", "grant", "--all-tenants", "--role", "every", "-o", "json"]));
    let hub = |granted: &Value| granted["urls"]["all_shards"].as_str().expect("a URL").to_owned();
    assert_eq!(orders(&hub(&one)).await, [("sql-0".to_owned(), 20)]);
    let seen = orders(&hub(&all)).await;
    assert!(
        seen.contains(&("sql-0".to_owned(), 20)) && seen.contains(&("sql-1".to_owned(), 20)),
        "{seen:?}"
    );

    // The platform still appends and projects: nothing that it needs was taken away.
    load.run(80, 4).await;
    assert_eq!(orders(&hub(&one)).await, [("sql-0".to_owned(), 40)]);
    assert!(platform.comanda(&["sql", "revoke", "--role", "one"]).status.success());
    assert!(PgConnection::connect(&hub(&one)).await.is_err());
}
