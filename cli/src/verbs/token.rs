//! `comanda token`: a signed token on stdout, and nothing else.

use std::time::Duration;

use clap::Args;
use domain::{ActorId, EstablishmentId, TenantId};
use service::Scope;
use service::auth::TokenRequest;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::{platform, signing};

/// Print a token for the API
///
/// Signs with the settings' auth.signing, else with their first HS256 key, else with the
/// development secret that `comanda up` keeps in the data folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda token --tenant dev
  comanda token --tenant dev --establishment main --scope orders:read --ttl 30m
  curl -H \"authorization: Bearer $(comanda token --tenant dev)\" \\
       http://127.0.0.1:8080/v1/establishments/main

Exit codes: 0 done; 1 there is no key to sign with; 2 usage.")]
pub(crate) struct TokenArgs {
    /// The tenant whose data it reaches
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
    /// What it may do; repeat for more [default: all scopes but ops]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// The establishments it is limited to; repeat for more [default: all of the tenant's]
    #[arg(long = "establishment", value_name = "ID")]
    establishments: Vec<EstablishmentId>,
    /// How long it is valid: 90s, 30m, 8h, 7d
    #[arg(long, default_value = "8h", value_parser = parse_ttl)]
    ttl: Duration,
    /// Who acts with it; stored with every event
    #[arg(long, default_value = "operator", value_name = "NAME")]
    subject: String,
}

pub(crate) fn run(context: &Context, args: TokenArgs) -> Result<Exit, Failure> {
    let settings = context.settings().load().map_err(Failure::usage)?;
    let data = platform::data_folder(context);
    if signing::is_development(&settings.auth) && !signing::secret_file(&data).exists() {
        let problem = format!(
            "there is no key to sign with: no development secret in {}",
            data.display()
        );
        return Err(Failure::failed(problem)
            .with_remedy("run `comanda up` once, name its folder with --data DIR, or configure auth.signing"));
    }
    let scopes = if args.scopes.is_empty() {
        default_scopes()
    } else {
        args.scopes
    };
    let request = TokenRequest {
        tenant: args.tenant,
        subject: ActorId(args.subject),
        scopes: scopes.into_iter().collect(),
        establishments: (!args.establishments.is_empty()).then(|| args.establishments.into_iter().collect()),
        ttl: args.ttl,
    };
    Context::print_line(&platform::issue(&signing::with_secret(settings.auth, &data), &request)?)?;
    Ok(Exit::Done)
}

/// All but operating the platform, which one asks for by name.
pub(crate) fn default_scopes() -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| *scope != Scope::Ops).collect()
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("must be a number with a unit: 90s, 30m, 8h, 7d".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "must be a whole number with a unit, such as 8h".to_owned())?;
    let ttl = number
        .checked_mul(seconds)
        .filter(|ttl| (1..=10 * 365 * 24 * 60 * 60).contains(ttl));
    ttl.map(Duration::from_secs)
        .ok_or_else(|| "must be from 1s to ten years".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_durations_with_units_then_they_are_read() {
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_ttl("8h"), Ok(Duration::from_secs(8 * 3600)));
        assert_eq!(parse_ttl("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in [
            "",
            "8",
            "h",
            "-1h",
            "0s",
            "1.5h",
            "8 h",
            "99999999999999999999d",
            "4000d",
            "8é",
        ] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
