//! Programs that know nothing of Comanda read its topic, and what they see is the log: all of it,
//! to the byte, and in order per slot.

#![allow(clippy::unwrap_used, reason = "a test that cannot even be set up has failed")]

mod judge;
mod kcat;
mod log;
mod planted;
mod publishing;
mod sdk;

use judge::judge;
use log::Log;

#[tokio::test(flavor = "multi_thread")]
async fn given_a_published_log_then_kcat_sees_all_of_it_to_the_byte_and_in_order_per_slot() {
    let log = Log::with_events().await;
    let topic = publishing::by_relay(&log, "interop-kcat").await;
    assert_eq!(judge(&log.stored, &kcat::read(&topic), kcat::expected), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_published_log_then_the_cloudevents_sdk_of_python_sees_all_of_it_in_order_per_slot() {
    let log = Log::with_events().await;
    let topic = publishing::by_relay(&log, "interop-sdk").await;
    assert_eq!(judge(&log.stored, &sdk::read(&topic), sdk::expected), Ok(()));
}
