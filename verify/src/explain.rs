//! Differing rows in words: what is wrong with each, and why as far as it can be told.

use std::collections::HashSet;

use event_store::Slot;

use crate::digest::RowKey;
use crate::examine::{Described, Look};
use crate::json;
use crate::matcher::{Differing, Matched, Verdict};
use crate::report::{ColumnDifference, Difference, Kind};
use crate::table::{Holds, Row, Table, Type};
use crate::target::Target;

#[derive(Debug, Default)]
pub(crate) struct Explained {
    pub(crate) described: Vec<Described>,
    pub(crate) omitted: u64,
}

/// Describes the rows that a first look wanted described. Others that differ by now are only counted.
pub(crate) fn explain(look: &Look, slot: Slot, mut wanted: HashSet<RowKey>, matched: Matched) -> Explained {
    let mut explained = Explained::default();
    for differing in matched.differing {
        let described = wanted.remove(&differing.key).then(|| describe(look, slot, differing));
        match described.flatten() {
            Some(described) => explained.described.push(described),
            None => explained.omitted += 1,
        }
    }
    for row in matched.settled {
        wanted.remove(&row.row_key());
        let why = format!("as it stands now it is right, at slot position {}", look.at());
        let difference = difference(look, slot, &row, Kind::Fleeting, Some(why));
        explained.described.push(Described::without_row(difference));
    }
    // Wrong before, and gone by now with nothing expected: nothing is left to be told of it.
    explained.omitted += wanted.len() as u64;
    explained
}

fn describe(look: &Look, slot: Slot, differing: Differing) -> Option<Described> {
    let Differing {
        verdict,
        expected,
        found,
        stale,
        ..
    } = differing;
    let (kind, why, row) = match verdict {
        Verdict::Missing => {
            let row = expected?;
            (Kind::Missing, row.note.clone(), row)
        }
        Verdict::Extra => {
            let row = found?;
            (Kind::Extra, why_extra(look, &row), row)
        }
        Verdict::Changed => {
            let (expected, found) = (expected?, found?);
            let columns = changed_columns(&look.model.tables[found.table], &expected, &found);
            let why = match stale {
                Some((after, last)) => Some(format!(
                    "the row stands as after sequence {after}; the log goes to {last}"
                )),
                None => look.fold.why_changed(&expected, &found),
            };
            (Kind::Changed(columns), why, found)
        }
    };
    Some(Described {
        difference: difference(look, slot, &row, kind, why),
        row: Some(row),
    })
}

fn difference(look: &Look, slot: Slot, row: &Row, kind: Kind, why: Option<String>) -> Difference {
    let table = &look.model.tables[row.table];
    let names = table.key.iter().map(|column| column.name);
    Difference {
        read_model: look.target.read_model.clone(),
        generation: look.target.generation,
        slot: Some(slot),
        table: table.name,
        tenant: row.tenant.clone(),
        key: names.zip(row.key.iter().cloned()).collect(),
        kind,
        why,
    }
}

/// Why nothing makes the row: its stream may be there, and be parked.
fn why_extra(look: &Look, row: &Row) -> Option<String> {
    let stream = |id: &String| (look.model.reads.as_str().to_owned(), format!("{}/{id}", row.tenant));
    match look.model.tables[row.table].holds {
        Holds::Stream => match row.key.first().and_then(|id| look.snapshot.parked.get(&stream(id))) {
            Some(parked) => Some(format!("the stream is parked from sequence {} on", parked.first)),
            None => look.fold.why_extra(row),
        },
        Holds::Sums => look.fold.why_extra(row),
        Holds::Parked => Some("the log has no such event behind a parked stream".to_owned()),
    }
}

fn changed_columns(table: &Table, expected: &Row, found: &Row) -> Vec<ColumnDifference> {
    let values = expected.columns.iter().zip(&found.columns);
    let changed = table
        .columns
        .iter()
        .zip(values)
        .filter(|(_, (expected, found))| expected != found);
    changed
        .flat_map(|(column, (expected, found))| match (column.kind, expected, found) {
            (Type::Json, Some(expected), Some(found)) => json::differences(column.name, expected, found),
            _ => vec![ColumnDifference {
                column: column.name.to_owned(),
                expected: expected.clone(),
                found: found.clone(),
            }],
        })
        .collect()
}

pub(crate) fn one_column(column: &str, expected: i64, found: i64) -> Kind {
    Kind::Changed(vec![ColumnDifference {
        column: column.to_owned(),
        expected: Some(expected.to_string()),
        found: Some(found.to_string()),
    }])
}

/// A parked stream that stands under another slot's number.
pub(crate) fn parked_elsewhere(target: &Target, slot: Slot, (kind, id): (&String, &String), found: i32) -> Difference {
    Difference {
        read_model: target.read_model.clone(),
        generation: target.generation,
        slot: Some(slot),
        table: "parked_streams",
        tenant: id.split('/').next().unwrap_or_default().to_owned(),
        key: vec![("aggregate_type", kind.clone()), ("aggregate_id", id.clone())],
        kind: one_column("slot", i64::from(slot.0), i64::from(found)),
        why: Some("the slot follows from the tenant".to_owned()),
    }
}
