//! The options of `comanda import`.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use domain::{EstablishmentId, TenantId};

/// Import orders from a CSV or TSV file
///
/// One row is one line of an order; rows with the same order id are one order. The first row names
/// the columns. Ids derive from tenant, establishment, --source and the order id, so running the
/// same import twice changes nothing, and an interrupted one is resumed by running it again.
///
/// Bad lines are reported on stderr by number and reason and are left out; the rest is imported.
/// Empty fields and NULL are fields without a value.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda import orders.tsv --tenant dev --establishment main
  comanda import june.csv --tenant dev --establishment main --source june --date 2026-06-30
  comanda import till.csv --tenant dev --establishment main --column-order-id bon \\
      --column-item-name artikel --column-price preis --decimal-comma --price unit -o json

Exit codes: 0 everything is imported or was already there; 3 some lines or orders were left out;
1 nothing could be done; 2 usage; 130 interrupted (run the same command to resume).")]
pub(crate) struct ImportArgs {
    /// The file, UTF-8
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// What separates fields [default: a tab for .tsv and .tab, else a comma]
    #[arg(long, value_name = "CHAR", value_parser = parse_delimiter, help_heading = "File")]
    pub(crate) delimiter: Option<u8>,
    /// Quotation marks are ordinary characters
    #[arg(long, help_heading = "File")]
    pub(crate) no_quotes: bool,
    /// What the price column holds
    #[arg(long, value_enum, default_value_t = PriceOf::Line, help_heading = "File")]
    pub(crate) price: PriceOf,
    /// Prices are written 1.234,50 instead of 1,234.50
    #[arg(long, help_heading = "File")]
    pub(crate) decimal_comma: bool,
    /// Leave out an order altogether when one of its lines is bad
    #[arg(long, help_heading = "File")]
    pub(crate) whole_orders: bool,
    /// Read and check the file, send nothing
    #[arg(long, help_heading = "Options")]
    pub(crate) dry_run: bool,
    /// Orders under way at the same time
    #[arg(long, default_value_t = 32, value_name = "N", help_heading = "Options",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
}

/// Whose orders these are.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The tenant whose orders these are
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: TenantId,
    /// The establishment that took them; it must exist
    #[arg(long, value_name = "ID")]
    pub(crate) establishment: EstablishmentId,
    /// Where the orders come from; files whose order ids are unrelated need different names
    #[arg(long, default_value = "import", value_parser = parse_source, value_name = "NAME")]
    pub(crate) source: String,
    /// The day of rows that tell none: placed at noon on the establishment's clock
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Option<NaiveDate>,
}

/// Which column holds what. A name given here must be in the file; a default may be missing,
/// order id and price or product id excepted.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Columns (case does not matter)")]
pub(crate) struct Columns {
    /// Groups rows into orders [default: order_id]
    #[arg(id = "column-order-id", long = "column-order-id", value_name = "NAME")]
    pub(crate) order_id: Option<String>,
    /// Units of the line; 1 where there is no such column [default: quantity]
    #[arg(id = "column-quantity", long = "column-quantity", value_name = "NAME")]
    pub(crate) quantity: Option<String>,
    /// Name of what was ordered [default: item_name]
    #[arg(id = "column-item-name", long = "column-item-name", value_name = "NAME")]
    pub(crate) item_name: Option<String>,
    /// Choices made, kept as the line's note [default: choice_description]
    #[arg(id = "column-choice", long = "column-choice", value_name = "NAME")]
    pub(crate) choice: Option<String>,
    /// Price, see --price [default: item_price]
    #[arg(id = "column-price", long = "column-price", value_name = "NAME")]
    pub(crate) price: Option<String>,
    /// Product of the catalogue, which names and prices the line where the row does not
    /// [default: product_id]
    #[arg(id = "column-product-id", long = "column-product-id", value_name = "NAME")]
    pub(crate) product_id: Option<String>,
    /// Time or day of the order: RFC 3339, or without a zone on the establishment's clock
    /// [default: placed_at]
    #[arg(id = "column-placed-at", long = "column-placed-at", value_name = "NAME")]
    pub(crate) placed_at: Option<String>,
    /// The customer's name [default: customer]
    #[arg(id = "column-customer", long = "column-customer", value_name = "NAME")]
    pub(crate) customer: Option<String>,
    /// The customer's id [default: customer_id]
    #[arg(id = "column-customer-id", long = "column-customer-id", value_name = "NAME")]
    pub(crate) customer_id: Option<String>,
    /// The table [default: table_id]
    #[arg(id = "column-table-id", long = "column-table-id", value_name = "NAME")]
    pub(crate) table_id: Option<String>,
}

/// What the price column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PriceOf {
    /// the price of the whole line
    Line,
    /// the price of one unit
    Unit,
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("\\t" | "tab", _) => Ok(b'\t'),
        (_, [byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("must be one ASCII character, or 'tab'".to_owned()),
    }
}

fn parse_source(text: &str) -> Result<String, String> {
    let ok = !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
    if ok {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 200 printable characters".to_owned())
    }
}
