//! What is exported is what SQL says is in the log.

use std::sync::{Arc, Mutex};

use arrow_schema::{DataType, TimeUnit};
use domain::{EventType, Timestamp};
use event_store::{Cursor, LogFilter};
use export::{Format, Request, Target};
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::support::read::{batches, files, rows, sums};
use crate::support::{Log, SUMS, export, folder, request, tenant};

#[tokio::test]
async fn given_tenants_and_days_when_exported_in_each_format_then_totals_equal_sql() {
    let log = Log::filled(3, 40, 3_000).await;
    let expected = log.sums(SUMS).await;
    assert!(
        expected.len() >= 3 * 40,
        "every tenant has every day: {}",
        expected.len()
    );
    let events: i64 = expected.values().map(|sum| sum.0).sum();
    for format in [Format::Ndjson, Format::Csv, Format::Parquet] {
        let to = tempfile::tempdir().expect("a folder");
        let exported = export(&log, request(format), folder(to.path(), false, 1_000_000))
            .await
            .expect("exported");
        assert!(exported.complete);
        assert_eq!(exported.events, events.unsigned_abs());
        assert_eq!(sums(to.path()), expected, "{format:?}");
        let ending = format!(".{}", format.as_str());
        assert!(
            files(to.path())
                .iter()
                .all(|file| file.to_string_lossy().ends_with(&ending)),
            "only whole files"
        );
    }
}

#[tokio::test]
async fn given_a_parquet_file_then_its_columns_are_typed_and_it_can_be_skipped_through() {
    let log = Log::filled(1, 2, 400).await;
    let to = tempfile::tempdir().expect("a folder");
    export(&log, request(Format::Parquet), folder(to.path(), false, 1_000_000))
        .await
        .expect("exported");
    let file = files(to.path()).remove(0);
    let schema = batches(&file)[0].schema();
    let kind = |name: &str| schema.field_with_name(name).expect(name).data_type().clone();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(kind("recorded_at"), utc);
    assert_eq!(kind("business_date"), DataType::Date32);
    assert_eq!(kind("total_minor"), DataType::Int64);
    assert_eq!(kind("slot"), DataType::Int32);
    let reader = SerializedFileReader::new(std::fs::File::open(&file).expect("a file")).expect("Parquet");
    let group = reader.metadata().row_group(0);
    for column in group.columns() {
        assert!(
            matches!(column.compression(), Compression::ZSTD(_)),
            "{}",
            column.column_path()
        );
    }
    let at = |name: &str| {
        group
            .columns()
            .iter()
            .find(|it| it.column_path().string() == name)
            .expect("a column")
    };
    for name in ["recorded_at", "slot_position", "total_minor", "type"] {
        assert!(at(name).statistics().is_some(), "{name} has statistics");
    }
}

/// Exported rows, by a filter, as NDJSON to a stream.
async fn streamed(log: &Log, filter: LogFilter, after: Cursor, until: Option<Cursor>) -> (Vec<String>, Cursor) {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("unpoisoned").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = Shared::default();
    let request = Request {
        filter,
        after,
        until,
        ..request(Format::Ndjson)
    };
    let exported = export(log, request, Target::Stream(Box::new(out.clone())))
        .await
        .expect("exported");
    let text = String::from_utf8(out.0.lock().expect("unpoisoned").clone()).expect("text");
    (text.lines().map(str::to_owned).collect(), exported.cursor)
}

async fn count(log: &Log, condition: &str) -> usize {
    let sql = format!("SELECT '', '', count(*), 0::bigint FROM events WHERE {condition}");
    let counted = log.sums(&sql).await.into_values().map(|sum| sum.0).sum::<i64>();
    usize::try_from(counted).expect("a count")
}

#[tokio::test]
async fn given_each_filter_when_exported_then_as_many_events_come_as_sql_counts() {
    let log = Log::filled(2, 30, 900).await;
    let none = LogFilter::default;
    let (from, to): (Timestamp, Timestamp) = (
        "2026-02-28T00:00:00Z".parse().expect("a time"),
        "2026-02-28T18:30:00Z".parse().expect("a time"),
    );
    let cases = [
        (none(), "true"),
        (
            LogFilter {
                tenant: Some(tenant(7)),
                ..none()
            },
            "tenant_id = 't007'",
        ),
        (
            LogFilter {
                types: vec![EventType::OrderCreated],
                ..none()
            },
            "event_type = 'OrderCreated'",
        ),
        (
            LogFilter {
                establishment: Some("annex".parse().expect("an id")),
                ..none()
            },
            "metadata ->> 'establishment_id' = 'annex'",
        ),
        (
            LogFilter {
                from: Some(from),
                to: Some(to),
                ..none()
            },
            "recorded_at >= '2026-02-28T00:00Z' AND recorded_at < '2026-02-28T18:30Z'",
        ),
        (
            LogFilter {
                tenant: Some(tenant(7)),
                from: Some(from),
                types: vec![EventType::OrderStatusChanged],
                ..none()
            },
            "tenant_id = 't007' AND recorded_at >= '2026-02-28T00:00Z' AND event_type = 'OrderStatusChanged'",
        ),
    ];
    for (filter, condition) in cases {
        let expected = count(&log, condition).await;
        assert!(expected > 0, "{condition}");
        let (lines, _) = streamed(&log, filter.clone(), Cursor::default(), None).await;
        assert_eq!(lines.len(), expected, "{condition}");
    }
}

#[tokio::test]
async fn given_the_cursor_of_an_export_then_another_takes_what_came_since_and_an_end_can_be_named() {
    let log = Log::filled(2, 12, 200).await;
    let (lines, end) = streamed(&log, LogFilter::default(), Cursor::default(), None).await;
    let (none, same) = streamed(&log, LogFilter::default(), end.clone(), None).await;
    assert_eq!((none.len(), &same), (0, &end));
    let (again, _) = streamed(&log, LogFilter::default(), Cursor::default(), Some(end)).await;
    assert_eq!(again.len(), lines.len());
}

#[tokio::test]
async fn given_a_file_then_it_is_there_whole_or_not_at_all() {
    let log = Log::filled(1, 3, 50).await;
    let to = tempfile::tempdir().expect("a folder");
    for (format, name) in [
        (Format::Csv, "a.csv"),
        (Format::Ndjson, "a.ndjson"),
        (Format::Parquet, "a.parquet"),
    ] {
        let path = to.path().join(name);
        let stopped = export::export(
            &log.store,
            request(format),
            Target::File(path.clone()),
            Arc::default(),
            std::future::ready(()),
        );
        let stopped = stopped.await.expect("stopped");
        assert_eq!(stopped.complete, path.exists(), "not begun, or whole");
        export(&log, request(format), Target::File(path.clone()))
            .await
            .expect("exported");
        assert_eq!(rows(&path).len(), 100);
    }
    assert_eq!(files(to.path()).len(), 3, "nothing is left behind");
}
