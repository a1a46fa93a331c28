//! `comanda doctor`: checks every part and says what to do.

use clap::Args;

use crate::context::Context;
use crate::diagnosis::{Finding, Verdict, diagnose};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::{platform, signing};

/// Check every part of the platform and say what to do
///
/// Databases and their schemas, durability, shards and their slots, Kafka and what is published,
/// read models and standbys, every process, and the keys that tokens are checked with. Nothing is
/// changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda doctor
  comanda doctor --config cluster.toml
  comanda doctor -o json | jq '.[] | select(.verdict != \"ok\")'

Exit codes: 0 nothing is wrong, though there may be warnings; 1 something is, or there is no
platform to look at; 2 usage.")]
pub(crate) struct DoctorArgs {}

pub(crate) async fn run(context: &Context, DoctorArgs {}: DoctorArgs) -> Result<Exit, Failure> {
    let (settings, databases) = platform::databases(context).await?;
    let auth = signing::with_secret(settings.auth.clone(), &platform::data_folder(context));
    let findings = diagnose(&settings, &databases, &auth).await;
    print(context, &findings)?;
    let wrong = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Wrong)
        .count();
    match wrong {
        0 => Ok(Exit::Done),
        1 => Err(Failure::failed("one part is not as it must be")),
        n => Err(Failure::failed(format!("{n} parts are not as they must be"))),
    }
}

fn print(context: &Context, findings: &[Finding]) -> Result<(), Failure> {
    if matches!(context.format, Format::Json | Format::Ndjson) {
        let rows = serde_json::to_value(findings).map_err(Failure::failed)?;
        return context.print_json(&rows);
    }
    let mut table = Table::new(["part", "verdict", "detail", "what to do"]);
    for finding in findings {
        table.row([
            finding.part.clone(),
            finding.verdict.to_string(),
            finding.detail.clone(),
            finding.remedy.to_owned(),
        ]);
    }
    context.print_table(&table)
}
