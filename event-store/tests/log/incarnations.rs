//! Shards that were promoted or restored: recognised, closed to appends, compared, opened again.

use domain::product::Product;
use domain::{Sequence, StreamId};
use event_store::{
    Error, Incarnation, PositionToken, Reopen, Reopened, ShardId, ShardOptions, Slot, SlotPosition, Unreachable,
    bootstrap, promote, restored,
};
use local_postgres::testing::ScratchFolder;
use local_postgres::{Config, Server, Standby};
use migrations::Database;

use crate::aggregates::{define, metadata, off_sale};
use crate::support::proxy::Proxy;
use crate::support::{Platform, append, connect, fresh_order, run, tenant, within};

fn reopen<'a>(shards: &'a [ShardOptions], known: &'a [PositionToken]) -> Reopen<'a> {
    Reopen {
        shard: ShardId(0),
        shards,
        unreachable: Unreachable::Refuse,
        known,
    }
}

async fn promoted(platform: &Platform, known: &[PositionToken]) -> Result<Reopened, Error> {
    promote(&mut connect(&platform.control).await, &reopen(&platform.shards, known)).await
}

fn assert_refused(answer: Result<event_store::Committed, Error>) {
    assert!(
        matches!(&answer, Err(Error::Unavailable { reason, .. }) if reason.contains("restored or promoted")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn given_a_recorded_timeline_that_is_not_the_servers_then_appends_wait_for_promote() {
    let platform = Platform::fresh(2).await;
    let (slot, stays) = (Slot::of(&tenant("acme")), tenant("acme"));
    let shard = usize::from(slot.0 % 2);
    assert_eq!(shard, 0, "the tenant is the first shard's");
    let before = platform.store().await;
    let token = before
        .append(append(&fresh_order(&stays), 0))
        .await
        .expect("stored")
        .token();
    // As in a promoted standby, whose timeline is not the one in its row.
    run(&mut platform.shard(0).await, "UPDATE shard SET timeline = timeline + 7").await;
    // The other shard got a slot that this one does not know to have left.
    run(
        &mut platform.shard(1).await,
        "INSERT INTO slots (slot, ownership) VALUES (2, 2)",
    )
    .await;

    let store = platform.store().await;
    assert_refused(store.append(append(&fresh_order(&stays), 0)).await);
    assert_refused(before.append(append(&fresh_order(&stays), 0)).await);

    let beyond = PositionToken {
        slot_position: SlotPosition(5),
        ..token
    };
    let report = promoted(&platform, &[token, beyond]).await.expect("promoted");
    assert_eq!(report.lost.iter().map(|ahead| ahead.lost()).collect::<Vec<_>>(), [4]);
    assert!(report.slots.iter().all(|slot| slot.now == Incarnation(2)));
    let left: Vec<Slot> = report
        .slots
        .iter()
        .filter(|slot| !slot.owned)
        .map(|slot| slot.slot)
        .collect();
    assert_eq!((left, report.ownerless), (vec![Slot(2)], vec![]));
    let after = store.append(append(&fresh_order(&stays), 0)).await.expect("stored");
    assert_eq!(
        (after.incarnation, after.token().slot_position),
        (Incarnation(2), SlotPosition(2))
    );
    let history = store.history(ShardId(0)).await.expect("history");
    assert_eq!(history.ahead(&[token, beyond]).len(), 1);
    assert!(
        matches!(promoted(&platform, &[]).await, Err(Error::Misconfigured(_))),
        "nothing to promote"
    );
}

#[tokio::test]
async fn given_a_restored_backup_then_no_incarnation_is_given_twice_and_another_shard_must_be_readable() {
    let mut platform = Platform::fresh(2).await;
    for expected in [2, 3] {
        // As a dump from before both, loaded into another database.
        run(
            &mut platform.shard(0).await,
            "UPDATE slots SET incarnation = 1; DELETE FROM incarnations; UPDATE shard SET database_oid = 1",
        )
        .await;
        assert!(matches!(promoted(&platform, &[]).await, Err(Error::Misconfigured(text)) if text.contains("restored")));
        let report = restored(&mut connect(&platform.control).await, &reopen(&platform.shards, &[]))
            .await
            .expect("restored");
        assert!(report.slots.iter().all(|slot| slot.now == Incarnation(expected)));
    }
    platform.shards[1].url = "postgres://127.0.0.1:1/away".to_owned();
    let refused = restored(&mut connect(&platform.control).await, &reopen(&platform.shards, &[])).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn given_another_shard_that_hangs_then_it_counts_as_one_that_cannot_be_reached() {
    let mut platform = Platform::fresh(2).await;
    let proxy = Proxy::to(&platform.shards[1].url).await;
    proxy.mute(true);
    platform.shards[1].url = proxy.url(&platform.shards[1].url);
    run(&mut platform.shard(0).await, "UPDATE shard SET timeline = timeline + 7").await;
    let refused = within("the refusal", promoted(&platform, &[])).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let accept = Reopen {
        unreachable: Unreachable::Accept,
        ..reopen(&platform.shards, &[])
    };
    let mut control = connect(&platform.control).await;
    let report = within("opening it", promote(&mut control, &accept))
        .await
        .expect("promoted");
    assert_eq!(report.unreachable, [ShardId(1)]);
}

#[tokio::test]
async fn given_streams_in_memory_when_their_shard_is_opened_again_without_their_end_then_they_are_read_again() {
    let platform = Platform::fresh(1).await;
    let products = platform.store().await.aggregates::<Product>();
    let (acme, id) = (tenant("acme"), "pizza".parse().expect("an id"));
    let stream = StreamId::product(&acme, &id);
    for event in [define(900), off_sale()] {
        let loaded = products.load(&stream).await.expect("load");
        products.commit(vec![event], loaded, metadata()).await.expect("commit");
    }
    let stale = products.load(&stream).await.expect("cached");
    assert_eq!(stale.version, Sequence(2));

    // As a standby that lacked the last event, and took another one in its place.
    let slot = Slot::of(&acme);
    let promoted_without_the_end = format!(
        "BEGIN; \
         ALTER TABLE events DISABLE TRIGGER events_are_append_only; \
         DELETE FROM events WHERE sequence = 2; \
         ALTER TABLE events ENABLE TRIGGER events_are_append_only; \
         UPDATE slots SET slot_position = 1 WHERE slot = {slot}; \
         UPDATE shard SET position = 1, timeline = timeline + 7; \
         COMMIT"
    );
    run(&mut platform.shard(0).await, &promoted_without_the_end).await;
    run(
        &mut platform.shard(0).await,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name LIKE 'comanda %'",
    )
    .await;
    promoted(&platform, &[]).await.expect("promoted");
    let elsewhere = platform.store().await.aggregates::<Product>();
    let loaded = elsewhere.load(&stream).await.expect("load");
    assert_eq!(loaded.version, Sequence(1));
    elsewhere
        .commit(vec![define(950)], loaded, metadata())
        .await
        .expect("commit");

    // The version is the right one again, and the state is not. Sent over the old connection, its
    // outcome is unknown.
    let unknown = products.commit(vec![define(1)], stale.clone(), metadata()).await;
    assert!(matches!(unknown, Err(Error::Unavailable { .. })), "{unknown:?}");
    let conflict = products.commit(vec![define(1)], stale, metadata()).await;
    assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
    let loaded = products.load(&stream).await.expect("read");
    assert_eq!(loaded.version, Sequence(2));
    assert_eq!(
        loaded.aggregate,
        elsewhere.load_fresh(&stream).await.expect("read").aggregate
    );
    products
        .commit(vec![off_sale()], loaded, metadata())
        .await
        .expect("decided again");
}

/// Whatever else was in memory goes with it, as soon as anything is appended.
#[tokio::test]
async fn given_a_shard_opened_again_when_one_stream_is_appended_to_then_no_other_is_answered_from_memory() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let products = store.aggregates::<Product>();
    let stream = StreamId::product(&tenant("acme"), &"pizza".parse().expect("an id"));
    let loaded = products.load(&stream).await.expect("load");
    products
        .commit(vec![define(900)], loaded, metadata())
        .await
        .expect("commit");
    run(&mut platform.shard(0).await, "UPDATE shard SET timeline = timeline + 7").await;
    run(
        &mut platform.shard(0).await,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'comanda committer'",
    )
    .await;
    // Sees that it is closed, and after that, over a session of its own, that it was opened.
    assert_refused(store.append(append(&fresh_order(&tenant("acme")), 0)).await);
    promoted(&platform, &[]).await.expect("promoted");
    store
        .append(append(&fresh_order(&tenant("acme")), 0))
        .await
        .expect("stored");
    run(
        &mut platform.shard(0).await,
        "ALTER VIEW stream_events RENAME TO out_of_reach",
    )
    .await;
    assert!(products.load(&stream).await.is_err(), "the log is asked");
}

#[tokio::test]
async fn given_a_standby_when_it_is_promoted_then_it_refuses_appends_until_it_was_compared() {
    let (first, second) = (ScratchFolder::new(), ScratchFolder::new());
    let server = Server::start(Config::new(first.path())).await.expect("a server");
    let databases = [("control", Database::Control), ("shard", Database::EventStore)];
    for (name, database) in databases {
        server.ensure_database(name).await.expect("a database");
        migrations::migrate(database, &mut connect(&server.url(name)).await)
            .await
            .expect("migrate");
    }
    let on = |server: &Server| Platform {
        control: server.url("control"),
        shards: vec![ShardOptions {
            id: ShardId(0),
            url: server.url("shard"),
        }],
    };
    let old = on(&server);
    bootstrap(&mut connect(&old.control).await, &old.shards)
        .await
        .expect("bootstrap");
    let standby = Standby::start(&server, "standby", Config::new(second.path()))
        .await
        .expect("a standby");
    let acme = tenant("acme");
    let store = old.store().await;
    let token = store
        .append(append(&fresh_order(&acme), 0))
        .await
        .expect("stored")
        .token();
    store.close().await;
    server.stop().await.expect("stop");
    standby.promote().await.expect("promote");

    let new = on(&standby);
    let store = new.store().await;
    assert_refused(store.append(append(&fresh_order(&acme), 0)).await);
    let report = promoted(&new, &[token]).await.expect("promoted");
    assert_eq!(report.lost, [], "a clean stop sends everything");
    let after = store.append(append(&fresh_order(&acme), 0)).await.expect("stored");
    assert_eq!(after.incarnation, Incarnation(2));
    standby.stop().await.expect("stop");
}
