//! That the readers and the judge would notice: topics with one thing wrong.

use event_store::{RecordedEvent, ShardId};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::judge::judge;
use crate::log::{Log, Stored};
use crate::{kcat, publishing, sdk};

type Records = Vec<(ShardId, RecordedEvent)>;

/// One log for all tests: what stands in it, and its records slot by slot.
async fn log() -> &'static (Vec<Stored>, Records) {
    static LOG: OnceCell<(Vec<Stored>, Records)> = OnceCell::const_new();
    LOG.get_or_init(async || {
        let log = Log::with_events().await;
        let records = log.recorded().await;
        (log.stored, records)
    })
    .await
}

/// The verdict on the log's records after `plant`, on which both readers must agree.
async fn verdict(topic: &str, plant: impl FnOnce(&mut Records)) -> Result<(), String> {
    let (stored, records) = log().await;
    let mut records = records.clone();
    plant(&mut records);
    let topic = publishing::by_hand(&records, topic).await;
    let by_kcat = judge(stored, &kcat::read(&topic), kcat::expected);
    let by_sdk = judge(stored, &sdk::read(&topic), sdk::expected);
    assert_eq!(by_kcat.is_ok(), by_sdk.is_ok(), "{by_kcat:?} {by_sdk:?}");
    by_kcat
}

/// Where the third record of a slot with five is; a slot's records stand together, in order.
fn third(records: &Records) -> usize {
    let fifth = records.iter().position(|(_, event)| event.slot_position.0 == 5);
    fifth.unwrap() - 2
}

fn place(records: &Records, at: usize) -> (u16, i64) {
    let event = &records[at].1;
    (event.slot.0, event.slot_position.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_nothing_wrong_or_records_that_come_again_then_nothing_is_said() {
    let again = verdict("interop-again", |records| {
        let at = third(records);
        let again = records[at - 2..=at].to_vec();
        records.splice(at..at, again);
    });
    assert_eq!(again.await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_two_records_swapped_then_the_first_out_of_order_is_named() {
    let mut slot = 0;
    let swapped = verdict("interop-swapped", |records| {
        let at = third(records);
        slot = place(records, at).0;
        records.swap(at, at + 1);
    });
    assert_eq!(swapped.await, Err(format!("slot {slot}: 4 came after 2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_record_lost_then_the_one_after_it_is_out_of_order() {
    let mut slot = 0;
    let lost = verdict("interop-lost", |records| {
        let at = third(records);
        slot = place(records, at).0;
        records.remove(at);
    });
    assert_eq!(lost.await, Err(format!("slot {slot}: 4 came after 2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_the_last_record_lost_then_it_never_came() {
    let (mut slot, mut position) = (0, 0);
    let lost = verdict("interop-last-lost", |records| {
        (slot, position) = place(records, records.len() - 1);
        records.pop();
    });
    assert_eq!(lost.await, Err(format!("slot {slot}: {position} never came")));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_payload_or_an_attribute_that_differs_then_it_is_shown() {
    let payload = verdict("interop-payload", |records| {
        let at = third(records);
        records[at].1.payload = RawValue::from_string("{}".to_owned()).unwrap();
    });
    let attribute = verdict("interop-attribute", |records| {
        let at = third(records);
        records[at]
            .1
            .metadata
            .insert("actor".to_owned(), "somebody else".to_owned());
    });
    for verdict in [payload.await, attribute.await] {
        assert!(verdict.clone().is_err_and(|it| it.contains("3 is Seen")), "{verdict:?}");
    }
}
