//! The flat columns as comma-separated values. What an event does not have is empty.

use std::io;

use event_store::RecordedEvent;

use super::Output;
use crate::columns::{COLUMNS, Cell, Row};
use crate::fields::{self, Fields};

/// Rows of [`COLUMNS`], after a header.
pub(crate) struct CsvPart(csv::Writer<Output>);

impl CsvPart {
    pub(crate) fn new(output: Output) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().buffer_capacity(64 << 10).from_writer(output);
        writer.write_record(COLUMNS.iter().map(|column| column.name))?;
        Ok(Self(writer))
    }

    pub(crate) fn write(&mut self, event: &RecordedEvent) -> io::Result<()> {
        let today = fields::today(event);
        let fields = today.as_ref().map(|(kind, payload)| Fields::of(*kind, payload));
        let row = Row::new(event, fields.unwrap_or_default());
        for column in COLUMNS {
            match (column.read)(&row) {
                Cell::None => self.0.write_field("")?,
                Cell::Text(text) => self.0.write_field(text.as_bytes())?,
                Cell::Int(number) => self.0.write_field(number.to_string())?,
                Cell::Bool(value) => self.0.write_field(if value { "true" } else { "false" })?,
                Cell::Time(time) => self.0.write_field(time.to_string())?,
                Cell::Date(date) => self.0.write_field(date.to_string())?,
            }
        }
        self.0.write_record(None::<&[u8]>)?;
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
