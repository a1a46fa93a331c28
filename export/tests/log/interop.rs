//! Exported folders, read with DuckDB.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use export::Format;
use serde_json::Value;

use crate::support::{Log, SUMS, export, folder, request};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a folder")
        .to_owned()
}

/// The Python that has DuckDB, as `scripts/interop-tools` left it.
fn python() -> PathBuf {
    let tools = root().join(".tools/interop");
    let wanted = std::fs::read(root().join("contracts/interop/requirements.txt")).expect("a list");
    assert!(
        std::fs::read(tools.join("brought.txt")).is_ok_and(|brought| brought == wanted),
        "DuckDB, which reads the export, is missing from {}: run scripts/setup test",
        tools.display()
    );
    tools.join("bin/python")
}

#[tokio::test]
async fn given_an_exported_folder_when_duckdb_reads_it_then_its_totals_equal_sql() {
    let log = Log::filled(3, 20, 2_000).await;
    let to = tempfile::tempdir().expect("a folder");
    export(&log, request(Format::Parquet), folder(to.path(), false, 1_500))
        .await
        .expect("exported");
    let mut reader = Command::new(python());
    reader.arg(root().join("export/tests/interop/read.py")).arg(to.path());
    let said = reader.output().expect("Python runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let (mut types, mut sums, mut differ) = (BTreeMap::new(), BTreeMap::new(), None);
    for line in String::from_utf8(said.stdout).expect("text").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        if let (Some(column), Some(kind)) = (text("column"), text("type")) {
            types.insert(column, kind);
        } else if let (Some(tenant), Some(day)) = (text("tenant"), text("day")) {
            let number = |name: &str| line[name].as_i64().expect("a number");
            sums.insert((tenant, day), (number("events"), number("total")));
        } else {
            differ = line["differ"].as_i64();
        }
    }
    assert_eq!(sums, log.sums(SUMS).await);
    assert_eq!(differ, Some(0));
    for (column, kind) in [
        ("recorded_at", "TIMESTAMP WITH TIME ZONE"),
        ("business_date", "DATE"),
        ("total_minor", "BIGINT"),
        ("slot", "INTEGER"),
        ("payload", "VARCHAR"),
        ("tenant", "VARCHAR"),
        ("day", "DATE"),
    ] {
        assert_eq!(types.get(column).map(String::as_str), Some(kind), "{column}");
    }
}
