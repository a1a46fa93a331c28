//! The flat columns as Parquet: typed, compressed with zstd, with statistics by which readers skip
//! what they do not want.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::types::Date32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use event_store::RecordedEvent;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::Output;
use crate::columns::{COLUMNS, Cell, Column, Kind, Row};
use crate::error::Error;
use crate::fields::{self, Fields};

/// Rows that are handed to the encoder at once.
const BATCH_ROWS: usize = 1_024;
const BATCH_BYTES: usize = 2 << 20;
/// Rows of a row group: what readers skip or read in parallel.
const ROW_GROUP_ROWS: usize = 128 * 1_024;
const UTC: &str = "UTC";

/// The columns as Arrow has them.
pub(crate) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |column: &Column| Field::new(column.name, data_type(column.kind), !column.required);
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
});

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Int32 => DataType::Int32,
        Kind::Int64 => DataType::Int64,
        Kind::Bool => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        Kind::Date => DataType::Date32,
    }
}

static PROPERTIES: LazyLock<WriterProperties> = LazyLock::new(|| {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("comanda ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page);
    // No two rows have the same: a dictionary would be built for nothing.
    for name in ["event_id", "payload", "metadata", "idempotency_key"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in ["payload", "metadata"] {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    properties.build()
});

/// A Parquet file that is being written.
pub(crate) struct ParquetPart {
    writer: ArrowWriter<Output>,
    columns: Vec<Builder>,
    rows: usize,
    bytes: usize,
}

impl ParquetPart {
    pub(crate) fn new(output: Output, path: &Path) -> Result<Self, Error> {
        let writer = ArrowWriter::try_new(output, Arc::clone(&SCHEMA), Some(PROPERTIES.clone()));
        Ok(Self {
            writer: writer.map_err(failed(path))?,
            columns: COLUMNS.iter().map(Builder::of).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    pub(crate) fn write(&mut self, event: &RecordedEvent, path: &Path) -> Result<(), Error> {
        let today = fields::today(event);
        let fields = today.as_ref().map(|(kind, payload)| Fields::of(*kind, payload));
        let row = Row::new(event, fields.unwrap_or_default());
        for (builder, column) in self.columns.iter_mut().zip(COLUMNS) {
            self.bytes += builder.append((column.read)(&row));
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.encode().map_err(failed(path))?;
        }
        Ok(())
    }

    fn encode(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(Builder::finish).collect();
        self.writer.write(&RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
    }

    /// What waits to be encoded, and what is encoded and waits for its row group to be whole.
    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.writer.memory_size()
    }

    pub(crate) fn spill(&mut self, path: &Path) -> Result<(), Error> {
        self.encode().and_then(|()| self.writer.flush()).map_err(failed(path))
    }

    pub(crate) fn finish(mut self, path: &Path) -> Result<(), Error> {
        self.encode().map_err(failed(path))?;
        self.writer.close().map(drop).map_err(failed(path))
    }
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> Error + '_ {
    |source| Error::Parquet {
        path: path.to_owned(),
        source,
    }
}

/// The values of one column.
enum Builder {
    Text(StringBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

impl Builder {
    fn of(column: &Column) -> Self {
        match column.kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Int32 => Self::Int32(Int32Builder::new()),
            Kind::Int64 => Self::Int64(Int64Builder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone(UTC)),
            Kind::Date => Self::Date(Date32Builder::new()),
        }
    }

    /// Returns how many bytes that takes, about. A value of another kind than the column's is none;
    /// the column's own kind is what a test holds every column to.
    fn append(&mut self, cell: Cell<'_>) -> usize {
        match self {
            Self::Text(builder) => {
                let Cell::Text(text) = cell else {
                    builder.append_null();
                    return 5;
                };
                builder.append_value(&text);
                return text.len() + 5;
            }
            Self::Int32(builder) => builder.append_option(match cell {
                Cell::Int(number) => i32::try_from(number).ok(),
                _ => None,
            }),
            Self::Int64(builder) => builder.append_option(match cell {
                Cell::Int(number) => Some(number),
                _ => None,
            }),
            Self::Bool(builder) => builder.append_option(match cell {
                Cell::Bool(value) => Some(value),
                _ => None,
            }),
            Self::Time(builder) => builder.append_option(match cell {
                Cell::Time(time) => Some(time.as_datetime().timestamp_micros()),
                _ => None,
            }),
            Self::Date(builder) => builder.append_option(match cell {
                Cell::Date(date) => Some(Date32Type::from_naive_date(date)),
                _ => None,
            }),
        }
        9
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
        }
    }
}
