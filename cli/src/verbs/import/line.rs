//! One record of the file to lines of an order, or the reason why it is none.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _};
use csv::ByteRecord;
use domain::order::MAX_QUANTITY;
use domain::{
    Amount, CustomerId, IdError, Money, MoneyError, ProductId, TableId, Text, TextError, TimeZone, Timestamp,
};
use serde::Serialize;

use super::columns::{Layout, has_value};
use super::options::PriceOf;
use super::price::{PriceError, PriceFormat, Priced, parse_quantity, split_line};

/// Why one line is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    #[error("has {found} fields, the first line names {expected}")]
    Width { found: usize, expected: usize },
    #[error("{0} is not valid UTF-8")]
    Encoding(&'static str),
    #[error("has no order id")]
    NoOrder,
    #[error("has no quantity")]
    NoQuantity,
    #[error("quantity {0} is above {MAX_QUANTITY}")]
    TooMany(u32),
    #[error("has a price but no item name")]
    NoName,
    #[error("has neither a price nor a product id")]
    NoPrice,
    #[error("price {0}")]
    Price(PriceError),
    #[error("quantity {0}")]
    Quantity(PriceError),
    #[error("the line's amount {0}")]
    Amount(MoneyError),
    #[error("{0} {1}")]
    Text(&'static str, TextError),
    #[error("{0} {1}")]
    Id(&'static str, IdError),
    #[error("placed_at '{0}' is not a time: RFC 3339, YYYY-MM-DD HH:MM:SS or YYYY-MM-DD")]
    Time(String),
    #[error("placed_at '{0}' does not exist on the establishment's clock")]
    NoSuchTime(String),
}

/// A line of an order as the REST API takes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) product_id: Option<ProductId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Text>,
    pub(crate) quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit_price: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<Text>,
}

/// What a record says of its order rather than of its line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) placed_at: Option<Timestamp>,
    pub(crate) table_id: Option<TableId>,
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) customer_name: Option<Text>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    /// One line of the file; two where its price does not divide over its units.
    pub(crate) items: Vec<Item>,
    pub(crate) units: u32,
    /// `None` where the catalogue prices the line.
    pub(crate) amount: Option<Amount>,
    pub(crate) head: Head,
}

/// How records are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineReader {
    pub(crate) layout: Layout,
    pub(crate) prices: PriceFormat,
    pub(crate) price_of: PriceOf,
    pub(crate) time_zone: TimeZone,
}

impl LineReader {
    /// The order id of a record, as text.
    pub(crate) fn order(&self, record: &ByteRecord) -> Result<Text, BadLine> {
        if record.len() <= self.layout.order_id {
            return Err(BadLine::Width {
                found: record.len(),
                expected: self.layout.width,
            });
        }
        let field = self.layout.order_of(record).ok_or(BadLine::NoOrder)?;
        let text = std::str::from_utf8(field).map_err(|_| BadLine::Encoding("the order id"))?;
        Text::new(text).map_err(|error| BadLine::Text("the order id", error))
    }

    pub(crate) fn content(&self, record: &ByteRecord) -> Result<Content, BadLine> {
        if record.len() != self.layout.width {
            return Err(BadLine::Width {
                found: record.len(),
                expected: self.layout.width,
            });
        }
        let fields = Fields { record };
        let units = self.units(&fields)?;
        let (items, amount) = self.items(&fields, units)?;
        Ok(Content {
            items,
            units,
            amount,
            head: self.head(&fields)?,
        })
    }

    fn units(&self, fields: &Fields<'_>) -> Result<u32, BadLine> {
        let Some(column) = self.layout.quantity else {
            return Ok(1);
        };
        let text = fields.get("the quantity", Some(column))?.ok_or(BadLine::NoQuantity)?;
        let units = parse_quantity(text).map_err(BadLine::Quantity)?;
        if units > MAX_QUANTITY {
            Err(BadLine::TooMany(units))
        } else {
            Ok(units)
        }
    }

    fn items(&self, fields: &Fields<'_>, units: u32) -> Result<(Vec<Item>, Option<Amount>), BadLine> {
        let product_id = fields.id("the product id", self.layout.product_id, ProductId::new)?;
        let name = fields.text("the item name", self.layout.item_name)?;
        let note = fields.text("the choice", self.layout.choice)?;
        let Some(price) = fields.get("the price", self.layout.price)? else {
            let product_id = Some(product_id.ok_or(BadLine::NoPrice)?);
            return Ok((
                vec![Item {
                    product_id,
                    name: None,
                    quantity: units,
                    unit_price: None,
                    note,
                }],
                None,
            ));
        };
        let price = self.prices.parse(price).map_err(BadLine::Price)?;
        let name = Some(name.ok_or(BadLine::NoName)?);
        let (priced, amount) = match self.price_of {
            PriceOf::Line => (split_line(price, units), price),
            PriceOf::Unit => (
                vec![Priced {
                    quantity: units,
                    unit_price: price,
                }],
                price.times(units).map_err(BadLine::Amount)?,
            ),
        };
        let open = |line: Priced| Item {
            product_id: product_id.clone(),
            name: name.clone(),
            quantity: line.quantity,
            unit_price: Some(Money {
                amount: line.unit_price,
                currency: self.prices.currency,
            }),
            note: note.clone(),
        };
        Ok((priced.into_iter().map(open).collect(), Some(amount)))
    }

    fn head(&self, fields: &Fields<'_>) -> Result<Head, BadLine> {
        let placed_at = fields.get("placed_at", self.layout.placed_at)?;
        Ok(Head {
            placed_at: placed_at.map(|text| parse_time(text, self.time_zone)).transpose()?,
            table_id: fields.id("the table id", self.layout.table_id, TableId::new)?,
            customer_id: fields.id("the customer id", self.layout.customer_id, CustomerId::new)?,
            customer_name: fields.text("the customer", self.layout.customer)?,
        })
    }
}

/// The values of one record.
struct Fields<'a> {
    record: &'a ByteRecord,
}

impl<'a> Fields<'a> {
    fn get(&self, what: &'static str, column: Option<usize>) -> Result<Option<&'a str>, BadLine> {
        let field = column
            .and_then(|column| self.record.get(column))
            .map(<[u8]>::trim_ascii);
        let Some(field) = field.filter(|field| has_value(field)) else {
            return Ok(None);
        };
        std::str::from_utf8(field)
            .map(Some)
            .map_err(|_| BadLine::Encoding(what))
    }

    fn text(&self, what: &'static str, column: Option<usize>) -> Result<Option<Text>, BadLine> {
        let text = self.get(what, column)?;
        text.map(|text| Text::new(text).map_err(|error| BadLine::Text(what, error)))
            .transpose()
    }

    fn id<T>(
        &self,
        what: &'static str,
        column: Option<usize>,
        parse: impl Fn(&str) -> Result<T, IdError>,
    ) -> Result<Option<T>, BadLine> {
        let text = self.get(what, column)?;
        text.map(|text| parse(text).map_err(|error| BadLine::Id(what, error)))
            .transpose()
    }
}

/// Noon on the establishment's clock: far from midnight, so the business date is the day given.
pub(crate) fn noon(date: NaiveDate, zone: TimeZone) -> Option<Timestamp> {
    local(date.and_time(NaiveTime::MIN + chrono::Duration::hours(12)), zone)
}

fn local(time: NaiveDateTime, zone: TimeZone) -> Option<Timestamp> {
    // The hour that a clock shows twice in autumn is taken as the first of the two.
    zone.as_tz()
        .from_local_datetime(&time)
        .earliest()
        .map(|time| Timestamp::new(time.to_utc()))
}

fn parse_time(text: &str, zone: TimeZone) -> Result<Timestamp, BadLine> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp::new(time.to_utc()));
    }
    let no_such_time = || BadLine::NoSuchTime(text.to_owned());
    for format in [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return local(time, zone).ok_or_else(no_such_time);
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| BadLine::Time(text.to_owned()))?;
    noon(date, zone).ok_or_else(no_such_time)
}

#[cfg(test)]
mod tests {
    use super::super::options::Columns;
    use super::*;

    const HEADER: [&str; 7] = [
        "order_id",
        "quantity",
        "item_name",
        "choice_description",
        "item_price",
        "product_id",
        "placed_at",
    ];

    fn reader() -> LineReader {
        let header: Vec<String> = HEADER.iter().map(|&name| name.to_owned()).collect();
        LineReader {
            layout: Layout::find(&header, &Columns::default()).unwrap(),
            prices: PriceFormat {
                currency: domain::Currency::new("USD").unwrap(),
                decimal_comma: false,
            },
            price_of: PriceOf::Line,
            time_zone: "America/New_York".parse().unwrap(),
        }
    }

    fn read(fields: [&str; 7]) -> Result<Content, BadLine> {
        reader().content(&ByteRecord::from(fields.to_vec()))
    }

    #[test]
    fn given_an_open_item_then_name_price_and_choice_are_kept() {
        let content = read(["1", "2", "Bowl", "[Rice, Beans]", "$16.98 ", "NULL", ""]).unwrap();
        assert_eq!((content.units, content.amount), (2, Some(Amount(1698))));
        assert_eq!(
            serde_json::to_value(&content.items).unwrap(),
            serde_json::json!([{"name": "Bowl", "quantity": 2, "unit_price": {"amount": 849, "currency": "USD"},
                "note": "[Rice, Beans]"}])
        );
    }

    #[test]
    fn given_a_product_without_a_price_then_the_catalogue_prices_it() {
        let content = read(["1", "2", "Bowl", "NULL", "NULL", "bowl", ""]).unwrap();
        assert_eq!(content.amount, None);
        assert_eq!(
            serde_json::to_value(&content.items).unwrap(),
            serde_json::json!([{"product_id": "bowl", "quantity": 2}])
        );
    }

    #[test]
    fn given_a_bad_line_then_the_reason_is_told() {
        assert_eq!(read(["1", "", "Bowl", "", "2", "", ""]), Err(BadLine::NoQuantity));
        assert_eq!(
            read(["1", "10001", "Bowl", "", "2", "", ""]),
            Err(BadLine::TooMany(10_001))
        );
        assert_eq!(read(["1", "1", "NULL", "", "2", "", ""]), Err(BadLine::NoName));
        assert_eq!(read(["1", "1", "Bowl", "", "null", "", ""]), Err(BadLine::NoPrice));
        assert!(matches!(
            read(["1", "1", "Bo\0wl", "", "2", "", ""]),
            Err(BadLine::Text("the item name", _))
        ));
        assert!(matches!(
            read(["1", "1", "Bowl", "", "two", "", ""]),
            Err(BadLine::Price(_))
        ));
        assert!(matches!(
            read(["1", "1", "", "", "", "a b", ""]),
            Err(BadLine::Id("the product id", _))
        ));
        assert!(matches!(
            read(["1", "1", "Bowl", "", "2", "", "soon"]),
            Err(BadLine::Time(_))
        ));
        assert_eq!(
            reader().content(&ByteRecord::from(vec!["1", "2"])),
            Err(BadLine::Width { found: 2, expected: 7 })
        );
        assert_eq!(
            reader().content(&ByteRecord::from(vec![&b"1"[..], b"1", b"\xff", b"", b"2", b"", b""])),
            Err(BadLine::Encoding("the item name"))
        );
    }

    #[test]
    fn given_times_without_a_zone_then_the_establishments_clock_counts() {
        let zone = "America/New_York".parse().unwrap();
        let utc = |text| parse_time(text, zone).map(|time| time.to_string());
        assert_eq!(utc("2026-07-01").unwrap(), "2026-07-01T16:00:00.000000Z");
        assert_eq!(utc("2026-01-31 18:30").unwrap(), "2026-01-31T23:30:00.000000Z");
        assert_eq!(utc("2026-01-31T18:30:00+01:00").unwrap(), "2026-01-31T17:30:00.000000Z");
        // Shown twice: the first. Skipped: refused.
        assert_eq!(utc("2026-11-01 01:30:00").unwrap(), "2026-11-01T05:30:00.000000Z");
        assert!(matches!(utc("2026-03-08 02:30:00"), Err(BadLine::NoSuchTime(_))));
    }

    #[test]
    fn given_a_line_total_that_does_not_divide_then_two_items_keep_the_cents() {
        let content = read(["1", "3", "Bowl", "", "1.00", "", ""]).unwrap();
        let prices: Vec<_> = content
            .items
            .iter()
            .map(|i| (i.quantity, i.unit_price.map(|p| p.amount.0)))
            .collect();
        assert_eq!(prices, [(1, Some(34)), (2, Some(33))]);
    }
}
