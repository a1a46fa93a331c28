//! `cargo bench -p export`: how fast a log of 1,000,000 events is exported in each format, next to
//! PostgreSQL's own COPY of the same rows, and how much memory that takes. Prints figures; nothing is
//! held against them.

#[allow(dead_code, reason = "the tests need the rest of it")]
#[path = "../tests/log/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use export::Format;
use futures::TryStreamExt;
use futures::future::join_all;
use sqlx::postgres::PgPoolCopyExt;

use crate::support::{Log, SUMS, export, folder, request};

const SHARDS: i16 = 4;
const TENANTS: usize = 40;
const ORDERS: i64 = 500_000;
const ROWS: &str = "COPY (SELECT position, slot, slot_position, aggregate_type, aggregate_id, sequence, event_id, \
    event_type, event_version, payload, metadata, recorded_at FROM events ORDER BY position) TO STDOUT (FORMAT binary)";

fn main() {
    // Tests of all targets run this as well, and want no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    tokio::runtime::Runtime::new().expect("a runtime").block_on(measure());
}

async fn measure() {
    let log = Log::filled(SHARDS, TENANTS, ORDERS).await;
    let expected = log.sums(SUMS).await;
    let events: i64 = expected.values().map(|sum| sum.0).sum();
    println!(
        "{events} events, {SHARDS} shards, {TENANTS} tenants, {} partitions",
        expected.len()
    );
    copy(&log, events).await;
    for format in [Format::Ndjson, Format::Csv, Format::Parquet] {
        let to = tempfile::tempdir().expect("a folder");
        forget_peak();
        let begun = Instant::now();
        let exported = export(&log, request(format), folder(to.path(), false, export::ROUND_EVENTS)).await;
        let seconds = begun.elapsed().as_secs_f64();
        let exported = exported.expect("exported");
        println!(
            "{:8} {:7.0} events/s, {seconds:5.1} s, {:5} MiB written, VmHWM {} MiB",
            format.as_str(),
            exported.events as f64 / seconds,
            size(to.path()) >> 20,
            peak_mib(),
        );
        if format == Format::Parquet {
            assert_eq!(support::read::sums(to.path()), expected, "totals equal SQL");
            println!("         totals equal SQL");
        }
    }
    copy(&log, events).await;
}

/// All shards at once, to nowhere.
async fn copy(log: &Log, events: i64) {
    let begun = Instant::now();
    let copies = log.shards.iter().map(|shard| async {
        let pool = sqlx::PgPool::connect(&shard.url).await.expect("connect");
        let mut out = pool.copy_out_raw(ROWS).await.expect("copy");
        let mut bytes = 0;
        while let Some(chunk) = out.try_next().await.expect("rows") {
            bytes += chunk.len();
        }
        bytes
    });
    let bytes: usize = join_all(copies).await.into_iter().sum();
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{:8} {:7.0} events/s, {seconds:5.1} s, {:5} MiB read",
        "COPY",
        events as f64 / seconds,
        bytes >> 20
    );
}

fn size(path: &Path) -> u64 {
    let entries = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| match entry.file_type().expect("a type").is_dir() {
            true => size(&entry.path()),
            false => entry.metadata().expect("a size").len(),
        })
        .sum()
}

/// Of this process since the last [`forget_peak`]. PostgreSQL is another.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the peak is forgotten");
}
