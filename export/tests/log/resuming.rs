//! Folders that an export left unfinished.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use export::{Error, Exported, Format, Manifest, Progress};

use crate::support::read::{files, sums};
use crate::support::{Log, SUMS, export, folder, request, tenant};

/// Events of a round: no multiple of those of a page.
const ROUND: u64 = 1_301;

/// Exports until about so many events were written.
async fn stopped_after(log: &Log, format: Format, to: &Path, resume: bool, events: u64) -> Exported {
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    let enough = async move {
        while seen.events.load(Ordering::Relaxed) < events {
            tokio::task::yield_now().await;
        }
    };
    let target = folder(to, resume, ROUND);
    export::export(&log.store, request(format), target, progress, enough)
        .await
        .expect("stopped in order")
}

#[tokio::test]
async fn given_an_export_that_is_stopped_again_and_again_when_resumed_then_nothing_is_lost_or_doubled() {
    let log = Log::filled(2, 20, 30_000).await;
    for format in [Format::Ndjson, Format::Csv, Format::Parquet] {
        let to = tempfile::tempdir().expect("a folder");
        let first = stopped_after(&log, format, to.path(), false, 500).await;
        assert!(!first.complete && first.events < 60_000);
        let second = stopped_after(&log, format, to.path(), true, 500).await;
        assert!(second.events >= first.events);
        let last = export(&log, request(format), folder(to.path(), true, 1_000))
            .await
            .expect("exported");
        assert!(last.complete && last.events == 60_000);
        assert_eq!(sums(to.path()), log.sums(SUMS).await, "{format:?}");
    }
}

/// What a process that is killed leaves: files of a round that was not counted, and files of one that
/// was and do not have their names yet.
#[tokio::test]
async fn given_the_traces_of_a_killed_export_when_resumed_then_nothing_is_lost_or_doubled() {
    let log = Log::filled(2, 8, 20_000).await;
    let to = tempfile::tempdir().expect("a folder");
    stopped_after(&log, Format::Parquet, to.path(), false, 1_500).await;
    let manifest = fs::read_to_string(to.path().join("_comanda_export.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let renames = manifest["renames"].as_array().expect("renames");
    assert!(!renames.is_empty());
    for rename in renames.iter().step_by(2) {
        let (temporary, name) = (rename[0].as_str().expect("a name"), rename[1].as_str().expect("a name"));
        fs::rename(to.path().join(name), to.path().join(temporary)).expect("renamed back");
    }
    let torn = to
        .path()
        .join("tenant=t000/day=2026-02-28/.part-09999-00000.parquet.tmp");
    fs::create_dir_all(torn.parent().expect("a folder")).expect("a folder");
    fs::write(&torn, b"PAR1 torn").expect("written");
    let last = export(&log, request(Format::Parquet), folder(to.path(), true, 1_000))
        .await
        .expect("exported");
    assert!(last.complete && last.events == 40_000);
    assert!(!torn.exists());
    assert_eq!(sums(to.path()), log.sums(SUMS).await);
}

#[tokio::test]
async fn given_a_file_of_a_counted_round_that_is_gone_when_resumed_then_it_is_refused() {
    let log = Log::filled(1, 4, 500).await;
    let to = tempfile::tempdir().expect("a folder");
    stopped_after(&log, Format::Ndjson, to.path(), false, 200).await;
    fs::remove_file(files(to.path()).last().expect("a file")).expect("removed");
    let refused = export(&log, request(Format::Ndjson), folder(to.path(), true, 1_000)).await;
    assert!(matches!(refused, Err(Error::File { .. })), "{refused:?}");
}

#[tokio::test]
async fn given_a_complete_export_when_resumed_then_it_gets_what_was_recorded_since() {
    let log = Log::filled(1, 4, 100).await;
    let to = tempfile::tempdir().expect("a folder");
    export(&log, request(Format::Parquet), folder(to.path(), false, 1_000))
        .await
        .expect("exported");
    let more = domain::StreamId::order(&tenant(1), domain::OrderId(uuid::Uuid::from_u128(7)));
    let event = event_store::NewEvent {
        event_id: domain::EventId(uuid::Uuid::from_u128(8)),
        event_type: "OrderStatusChanged".to_owned(),
        event_version: "1.0".to_owned(),
        payload: serde_json::value::RawValue::from_string("{}".to_owned()).expect("JSON"),
        metadata: domain::Metadata::new(),
    };
    let append = event_store::Append {
        stream: more,
        expected: domain::Sequence::NONE,
        numbering: None,
        events: vec![event],
    };
    log.store.append(append).await.expect("appended");
    let exported = export(&log, request(Format::Parquet), folder(to.path(), true, 1_000))
        .await
        .expect("exported");
    assert_eq!(exported.events, 201, "with an event whose payload has no fields");
    assert_eq!(sums(to.path()), log.sums(SUMS).await);
    let manifest = Manifest::read(to.path()).expect("readable").expect("there");
    assert!(manifest.complete && manifest.events == 201);
}

#[tokio::test]
async fn given_a_folder_of_something_else_then_it_is_not_written_to() {
    let log = Log::filled(1, 4, 100).await;
    let to = tempfile::tempdir().expect("a folder");
    let resumed = export(&log, request(Format::Csv), folder(to.path(), true, 1_000)).await;
    assert!(matches!(resumed, Err(Error::NothingToResume(_))), "{resumed:?}");
    export(&log, request(Format::Csv), folder(to.path(), false, 1_000))
        .await
        .expect("exported");
    let again = export(&log, request(Format::Csv), folder(to.path(), false, 1_000)).await;
    assert!(matches!(again, Err(Error::NotEmpty(_))), "{again:?}");
    let other = export(&log, request(Format::Parquet), folder(to.path(), true, 1_000)).await;
    assert!(matches!(other, Err(Error::OtherExport { .. })), "{other:?}");
    let mut filtered = request(Format::Csv);
    filtered.filter.tenant = Some(tenant(1));
    let other = export(&log, filtered, folder(to.path(), true, 1_000)).await;
    assert!(matches!(other, Err(Error::OtherExport { .. })), "{other:?}");
}
