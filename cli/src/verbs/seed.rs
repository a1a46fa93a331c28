//! `comanda seed`: the development tenant.

use clap::Args;
use domain::TenantId;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::platform::Platform;
use crate::seed;
use crate::verbs::token::default_scopes;

/// Give the tenant `dev` an establishment and a few products
///
/// What `comanda up` does by itself, for a platform that others started. A second time changes
/// nothing, not even what was changed meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda seed
  comanda seed --url http://127.0.0.1:8080 --config cluster.toml --demo

Exit codes: 0 done; 1 the platform does not answer or refused; 2 usage.")]
pub(crate) struct SeedArgs {
    /// A week of orders too
    #[arg(long)]
    demo: bool,
}

pub(crate) async fn run(context: &Context, args: SeedArgs) -> Result<Exit, Failure> {
    let platform = Platform::find(context)?;
    let tenant: TenantId = seed::TENANT.parse().map_err(Failure::failed)?;
    let rest = platform.rest("operator", &tenant, None, &default_scopes())?;
    seed::with(&rest, args.demo).await.map_err(Failure::failed)?;
    Ok(Exit::Done)
}
