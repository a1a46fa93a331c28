//! Reading exported folders back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Files of an export, temporary ones included.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('_'))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn batches(file: &Path) -> Vec<RecordBatch> {
    let file = File::open(file).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("Parquet")
        .build()
        .expect("a reader");
    reader.map(|batch| batch.expect("a batch")).collect()
}

/// What an event's row says: its id, and the total of an order placed.
pub(crate) type Rows = Vec<(String, i64)>;

/// Rows of one file, whatever its format.
pub(crate) fn rows(file: &Path) -> Rows {
    match file.extension().and_then(|it| it.to_str()) {
        Some("parquet") => batches(file).iter().flat_map(of_batch).collect(),
        Some("csv") => of_csv(file),
        Some("ndjson") => of_ndjson(file),
        other => panic!("{other:?}"),
    }
}

fn of_batch(batch: &RecordBatch) -> Rows {
    let ids = batch.column_by_name("event_id").expect("ids").as_string::<i32>();
    let totals = batch
        .column_by_name("total_minor")
        .expect("totals")
        .as_primitive::<Int64Type>();
    let total = |row| if totals.is_null(row) { 0 } else { totals.value(row) };
    (0..batch.num_rows())
        .map(|row| (ids.value(row).to_owned(), total(row)))
        .collect()
}

fn of_csv(file: &Path) -> Rows {
    let mut reader = csv::Reader::from_path(file).expect("CSV");
    let header = reader.headers().expect("a header").clone();
    let at = |name| header.iter().position(|it| it == name).expect(name);
    let (id, total) = (at("event_id"), at("total_minor"));
    let row = |row: csv::StringRecord| (row[id].to_owned(), row[total].parse().unwrap_or(0));
    reader.records().map(|record| row(record.expect("a row"))).collect()
}

fn of_ndjson(file: &Path) -> Rows {
    let text = fs::read_to_string(file).expect("text");
    let row = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        (
            event["id"].as_str().expect("an id").to_owned(),
            event["payload"]["totals"]["total"].as_i64().unwrap_or(0),
        )
    };
    text.lines().map(row).collect()
}

/// By tenant and day, as the folders say: how many events, and the sum of the totals. An event that is
/// there twice is a failure.
pub(crate) fn sums(folder: &Path) -> BTreeMap<(String, String), (i64, i64)> {
    let mut sums: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    let mut seen = std::collections::HashSet::new();
    for file in files(folder) {
        let key = |name: &str| {
            let mut parts = file.components().filter_map(|part| part.as_os_str().to_str());
            parts
                .find_map(|part| part.strip_prefix(name))
                .expect("a partition")
                .to_owned()
        };
        let sum = sums.entry((key("tenant="), key("day="))).or_default();
        for (id, total) in rows(&file) {
            *sum = (sum.0 + 1, sum.1 + total);
            assert!(seen.insert(id.clone()), "{id} is there twice");
        }
    }
    sums
}
