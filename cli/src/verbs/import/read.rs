//! The reading half of an import: from the file to complete orders and bad lines, on a thread of
//! its own.

use domain::{MoneyError, Text, Timestamp};
use tokio::sync::mpsc::Sender;

use super::Establishment;
use super::columns::{ColumnError, Layout};
use super::file::{BytesRead, FileError, Records};
use super::group::{Group, Grouper, Spread, TooSpread};
use super::line::{BadLine, LineReader};
use super::options::ImportArgs;
use super::order::{Origin, Outgoing};
use super::price::PriceFormat;

/// Why reading stops before the end of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Columns(#[from] ColumnError),
    #[error(transparent)]
    TooSpread(#[from] TooSpread),
}

/// What the reader hands over.
#[derive(Debug)]
pub(crate) enum Step {
    Order(Box<Outgoing>),
    BadLine {
        line: u64,
        order: Option<Text>,
        reason: LineFault,
    },
    LeftOut {
        order: Box<Outgoing>,
        reason: &'static str,
    },
}

/// Why one line is left out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineFault {
    #[error(transparent)]
    Bad(#[from] BadLine),
    #[error("the order's amount {0}")]
    Amount(MoneyError),
}

/// A file whose columns are known.
#[derive(Debug)]
pub(crate) struct Reading {
    args: ImportArgs,
    origin: Origin,
    /// When orders were placed that do not tell.
    date: Option<Timestamp>,
    lines: LineReader,
    records: Records,
}

/// Nobody takes the orders any more: the import was interrupted or has failed.
struct Unwanted;

impl Reading {
    pub(crate) fn open(
        args: ImportArgs,
        establishment: &Establishment,
        date: Option<Timestamp>,
    ) -> Result<Self, ReadError> {
        let mut records = Records::open(&args)?;
        let layout = Layout::find(&records.header()?, &args.columns)?;
        let prices = PriceFormat {
            currency: establishment.currency,
            decimal_comma: args.decimal_comma,
        };
        Ok(Self {
            origin: Origin {
                tenant: args.target.tenant.clone(),
                establishment: args.target.establishment.clone(),
                source: args.target.source.clone(),
            },
            lines: LineReader {
                layout,
                prices,
                price_of: args.price,
                time_zone: establishment.time_zone,
            },
            date,
            args,
            records,
        })
    }

    pub(crate) fn bytes_read(&self) -> BytesRead {
        self.records.bytes_read()
    }

    /// Reads to the end of the file, or until nobody takes the steps any more. Blocks.
    pub(crate) fn run(mut self, steps: &Sender<Step>) -> Result<(), ReadError> {
        let mut first_pass = Records::open(&self.args)?;
        first_pass.header()?;
        let mut grouper = Grouper::new(Spread::find(&mut first_pass, &self.lines.layout)?);
        while let Some((line, record)) = self.records.next()? {
            let order = match self.lines.order(record) {
                Ok(order) => order,
                Err(reason) => {
                    let step = Step::BadLine {
                        line,
                        order: None,
                        reason: reason.into(),
                    };
                    if steps.blocking_send(step).is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            let (content, mut fault) = match self.lines.content(record) {
                Ok(content) => (Some(content), None),
                Err(reason) => (None, Some(LineFault::from(reason))),
            };
            let added = grouper.add(order.clone(), line, content)?;
            fault = fault.or(added.refused.map(LineFault::Amount));
            let fault = fault.map(|reason| Step::BadLine {
                line,
                order: Some(order),
                reason,
            });
            let orders = added.complete.into_iter().filter_map(|group| self.complete(group));
            if send_all(steps, fault.into_iter().chain(orders)).is_err() {
                return Ok(());
            }
        }
        let rest = grouper.finish().into_iter().filter_map(|group| self.complete(group));
        // Whether anybody listens to the last orders changes nothing any more.
        let _ = send_all(steps, rest);
        Ok(())
    }

    /// What is done with a complete order; nothing where all of its lines are bad.
    fn complete(&self, group: Group) -> Option<Step> {
        if group.items.is_empty() {
            return None;
        }
        let has_bad_lines = group.bad_lines > 0;
        let order = Box::new(Outgoing::new(group, &self.origin, self.date));
        Some(if order.is_too_long() {
            Step::LeftOut {
                order,
                reason: "has more lines than an order may have",
            }
        } else if has_bad_lines && self.args.whole_orders {
            Step::LeftOut {
                order,
                reason: "left out because of its bad lines (--whole-orders)",
            }
        } else {
            Step::Order(order)
        })
    }
}

fn send_all(steps: &Sender<Step>, all: impl Iterator<Item = Step>) -> Result<(), Unwanted> {
    for step in all {
        steps.blocking_send(step).map_err(|_| Unwanted)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;
    use tokio::sync::mpsc;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ImportArgs,
    }

    /// Reads a small file; each step as one line of text.
    fn read(extension: &str, content: &[u8], options: &[&str]) -> Result<Vec<String>, ReadError> {
        let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
        file.write_all(content).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let words = ["import", &path, "--tenant", "dev", "--establishment", "main"];
        let args = Line::try_parse_from(words.iter().chain(options)).unwrap().args;
        let establishment = Establishment {
            time_zone: "America/New_York".parse().unwrap(),
            currency: "USD".parse().unwrap(),
        };
        let reading = Reading::open(args, &establishment, None)?;
        let (sender, mut steps) = mpsc::channel(10_000);
        reading.run(&sender)?;
        drop(sender);
        Ok(std::iter::from_fn(|| steps.blocking_recv()).map(shown).collect())
    }

    fn shown(step: Step) -> String {
        match step {
            Step::Order(order) => {
                let amount = order.amount.map_or("?".to_owned(), |amount| amount.to_string());
                format!(
                    "order {}: {} lines, {} units, {amount}",
                    order.reference(),
                    order.lines,
                    order.units
                )
            }
            Step::BadLine { line, reason, .. } => format!("line {line}: {reason}"),
            Step::LeftOut { order, reason } => format!("order {}: {reason}", order.reference()),
        }
    }

    #[test]
    fn given_a_tsv_of_line_totals_then_orders_come_out_whole() {
        let file = b"order_id\tquantity\titem_name\tchoice_description\titem_price\n\
            1\t1\tChips\tNULL\t$2.39 \n1\t2\tSoda\t[Lemon]\t$2.18 \n2\t3\tChips\tNULL\t$10.00 \n";
        assert_eq!(
            read(".tsv", file, &[]).unwrap(),
            ["order 1: 2 lines, 3 units, 457", "order 2: 1 lines, 3 units, 1000"]
        );
    }

    #[test]
    fn given_bad_lines_then_each_is_named_and_the_rest_is_read() {
        let file = b"order_id,quantity,item_name,item_price\n1,1,Chips,2.39\n1,x,Chips,2.39\n,1,Chips,2.39\n\
            1,1,Chips,1.00\n2,1,Ch\xffps,1\n3,1\n\n4,1,Chips,-1\n5,1,\"Chips, large\",3\n";
        assert_eq!(
            read(".csv", file, &[]).unwrap(),
            [
                "line 3: quantity 'x' is not a whole number of 1 or more",
                "line 4: has no order id",
                "line 6: the item name is not valid UTF-8",
                "order 1: 2 lines, 2 units, 339",
                "line 7: has 2 fields, the first line names 4",
                "line 9: price '-1' is negative",
                "order 5: 1 lines, 1 units, 300",
            ]
        );
    }

    #[test]
    fn given_whole_orders_then_an_order_with_a_bad_line_is_left_out() {
        let file = b"order_id,quantity,item_name,item_price\n1,1,Chips,2.39\n1,x,Chips,2.39\n2,1,Chips,1\n";
        assert_eq!(
            read(".csv", file, &["--whole-orders"]).unwrap(),
            [
                "line 3: quantity 'x' is not a whole number of 1 or more",
                "order 1: left out because of its bad lines (--whole-orders)",
                "order 2: 1 lines, 1 units, 100",
            ]
        );
    }

    #[test]
    fn given_rows_that_stand_apart_then_the_order_is_still_one() {
        let file = b"order_id,item_name,item_price\n1,Chips,1\n2,Chips,1\n1,Soda,1\n3,Soda,1\n";
        assert_eq!(
            read(".csv", file, &[]).unwrap(),
            [
                "order 2: 1 lines, 1 units, 100",
                "order 1: 2 lines, 2 units, 200",
                "order 3: 1 lines, 1 units, 100"
            ]
        );
    }

    #[test]
    fn given_other_column_names_a_delimiter_and_decimal_commas_then_options_map_them() {
        let file = b"Bon;Artikel;Menge;Preis\n7;Suppe;2;1.234,50 \xe2\x82\xac\n";
        // The currency is the establishment's: a symbol is not a currency.
        let options = [
            "--delimiter",
            ";",
            "--column-order-id",
            "bon",
            "--column-item-name",
            "ARTIKEL",
            "--column-quantity",
            "Menge",
            "--column-price",
            "Preis",
            "--decimal-comma",
            "--price",
            "unit",
        ];
        assert_eq!(
            read(".csv", file, &options).unwrap(),
            ["order 7: 1 lines, 2 units, 246900"]
        );
    }

    #[test]
    fn given_columns_that_are_not_there_then_the_error_names_them() {
        let file = b"bon,artikel\n1,Suppe\n";
        assert!(matches!(
            read(".csv", file, &[]),
            Err(ReadError::Columns(ColumnError::Missing { .. }))
        ));
        let chosen = ["--column-order-id", "bon"];
        assert!(matches!(
            read(".csv", file, &chosen),
            Err(ReadError::Columns(ColumnError::NothingPriced(_)))
        ));
        assert!(matches!(
            read(".csv", b"", &[]),
            Err(ReadError::File(FileError::NoHeader))
        ));
        let twice = b"order_id,order_id,item_price\n";
        assert!(matches!(
            read(".csv", twice, &[]),
            Err(ReadError::Columns(ColumnError::Twice(_)))
        ));
    }

    #[test]
    fn given_a_quotation_mark_that_never_closes_then_reading_stops_with_the_remedy() {
        let mut file = b"order_id,item_name,item_price\n1,\"Chips,1\n".to_vec();
        file.extend(b"2,Chips,1\n".repeat(300_000));
        assert!(matches!(
            read(".csv", &file, &[]),
            Err(ReadError::File(FileError::Runaway { line: 2 }))
        ));
        let orders = read(
            ".csv",
            b"order_id,item_name,item_price\n1,\"Chips,1\n",
            &["--no-quotes"],
        )
        .unwrap();
        assert_eq!(orders, ["order 1: 1 lines, 1 units, 100"]);
    }

    #[test]
    fn given_an_order_with_too_many_lines_then_it_is_left_out_as_a_whole() {
        let mut file = b"order_id,item_name,item_price\n".to_vec();
        file.extend(b"1,Chips,1\n".repeat(501));
        assert_eq!(
            read(".csv", &file, &[]).unwrap(),
            ["order 1: has more lines than an order may have"]
        );
    }
}
