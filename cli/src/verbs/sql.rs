//! `comanda sql`: the log in SQL, for analysts.

use analytics::{DatabaseAt, Databases as Views, RoleName, Sees};
use clap::{Args, Subcommand};
use domain::TenantId;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;

use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::platform;

/// The log in SQL, for analysts
///
/// Every shard, and across all of them the first read store, has the view analytics.events. Analysts
/// get login roles that read it and nothing else, for one tenant or for all. Without a verb, says where
/// the views are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda sql setup
  comanda sql grant --tenant dev --role dev_analyst
  comanda sql
  psql \"$URL\" -c 'SELECT event_type, count(*) FROM analytics.events GROUP BY 1'

A long query on a shard's primary slows its appends; ask a standby where there is one.

Exit codes: 0 done; 1 it was refused, stderr says why; 2 usage.")]
pub(crate) struct SqlArgs {
    #[command(subcommand)]
    verb: Option<SqlVerb>,
}

#[derive(Debug, Subcommand)]
enum SqlVerb {
    Setup(SetupArgs),
    Grant(GrantArgs),
    Revoke(RevokeArgs),
}

/// Make the view across shards, or bring it up to date
///
/// Needs superuser rights in the databases. Run it again when a shard was added or has moved to another
/// address; readers keep their rights.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda sql setup
  comanda sql setup --config cluster.toml

Exit codes: 0 done; 1 it was refused, stderr says why; 2 usage.")]
struct SetupArgs {}

/// Make a login role that reads the views and nothing else
///
/// Prints its new password, once, and where to connect. Run again for the same role and tenant, it
/// gives it another password and the shards that were added.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda sql grant --tenant dev --role dev_analyst
  comanda sql grant --all-tenants --role head_office -o json

Exit codes: 0 done; 1 it was refused, stderr says why; 2 usage.")]
struct GrantArgs {
    /// The tenant that it sees
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "all_tenants",
        conflicts_with = "all_tenants"
    )]
    tenant: Option<TenantId>,
    /// Let it see every tenant
    #[arg(long)]
    all_tenants: bool,
    /// The role's name: a-z, 0-9 and _
    #[arg(long, value_name = "NAME")]
    role: RoleName,
}

/// Take a reader away
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda sql revoke --role dev_analyst

Exit codes: 0 done, also where it was gone; 1 it was refused, stderr says why; 2 usage.")]
struct RevokeArgs {
    /// The role's name
    #[arg(long, value_name = "NAME")]
    role: RoleName,
}

impl From<analytics::Error> for Failure {
    fn from(error: analytics::Error) -> Self {
        let remedy = error.remedy();
        Self::failed(error).with_remedy(remedy)
    }
}

pub(crate) async fn run(context: &Context, args: SqlArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let views = views(&databases)?;
    match args.verb {
        None => print(context, &views, None)?,
        Some(SqlVerb::Setup(SetupArgs {})) => {
            analytics::set_up(&views).await?;
            print(context, &views, None)?;
        }
        Some(SqlVerb::Grant(args)) => {
            let sees = args.tenant.map_or(Sees::Everything, Sees::Tenant);
            let password = analytics::grant(&views, &args.role, &sees).await?;
            print(context, &views, Some((&args.role, password.expose())))?;
        }
        Some(SqlVerb::Revoke(args)) => analytics::revoke(&views, &args.role).await?,
    }
    Ok(Exit::Done)
}

fn views(databases: &Databases) -> Result<Views, Failure> {
    let at = |name: String, url: &str| DatabaseAt {
        name,
        url: url.to_owned(),
    };
    let shards = databases.shards().iter();
    let shards = shards.map(|(id, url)| (*id, at(format!("shard_{id}"), url)));
    let hub = databases.read_stores().first();
    let hub = hub.ok_or_else(|| Failure::failed("there is no read store to hold the view across shards"))?;
    Ok(Views {
        shards: shards.collect(),
        control: at("control".to_owned(), databases.control()),
        hub: at(format!("read_store {}", hub.name), hub.url.expose()),
    })
}

/// Where to connect: without a password, but for a role that was just made.
fn print(context: &Context, views: &Views, made: Option<(&RoleName, &str)>) -> Result<(), Failure> {
    let (role, password) = made.map_or(("ROLE", None), |(role, password)| (role.as_str(), Some(password)));
    let mut table = Table::new(["view", "url"]);
    let mut rows = vec![("all_shards".to_owned(), address(&views.hub, role, password)?)];
    for (_, shard) in &views.shards {
        rows.push((shard.name.clone(), address(shard, role, password)?));
    }
    if let (Format::Json | Format::Ndjson, Some(password)) = (context.format, password) {
        let urls: serde_json::Map<_, _> = rows.into_iter().map(|(view, url)| (view, json!(url))).collect();
        return context.print_json(&json!({"role": role, "password": password, "urls": urls}));
    }
    for (view, url) in rows {
        table.row([view, url]);
    }
    context.print_table(&table)
}

fn address(database: &DatabaseAt, role: &str, password: Option<&str>) -> Result<String, Failure> {
    let options: PgConnectOptions = database.url.parse().map_err(Failure::failed)?;
    let (host, port) = (options.get_host(), options.get_port());
    let name = options.get_database().unwrap_or_default();
    let secret = password.map_or_else(String::new, |password| format!(":{password}"));
    Ok(format!("postgres://{role}{secret}@{host}:{port}/{name}"))
}
