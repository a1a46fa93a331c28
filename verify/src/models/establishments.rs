//! `establishments`: one row a place of business.

use std::collections::BTreeMap;

use domain::establishment::{EstablishmentDefined, EstablishmentEvent};
use domain::{AggregateType, Event, Sequence, TaxMode, Timestamp};

use super::{Fold, Model, NO_STREAM, Occurred, foreign, stands_at};
use crate::matcher::Matcher;
use crate::table::{Holds, PARKED, Row, Table, Type, column};

pub(crate) static MODEL: Model = Model {
    name: "establishments",
    reads: AggregateType::Establishment,
    tables: &[
        Table {
            name: "establishments",
            holds: Holds::Stream,
            key: &[column("establishment_id", Type::Text)],
            columns: &[
                column("name", Type::Text),
                column("time_zone", Type::Text),
                column("currency", Type::Text),
                column("tax_mode", Type::Text),
                column("tax_rate_ppm", Type::Plain),
                column("kind", Type::Text),
                column("version", Type::Plain),
                column("updated_at", Type::Time),
            ],
            fixed: 0,
        },
        PARKED,
    ],
    fold: || Box::<Establishments>::default(),
};

#[derive(Debug, Default)]
struct Establishments {
    rows: BTreeMap<(String, String), Row>,
}

impl Fold for Establishments {
    fn apply(&mut self, event: &Occurred<'_>, rows: &mut Matcher) -> Result<(), String> {
        let defined = match event.event {
            Event::Establishment(EstablishmentEvent::EstablishmentDefined(defined)) => defined,
            Event::Order(_) | Event::Product(_) => return Err(foreign()),
        };
        let (tenant, id) = (event.tenant().to_owned(), event.recorded.stream.id().to_owned());
        let row = row(
            tenant.clone(),
            id.clone(),
            defined,
            event.sequence(),
            event.recorded.recorded_at,
        );
        if rows.wants(row.row_key()) {
            rows.stood(row.row_key(), event.sequence(), row.digest(&MODEL.tables[0]));
        }
        // Each event carries the whole definition.
        self.rows.insert((tenant, id), row);
        Ok(())
    }

    fn finish(&mut self, rows: &mut Matcher) {
        for row in std::mem::take(&mut self.rows).into_values() {
            rows.expect(row.row_key(), row.digest(&MODEL.tables[0]), || row);
        }
    }

    fn why_extra(&self, _: &Row) -> Option<String> {
        Some(NO_STREAM.to_owned())
    }
}

fn row(tenant: String, id: String, defined: &EstablishmentDefined, version: Sequence, at: Timestamp) -> Row {
    let tax_mode = match defined.tax.mode {
        TaxMode::Inclusive => "inclusive",
        TaxMode::Additive => "additive",
    };
    Row {
        table: 0,
        tenant,
        key: vec![id],
        columns: vec![
            Some(defined.name.as_str().to_owned()),
            Some(defined.time_zone.name().to_owned()),
            Some(defined.currency.to_string()),
            Some(tax_mode.to_owned()),
            Some(defined.tax.rate_ppm.ppm().to_string()),
            Some(defined.kind.as_str().to_owned()),
            Some(version.to_string()),
            Some(at.to_string()),
        ],
        note: stands_at(version),
    }
}
