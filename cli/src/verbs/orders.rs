//! `comanda orders`: looking at orders.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use domain::{Money, OrderId, Sequence, TenantId, Timestamp};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use service::Scope;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table, money};
use crate::platform::Platform;

/// Look at orders
#[derive(Debug, Args)]
pub(crate) struct OrdersArgs {
    #[command(subcommand)]
    verb: OrdersVerb,
}

#[derive(Debug, Subcommand)]
enum OrdersVerb {
    Get(GetArgs),
    History(HistoryArgs),
}

/// Show one order as it stands, or as it stood
///
/// Read from the log, so it is always current. With --at it is shown as it was left by its event of
/// that number, or by everything that had been recorded up to that time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev -o json | jq .total
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev --at 1
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev --at 2026-01-31T12:00:00Z

Exit codes: 0 done; 1 there is or was no such order, or no platform; 2 usage.")]
struct GetArgs {
    /// The order's id
    id: OrderId,
    /// The tenant it belongs to
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
    /// A version (1, 2, 3...) or a time (RFC 3339) to show it at
    #[arg(long, value_name = "VERSION|TIME")]
    at: Option<Moment>,
}

/// Show what happened to one order
///
/// Its events as they were stored, oldest first. The number of each is a version for `get --at`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda orders history 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev
  comanda orders history 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev -o ndjson | jq .data

Exit codes: 0 done; 1 there is no such order, or no platform; 2 usage.")]
struct HistoryArgs {
    /// The order's id
    id: OrderId,
    /// The tenant it belongs to
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
}

/// A point in an order's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Version(Sequence),
    Time(Timestamp),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>() {
            Ok(version) if version >= 1 => Ok(Self::Version(Sequence(version))),
            Ok(_) => Err("versions count from 1"),
            Err(_) => text
                .parse()
                .map(Self::Time)
                .map_err(|_| "must be a version such as 2, or an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        }
    }
}

/// As the query of a URL. Times are written in UTC, so nothing needs escaping.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "?version={version}"),
            Self::Time(time) => write!(f, "?as_of={time}"),
        }
    }
}

pub(crate) async fn run(context: &Context, args: OrdersArgs) -> Result<Exit, Failure> {
    match args.verb {
        OrdersVerb::Get(args) => get(context, args).await,
        OrdersVerb::History(args) => history(context, args).await,
    }
}

async fn get(context: &Context, args: GetArgs) -> Result<Exit, Failure> {
    let moment = args.at.map(|moment| moment.to_string()).unwrap_or_default();
    let order = read(context, &args.tenant, args.id, &moment).await?;
    match context.format {
        Format::Json | Format::Ndjson => context.print_json(&order)?,
        Format::Table | Format::Csv => print(context, order)?,
    }
    Ok(Exit::Done)
}

/// An order, or a part of it by its path or query below the order's own.
async fn read(context: &Context, tenant: &TenantId, id: OrderId, part: &str) -> Result<Value, Failure> {
    let platform = Platform::find(context)?;
    let rest = platform.rest("operator", tenant, None, &[Scope::OrdersRead])?;
    let answer = rest.get(&format!("/v1/orders/{id}{part}")).await;
    answer.map_err(|error| match error.status() {
        Some(StatusCode::NOT_FOUND) if part.starts_with('?') => {
            Failure::failed(format!("tenant {tenant} had no such order {id} then: {error}"))
                .with_remedy("see its versions and times with `comanda orders history`")
        }
        Some(StatusCode::NOT_FOUND) => Failure::failed(format!("tenant {tenant} has no order {id}")),
        Some(_) | None => Failure::failed(error),
    })
}

async fn history(context: &Context, args: HistoryArgs) -> Result<Exit, Failure> {
    let mut list = read(context, &args.tenant, args.id, "/events").await?;
    let events = list["events"].take();
    match context.format {
        Format::Json => context.print_json(&events)?,
        Format::Ndjson => {
            for event in events.as_array().into_iter().flatten() {
                context.print_json(event)?;
            }
        }
        Format::Table | Format::Csv => print_history(context, events)?,
    }
    Ok(Exit::Done)
}

/// What the table shows of an event.
#[derive(Debug, Deserialize)]
struct ShownEvent {
    sequence: i64,
    #[serde(rename = "type")]
    event_type: String,
    recorded_at: String,
    #[serde(default)]
    occurred_at: Option<String>,
    #[serde(default)]
    actor: Option<String>,
    data: ShownChange,
}

#[derive(Debug, Deserialize)]
struct ShownChange {
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

fn print_history(context: &Context, events: Value) -> Result<(), Failure> {
    let events: Vec<ShownEvent> = serde_json::from_value(events).map_err(Failure::failed)?;
    let mut table = Table::new([
        "version",
        "event",
        "status",
        "reason",
        "recorded at",
        "occurred at",
        "actor",
    ]);
    for event in events {
        table.row([
            event.sequence.to_string(),
            event.event_type,
            event.data.to.unwrap_or_else(|| "placed".to_owned()),
            event.data.reason.unwrap_or_default(),
            event.recorded_at,
            event.occurred_at.unwrap_or_default(),
            event.actor.unwrap_or_default(),
        ]);
    }
    context.print_table(&table)
}

/// What the table shows of an order.
#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    number: i64,
    #[serde(default)]
    reference: Option<String>,
    establishment_id: String,
    business_date: String,
    status: String,
    placed_at: String,
    version: i64,
    items: Vec<ShownItem>,
    subtotal: Money,
    tax: Money,
    total: Money,
}

#[derive(Debug, Deserialize)]
struct ShownItem {
    id: String,
    #[serde(default)]
    product_id: Option<String>,
    name: String,
    quantity: u32,
    unit_price: Money,
    line_total: Money,
    #[serde(default)]
    note: Option<String>,
}

fn print(context: &Context, order: Value) -> Result<(), Failure> {
    let order: Shown = serde_json::from_value(order).map_err(Failure::failed)?;
    if context.format == Format::Table {
        context.print_pairs(&[
            ("order", order.id),
            ("number", format!("{} of {}", order.number, order.business_date)),
            ("reference", order.reference.unwrap_or_default()),
            ("establishment", order.establishment_id),
            ("status", order.status),
            ("placed at", order.placed_at),
            ("version", order.version.to_string()),
            ("subtotal", money(order.subtotal)),
            ("tax", money(order.tax)),
            ("total", money(order.total)),
        ])?;
        Context::print_line("")?;
    }
    let mut table = Table::new([
        "line",
        "quantity",
        "name",
        "unit price",
        "line total",
        "product id",
        "note",
    ]);
    for item in order.items {
        table.row([
            item.id,
            item.quantity.to_string(),
            item.name,
            money(item.unit_price),
            money(item.line_total),
            item.product_id.unwrap_or_default(),
            item.note.unwrap_or_default(),
        ]);
    }
    context.print_table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_version_or_a_time_then_the_query_asks_for_it() {
        let query = |text: &str| text.parse::<Moment>().map(|moment| moment.to_string());
        assert_eq!(query("3").unwrap(), "?version=3");
        let time = "?as_of=2026-01-31T11:00:00.000000Z";
        assert_eq!(query("2026-01-31T12:00:00+01:00").unwrap(), time);
        for text in ["0", "-1", "", "now", "2026-01-31"] {
            assert!(query(text).is_err(), "{text:?}");
        }
    }
}
