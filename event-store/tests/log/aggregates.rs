//! Loading, deciding and committing by way of `cqrs-es`, and the cache in between.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventStore as _};
use domain::metadata::key;
use domain::product::{Product, ProductAvailabilityChanged, ProductCommand, ProductEvent};
use domain::{DecodeError, Metadata, Sequence, StreamId};
use event_store::{Error, Loaded, token_of};
use serde_json::{from_value, json};

use crate::support::{Platform, append, run, tenant};

pub(crate) fn define(price: i64) -> ProductEvent {
    let event = json!({"type": "ProductDefined", "product_id": "pizza", "name": "Pizza",
                       "price": {"amount": price, "currency": "USD"}});
    from_value(event).expect("an event")
}

pub(crate) fn off_sale() -> ProductEvent {
    let product_id = "pizza".parse().expect("an id");
    ProductEvent::ProductAvailabilityChanged(ProductAvailabilityChanged {
        product_id,
        available: false,
    })
}

pub(crate) fn metadata() -> Metadata {
    [(key::ACTOR.to_owned(), "test".to_owned())].into()
}

fn pizza() -> StreamId {
    StreamId::product(&tenant("acme"), &"pizza".parse().expect("an id"))
}

#[tokio::test]
async fn given_a_commit_then_its_answer_is_what_loading_gives() {
    let platform = Platform::fresh(1).await;
    let products = platform.store().await.aggregates::<Product>();

    let fresh = Loaded::fresh(pizza());
    let committed = products
        .commit(vec![define(900), off_sale()], fresh, metadata())
        .await
        .expect("commit");

    let loaded = products.load_fresh(&pizza()).await.expect("load");
    assert_eq!(loaded.version, Sequence(2));
    assert_eq!(loaded.envelopes.len(), committed.len());
    for (read, answered) in loaded.envelopes.iter().zip(&committed) {
        assert_eq!(read.aggregate_id, answered.aggregate_id);
        assert_eq!(read.sequence, answered.sequence);
        assert_eq!(read.payload, answered.payload);
        assert_eq!(read.metadata, answered.metadata);
    }
    let token = token_of(&committed[1]).expect("a token");
    assert_eq!(token.to_string(), "160.1.2");
    assert_eq!(
        committed[0].metadata.get(key::TENANT_ID).map(String::as_str),
        Some("acme")
    );
    assert_eq!(committed[0].metadata.get(key::ACTOR).map(String::as_str), Some("test"));
}

#[tokio::test]
async fn given_metadata_that_claims_what_the_log_assigns_then_the_log_decides() {
    let platform = Platform::fresh(1).await;
    let products = platform.store().await.aggregates::<Product>();
    let mut claims = metadata();
    for name in [
        key::NUMBER,
        key::SLOT,
        key::SLOT_POSITION,
        key::INCARNATION,
        key::RECORDED_AT,
    ] {
        claims.insert(name.to_owned(), "999".to_owned());
    }
    claims.insert(key::TENANT_ID.to_owned(), "someone-else".to_owned());
    claims.insert(
        key::EVENT_ID.to_owned(),
        "01920000-0000-7000-8000-00000000abcd".to_owned(),
    );
    let committed = products
        .commit(vec![define(900)], Loaded::fresh(pizza()), claims)
        .await
        .expect("commit");
    let entry = |name| committed[0].metadata.get(name).map(String::as_str);
    assert_eq!((entry(key::SLOT_POSITION), entry(key::NUMBER)), (Some("1"), None));
    assert_eq!(entry(key::TENANT_ID), Some("acme"));
    assert_eq!(
        entry(key::EVENT_ID),
        Some("01920000-0000-7000-8000-00000000abcd"),
        "the caller may name the event"
    );
    let loaded = products.load_fresh(&pizza()).await.expect("load");
    assert_eq!(loaded.envelopes[0].metadata, committed[0].metadata);
}

#[tokio::test]
async fn given_the_same_event_id_again_then_the_commit_answers_as_before() {
    let platform = Platform::fresh(1).await;
    let products = platform.store().await.aggregates::<Product>();
    let mut named = metadata();
    named.insert(
        key::EVENT_ID.to_owned(),
        "01920000-0000-7000-8000-00000000abcd".to_owned(),
    );
    let events = || vec![define(900), off_sale()];
    let first = products
        .commit(events(), Loaded::fresh(pizza()), named.clone())
        .await
        .expect("commit");
    let again = products
        .commit(events(), Loaded::fresh(pizza()), named)
        .await
        .expect("recognised");
    let metadata = |envelopes: &[cqrs_es::EventEnvelope<Product>]| -> Vec<Metadata> {
        envelopes.iter().map(|envelope| envelope.metadata.clone()).collect()
    };
    assert_eq!(metadata(&again), metadata(&first));
}

#[tokio::test]
async fn given_no_events_then_nothing_is_stored() {
    let platform = Platform::fresh(1).await;
    let products = platform.store().await.aggregates::<Product>();
    assert!(
        products
            .commit(Vec::new(), Loaded::fresh(pizza()), metadata())
            .await
            .expect("commit")
            .is_empty()
    );
    assert_eq!(
        products.load_fresh(&pizza()).await.expect("load").version,
        Sequence::NONE
    );
}

#[tokio::test]
async fn given_a_commit_then_the_next_load_comes_from_the_cache() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let products = store.aggregates::<Product>();
    products
        .commit(vec![define(900)], Loaded::fresh(pizza()), metadata())
        .await
        .expect("commit");
    // With the reader cut off from the view, only the cache can answer.
    run(
        &mut platform.shard(0).await,
        "ALTER VIEW stream_events RENAME TO out_of_reach",
    )
    .await;

    let loaded = store.aggregates::<Product>().load(&pizza()).await.expect("cached");
    let committed = products
        .commit(vec![off_sale()], loaded, metadata())
        .await
        .expect("commit");

    assert_eq!(committed[0].sequence, 2);
    let cached = products.load(&pizza()).await.expect("cached");
    assert_eq!((cached.version, cached.envelopes.len()), (Sequence(2), 2));
    assert!(!cached.aggregate.state().expect("defined").available);
    assert!(
        products.load_fresh(&pizza()).await.is_err(),
        "a fresh load does ask the database"
    );
}

#[tokio::test]
async fn given_another_process_that_committed_then_the_cached_state_conflicts_and_is_read_again() {
    let platform = Platform::fresh(1).await;
    let (here, there) = (platform.store().await, platform.store().await);
    let (products, elsewhere) = (here.aggregates::<Product>(), there.aggregates::<Product>());
    products
        .commit(vec![define(900)], Loaded::fresh(pizza()), metadata())
        .await
        .expect("commit");
    let loaded = elsewhere.load(&pizza()).await.expect("load");
    elsewhere
        .commit(vec![define(950)], loaded, metadata())
        .await
        .expect("commit");

    let stale = products.load(&pizza()).await.expect("cached");
    assert_eq!(stale.version, Sequence(1));
    let conflict = products.commit(vec![off_sale()], stale, metadata()).await;
    assert!(matches!(conflict, Err(Error::Conflict { .. })));

    let reloaded = products.load(&pizza()).await.expect("read");
    assert_eq!(reloaded.version, Sequence(2));
    products
        .commit(vec![off_sale()], reloaded, metadata())
        .await
        .expect("decided again");
}

#[tokio::test]
async fn given_a_command_handled_on_the_loaded_aggregate_then_the_cache_applies_its_events_once() {
    let platform = Platform::fresh(1).await;
    let products = platform.store().await.aggregates::<Product>();
    let id = pizza().aggregate_id().to_owned();

    // As cqrs-es executes a command, by way of its traits: `handle` applies what it decides.
    for command in [
        ProductCommand::Define(match define(900) {
            ProductEvent::ProductDefined(defined) => Box::new(defined),
            ProductEvent::ProductAvailabilityChanged(_) => panic!("not a definition"),
        }),
        ProductCommand::ChangeAvailability {
            product_id: "pizza".parse().expect("an id"),
            available: false,
        },
    ] {
        let mut context = products.load_aggregate(&id).await.expect("load");
        let sink = EventSink::default();
        context.aggregate().handle(command, &(), &sink).await.expect("allowed");
        let events = sink.collect().await;
        cqrs_es::EventStore::commit(&products, events, context, metadata())
            .await
            .expect("commit");
    }

    let cached = products.load(&pizza()).await.expect("cached");
    let fresh = products.load_fresh(&pizza()).await.expect("read");
    assert_eq!(cached.aggregate, fresh.aggregate);
    assert_eq!(products.load_events(&id).await.expect("events").len(), 2);
}

#[tokio::test]
async fn errors_reach_the_caller_through_cqrs_es() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let products = store.aggregates::<Product>();
    products
        .commit(vec![define(900)], Loaded::fresh(pizza()), metadata())
        .await
        .expect("commit");
    let conflict = cqrs_es::EventStore::commit(&products, vec![define(1)], Loaded::fresh(pizza()), metadata()).await;
    assert!(matches!(conflict, Err(AggregateError::AggregateConflict)));

    let error = products.load_aggregate("not a stream").await.expect_err("refused");
    assert!(
        matches!(Error::inside(&error), Some(Error::NotAStream { .. })),
        "{error:?}"
    );

    store.close().await;
    let fresh = Loaded::fresh(StreamId::product(&tenant("acme"), &"other".parse().expect("an id")));
    let error = cqrs_es::EventStore::commit(&products, vec![define(1)], fresh, metadata())
        .await
        .expect_err("closed");
    assert!(
        matches!(Error::inside(&error), Some(Error::Unavailable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn given_an_event_of_a_newer_binary_then_loading_its_stream_is_refused() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let products = store.aggregates::<Product>();
    products
        .commit(vec![define(900)], Loaded::fresh(pizza()), metadata())
        .await
        .expect("commit");
    let mut newer = append(&pizza(), 1);
    newer.events[0].event_type = "ProductDefined".to_owned();
    newer.events[0].event_version = "99.0".to_owned();
    store.append(newer).await.expect("stored");

    let refused = products.load_fresh(&pizza()).await;
    match refused {
        Err(Error::Undecodable {
            sequence: Sequence(2),
            source: DecodeError::Newer { version, .. },
            ..
        }) => {
            assert_eq!(version, "99.0");
        }
        other => panic!("expected a newer event to be refused: {other:?}"),
    }
}
