//! Every read model a second time: what its rows have to be.
//!
//! A new read model is one file here and one line in [`MODELS`].

mod daily_sales;
mod establishments;
mod order_timeline;
mod orders;
mod products;

use domain::{AggregateType, Event, OrderId, Sequence, StreamId};
use event_store::RecordedEvent;

use crate::digest::RowKey;
use crate::error::Error;
use crate::matcher::Matcher;
use crate::table::{Row, Table};

/// A read model as its rows have to be.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// The streams it is made of.
    pub(crate) reads: AggregateType,
    /// The last one is [`crate::table::PARKED`].
    pub(crate) tables: &'static [Table],
    pub(crate) fold: fn() -> Box<dyn Fold>,
}

static MODELS: [&Model; 5] = [
    &orders::MODEL,
    &order_timeline::MODEL,
    &daily_sales::MODEL,
    &products::MODEL,
    &establishments::MODEL,
];

/// The read model of this name.
///
/// # Errors
/// [`Error::UnknownReadModel`].
pub(crate) fn find(name: &str) -> Result<&'static Model, Error> {
    let found = MODELS.iter().find(|model| model.name == name);
    found.copied().ok_or_else(|| Error::UnknownReadModel {
        read_model: name.to_owned(),
        known: MODELS.map(|model| model.name).join(", "),
    })
}

/// An event on its way into the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occurred<'a> {
    pub(crate) recorded: &'a RecordedEvent,
    pub(crate) event: &'a Event,
}

impl Occurred<'_> {
    fn sequence(&self) -> Sequence {
        self.recorded.sequence
    }

    fn tenant(&self) -> &str {
        self.recorded.stream.tenant().as_str()
    }
}

/// One slot's log on its way into one read model's rows.
pub(crate) trait Fold: Send {
    /// A row that is there; told of every row where some are to be described.
    fn saw(&mut self, _row: &Row) {}

    /// Takes an event, and gives the rows that it settles.
    ///
    /// # Errors
    /// Why the event makes no rows: its stream should have been parked.
    fn apply(&mut self, event: &Occurred<'_>, rows: &mut Matcher) -> Result<(), String>;

    /// Gives all other rows.
    fn finish(&mut self, rows: &mut Matcher);

    /// Why a row is there that nothing makes.
    fn why_extra(&self, row: &Row) -> Option<String>;

    /// Why a row is not as expected, beyond being stale.
    fn why_changed(&self, _expected: &Row, _found: &Row) -> Option<String> {
        None
    }
}

const NO_STREAM: &str = "the log has no such stream up to the checkpoint";

/// The id of an order as its rows spell it.
fn order_text(stream: &StreamId) -> Result<String, String> {
    let order: Result<OrderId, _> = stream.id().parse();
    order
        .map(|id| id.to_string())
        .map_err(|_| "the stream's id is not an order id".to_owned())
}

fn foreign() -> String {
    "a stream of this kind holds no such event".to_owned()
}

fn uncreated() -> String {
    "the stream does not begin with the event that creates it".to_owned()
}

/// The row of a stream that has one row, by the first table of its read model.
fn stream_row(tenant: &str, id: &str) -> RowKey {
    RowKey::new(0, tenant, [id])
}

fn stands_at(sequence: Sequence) -> Option<String> {
    Some(format!("the stream stands at sequence {sequence} in the log"))
}
