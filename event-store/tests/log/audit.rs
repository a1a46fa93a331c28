//! The auditor sees what is planted: an auditor that has never failed proves nothing.

use event_store::{EventStore, ShardId};

use crate::support::{Platform, append, create, fresh_order, run, tenant};

async fn with_events() -> (Platform, EventStore) {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let stream = fresh_order(&tenant("acme"));
    for append in [
        create(&stream),
        append(&stream, 1),
        append(&stream, 2),
        create(&fresh_order(&tenant("acme"))),
    ] {
        store.append(append).await.expect("stored");
    }
    (platform, store)
}

async fn counters_found(store: &EventStore) -> Vec<String> {
    let findings = store.audit(ShardId(0)).await.expect("audit");
    findings
        .iter()
        .filter_map(|finding| finding.counter.split([' ', ':']).next())
        .map(str::to_owned)
        .collect()
}

/// Past the trigger that keeps history as it is.
async fn plant(platform: &Platform, bug: &str) {
    run(
        &mut platform.shard(0).await,
        &format!("SET session_replication_role = replica; {bug}"),
    )
    .await;
}

#[tokio::test]
async fn given_a_sound_log_then_nothing_is_found() {
    let (_platform, store) = with_events().await;
    assert_eq!(store.audit(ShardId(0)).await.expect("audit"), []);
    assert_eq!(store.audit_tenant(&tenant("acme")).await.expect("audit"), []);
}

#[tokio::test]
async fn given_an_event_lost_in_the_middle_then_every_counter_it_was_in_is_reported() {
    let (platform, store) = with_events().await;
    plant(&platform, "DELETE FROM events WHERE position = 2").await;
    assert_eq!(counters_found(&store).await, ["slot", "stream", "position"]);
}

#[tokio::test]
async fn given_the_last_event_lost_then_the_heads_tell() {
    let (platform, store) = with_events().await;
    plant(&platform, "DELETE FROM events WHERE position = 4").await;
    assert_eq!(counters_found(&store).await, ["slot", "order", "position"]);
}

#[tokio::test]
async fn given_all_events_lost_then_the_heads_tell() {
    let (platform, store) = with_events().await;
    plant(&platform, "DELETE FROM events").await;
    assert_eq!(counters_found(&store).await, ["slot", "order", "position"]);
}

#[tokio::test]
async fn given_an_order_number_used_twice_then_it_is_reported() {
    let (platform, store) = with_events().await;
    plant(
        &platform,
        "UPDATE events SET metadata = (metadata::jsonb || '{\"number\": \"1\"}')::json WHERE metadata ->> 'number' = '2'",
    )
    .await;
    let findings = store.audit(ShardId(0)).await.expect("audit");
    let [finding] = findings.as_slice() else {
        panic!("one finding: {findings:?}")
    };
    assert!(finding.counter.contains("acme/roma on 2026-02-28"), "{finding:?}");
    assert_eq!(
        (finding.head, finding.count, finding.distinct, finding.max),
        (2, 2, 1, 1)
    );
}
