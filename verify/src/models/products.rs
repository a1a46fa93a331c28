//! `products`: one row a product.

use std::collections::BTreeMap;

use domain::product::{Product, ProductEvent};
use domain::{AggregateType, Event, Sequence, Timestamp};
use serde_json::{Value, json};

use super::{Fold, Model, NO_STREAM, Occurred, foreign, stands_at, stream_row, uncreated};
use crate::json;
use crate::matcher::Matcher;
use crate::table::{Holds, PARKED, Row, Table, Type, column};

pub(crate) static MODEL: Model = Model {
    name: "products",
    reads: AggregateType::Product,
    tables: &[
        Table {
            name: "products",
            holds: Holds::Stream,
            key: &[column("product_id", Type::Text)],
            columns: &[
                column("establishment_id", Type::Text),
                column("name", Type::Text),
                column("category", Type::Text),
                column("price", Type::Plain),
                column("currency", Type::Text),
                column("available", Type::Plain),
                column("modifiers", Type::Json),
                column("version", Type::Plain),
                column("updated_at", Type::Time),
            ],
            fixed: 0,
        },
        PARKED,
    ],
    fold: || Box::<Products>::default(),
};

#[derive(Debug, Default)]
struct Products {
    products: BTreeMap<(String, String), Defined>,
}

#[derive(Debug)]
struct Defined {
    product: Product,
    version: Sequence,
    updated_at: Timestamp,
}

impl Fold for Products {
    fn apply(&mut self, event: &Occurred<'_>, rows: &mut Matcher) -> Result<(), String> {
        let Event::Product(product_event) = event.event else {
            return Err(foreign());
        };
        let key = (event.tenant().to_owned(), event.recorded.stream.id().to_owned());
        let defined = match product_event {
            ProductEvent::ProductDefined(_) => self.products.entry(key.clone()).or_insert_with(|| Defined {
                product: Product::default(),
                version: Sequence::NONE,
                updated_at: event.recorded.recorded_at,
            }),
            ProductEvent::ProductAvailabilityChanged(_) => self.products.get_mut(&key).ok_or_else(uncreated)?,
        };
        defined.product.evolve(product_event);
        defined.version = event.sequence();
        defined.updated_at = event.recorded.recorded_at;
        let row_key = stream_row(&key.0, &key.1);
        if rows.wants(row_key)
            && let Some(row) = row(&key, defined)
        {
            rows.stood(row_key, event.sequence(), row.digest(&MODEL.tables[0]));
        }
        Ok(())
    }

    fn finish(&mut self, rows: &mut Matcher) {
        for row in self.products.iter().filter_map(|(key, defined)| row(key, defined)) {
            rows.expect(row.row_key(), row.digest(&MODEL.tables[0]), || row);
        }
    }

    fn why_extra(&self, _: &Row) -> Option<String> {
        Some(NO_STREAM.to_owned())
    }
}

fn row((tenant, id): &(String, String), defined: &Defined) -> Option<Row> {
    let state = defined.product.state()?;
    let definition = &state.defined;
    let modifiers = definition.modifiers.iter().map(
        |modifier| json!({ "id": modifier.id.as_str(), "name": modifier.name.as_str(), "price": modifier.price.0 }),
    );
    Some(Row {
        table: 0,
        tenant: tenant.clone(),
        key: vec![id.clone()],
        columns: vec![
            definition.establishment_id.as_ref().map(ToString::to_string),
            Some(definition.name.as_str().to_owned()),
            definition
                .category
                .as_ref()
                .map(|category| category.as_str().to_owned()),
            Some(definition.price.amount.0.to_string()),
            Some(definition.price.currency.to_string()),
            Some(state.available.to_string()),
            Some(json::spelled(&modifiers.collect::<Value>())),
            Some(defined.version.to_string()),
            Some(defined.updated_at.to_string()),
        ],
        note: stands_at(defined.version),
    })
}
