//! Data on stdout, in the form that `--output` asks for.

use std::io::{self, Write};

use clap::ValueEnum;
use domain::{Currency, Money};
use serde_json::{Map, Value};

use crate::terminal;

/// How data is to be written, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Asked {
    /// aligned columns for people
    Table,
    /// one JSON document
    Json,
    /// one JSON object per line
    Ndjson,
    /// comma-separated values with a header
    Csv,
    /// typed columns, of `events export` only
    Parquet,
}

impl Asked {
    /// How what every verb can write is written.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Table | Self::Parquet => Format::Table,
            Self::Json => Format::Json,
            Self::Ndjson => Format::Ndjson,
            Self::Csv => Format::Csv,
        }
    }
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Ndjson,
    Csv,
}

/// Rows of named columns.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    /// Those whose values are numbers, where programs read them.
    numbers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [&'static str; N]) -> Self {
        Self {
            columns: columns.to_vec(),
            numbers: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Says which columns hold numbers: JSON has them as such, and null where a cell is no number.
    pub(crate) fn with_numbers<const N: usize>(mut self, columns: [&'static str; N]) -> Self {
        self.numbers = columns.to_vec();
        self
    }

    pub(crate) fn row<const N: usize>(&mut self, values: [String; N]) {
        self.rows.push(values.to_vec());
    }

    /// Writes the rows to stdout.
    ///
    /// # Errors
    /// Where stdout cannot be written to.
    pub(crate) fn print(&self, format: Format) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match format {
            Format::Table => out.write_all(self.aligned(terminal::stdout_is_rich()).as_bytes()),
            Format::Csv => self.write_csv(&mut out),
            Format::Json => print_json(&Value::Array(self.objects().collect()), Format::Json),
            Format::Ndjson => self.objects().try_for_each(|row| writeln!(out, "{row}")),
        }
    }

    fn aligned(&self, rich: bool) -> String {
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells
                .chain([self.columns[column].chars().count()])
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let header = line(&mut self.columns.iter().copied()).to_uppercase();
        let mut text = if rich {
            format!("\u{1b}[1m{header}\u{1b}[0m\n")
        } else {
            format!("{header}\n")
        };
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }

    fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(self.columns.iter().map(|name| name.replace(' ', "_")))?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        writer.flush()
    }

    fn objects(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().map(|row| {
            let fields = self.columns.iter().zip(row);
            let fields = fields.map(|(name, cell)| (name.replace(' ', "_"), self.value(name, cell)));
            Value::Object(fields.collect::<Map<_, _>>())
        })
    }

    fn value(&self, column: &str, cell: &str) -> Value {
        if self.numbers.contains(&column) {
            cell.parse().map_or(Value::Null, Value::Number)
        } else {
            Value::String(cell.to_owned())
        }
    }
}

/// Writes names and values of one thing to stdout.
///
/// # Errors
/// Where stdout cannot be written to.
pub(crate) fn print_pairs(pairs: &[(&str, String)], format: Format) -> io::Result<()> {
    match format {
        Format::Table => {
            let width = pairs
                .iter()
                .map(|(name, _)| name.chars().count())
                .max()
                .unwrap_or_default();
            let mut out = io::stdout().lock();
            pairs
                .iter()
                .try_for_each(|(name, value)| writeln!(out, "{}", format!("{name:width$}  {value}").trim_end()))
        }
        Format::Csv => {
            let mut table = Table::new(["name", "value"]);
            pairs
                .iter()
                .for_each(|(name, value)| table.row([(*name).to_owned(), value.clone()]));
            table.print(format)
        }
        Format::Json | Format::Ndjson => {
            let fields = pairs
                .iter()
                .map(|(name, value)| (name.replace(' ', "_"), Value::String(value.clone())));
            print_json(&Value::Object(fields.collect()), format)
        }
    }
}

/// `16.98 USD`
pub(crate) fn money(money: Money) -> String {
    in_words(i128::from(money.amount.0), money.currency.code())
}

/// `34,500.16 USD`.
pub(crate) fn in_words(minor: i128, code: &str) -> String {
    let exponent = Currency::new(code).map_or(0, |currency| currency.exponent());
    let unit = 10_u128.pow(exponent);
    let digits = (minor.unsigned_abs() / unit).to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|chunk| str::from_utf8(chunk).ok())
        .collect();
    let sign = if minor < 0 { "-" } else { "" };
    let whole = groups.join(",");
    if exponent == 0 {
        return format!("{sign}{whole} {code}");
    }
    let width = usize::try_from(exponent).unwrap_or_default();
    format!("{sign}{whole}.{:0width$} {code}", minor.unsigned_abs() % unit)
}

/// Writes one JSON document to stdout: indented, or on one line for [`Format::Ndjson`].
///
/// # Errors
/// Where stdout cannot be written to.
pub(crate) fn print_json(value: &Value, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format == Format::Ndjson {
        return writeln!(out, "{value}");
    }
    writeln!(out, "{value:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["database", "state"]);
        table.row(["control".to_owned(), "current".to_owned()]);
        table.row(["shard_0".to_owned(), "says \"no\", twice".to_owned()]);
        table
    }

    #[test]
    fn given_rows_then_columns_are_aligned_and_plain() {
        assert_eq!(
            table().aligned(false),
            "DATABASE  STATE\ncontrol   current\nshard_0   says \"no\", twice\n"
        );
    }

    #[test]
    fn given_rows_then_csv_is_quoted_where_needed() {
        let mut out = Vec::new();
        table().write_csv(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "database,state\ncontrol,current\nshard_0,\"says \"\"no\"\", twice\"\n"
        );
    }

    #[test]
    fn given_rows_then_objects_carry_the_column_names() {
        let objects: Vec<Value> = table().objects().collect();
        assert_eq!(
            objects[0],
            serde_json::json!({"database": "control", "state": "current"})
        );
    }

    #[test]
    fn given_columns_of_numbers_then_programs_get_numbers() {
        let mut table = Table::new(["move", "pause ms", "reason"]).with_numbers(["move", "pause ms"]);
        table.row(["7".to_owned(), "2.5".to_owned(), "12".to_owned()]);
        table.row(["8".to_owned(), String::new(), String::new()]);
        assert_eq!(
            table.objects().collect::<Vec<_>>(),
            [
                serde_json::json!({"move": 7, "pause_ms": 2.5, "reason": "12"}),
                serde_json::json!({"move": 8, "pause_ms": null, "reason": ""}),
            ]
        );
        let mut out = Vec::new();
        table.write_csv(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "move,pause_ms,reason\n7,2.5,12\n8,,\n");
    }

    #[test]
    fn given_minor_units_then_the_currencys_decimals_are_written() {
        assert_eq!(in_words(3_450_016, "USD"), "34,500.16 USD");
        assert_eq!(in_words(5, "USD"), "0.05 USD");
        assert_eq!(in_words(1_200, "JPY"), "1,200 JPY");
        assert_eq!(in_words(1_250, "KWD"), "1.250 KWD");
        assert_eq!(in_words(-100_000, "EUR"), "-1,000.00 EUR");
    }
}
