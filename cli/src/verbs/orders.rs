//! `comanda orders`: looking at orders.

use clap::{Args, Subcommand};
use domain::{Money, OrderId, TenantId};
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
}

/// Show one order as it stands
///
/// Read from the log, so it is always current.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev -o json | jq .total

Exit codes: 0 done; 1 there is no such order, or no platform; 2 usage.")]
struct GetArgs {
    /// The order's id
    id: OrderId,
    /// The tenant it belongs to
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
}

pub(crate) async fn run(context: &Context, args: OrdersArgs) -> Result<Exit, Failure> {
    match args.verb {
        OrdersVerb::Get(args) => get(context, args).await,
    }
}

async fn get(context: &Context, args: GetArgs) -> Result<Exit, Failure> {
    let platform = Platform::find(context)?;
    let rest = platform.rest("operator", &args.tenant, None, &[Scope::OrdersRead])?;
    let order = match rest.get(&format!("/v1/orders/{}", args.id)).await {
        Ok(order) => order,
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
            return Err(Failure::failed(format!(
                "tenant {} has no order {}",
                args.tenant, args.id
            )));
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    match context.format {
        Format::Json | Format::Ndjson => context.print_json(&order)?,
        Format::Table | Format::Csv => print(context, order)?,
    }
    Ok(Exit::Done)
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
