//! A large export takes little memory: many tenants and days, more partitions than files may be open.

#[allow(dead_code, reason = "the other tests need the rest of it")]
#[path = "log/support/mod.rs"]
mod support;

use export::Format;

use crate::support::{Log, SUMS, export, folder, request};

/// Of this process at most so far, in MiB. PostgreSQL is another.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kib / 1024
}

#[tokio::test]
async fn given_more_partitions_than_files_may_be_open_when_exported_then_memory_is_bounded() {
    let log = Log::filled(2, 200, 60_000).await;
    let before = peak_mib();
    let to = tempfile::tempdir().expect("a folder");
    let exported = export(&log, request(Format::Parquet), folder(to.path(), false, 1_000_000))
        .await
        .expect("exported");
    let peak = peak_mib();
    let expected = log.sums(SUMS).await;
    let files = support::read::files(to.path()).len();
    assert!(files < 4 * expected.len(), "{files} files");
    assert!(expected.len() > 500, "{} partitions", expected.len());
    assert_eq!(support::read::sums(to.path()), expected);
    eprintln!(
        "{} events in {} partitions, {files} files: VmHWM {peak} MiB, before {before} MiB",
        exported.events,
        expected.len()
    );
    assert!(peak < before + 384, "VmHWM {peak} MiB, before {before} MiB");
}
