//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::context::Context;
use crate::output::Asked;
use crate::verbs::backup::BackupArgs;
use crate::verbs::completions::CompletionsArgs;
use crate::verbs::doctor::DoctorArgs;
use crate::verbs::events::EventsArgs;
use crate::verbs::import::ImportArgs;
use crate::verbs::migrate::MigrateArgs;
use crate::verbs::orders::OrdersArgs;
use crate::verbs::parked::ParkedArgs;
use crate::verbs::projections::ProjectionsArgs;
use crate::verbs::restore::RestoreArgs;
use crate::verbs::roles::RoleArgs;
use crate::verbs::seed::SeedArgs;
use crate::verbs::shards::ShardsArgs;
use crate::verbs::sql::SqlArgs;
use crate::verbs::status::StatusArgs;
use crate::verbs::token::TokenArgs;
use crate::verbs::up::UpArgs;

/// Comanda: an event-sourced order platform for restaurants and shops
#[derive(Debug, Parser)]
#[command(
    name = "comanda",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  comanda up
  comanda import orders.tsv --tenant dev --establishment main
  comanda orders get 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --tenant dev
  comanda doctor

Data goes to stdout, everything else to stderr. Bars and colour appear on terminals only, and never
where NO_COLOR is set.

Exit codes:
  0    done
  1    failed; stderr says why and what to do
  2    the command line or the settings make no sense
  3    partly done, or differences were found; what is printed names each
  130  interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The folder of the local platform's data [default: .comanda]
    #[arg(long, global = true, value_name = "DIR", env = "COMANDA_DATA")]
    data: Option<PathBuf>,
    /// The settings file [default: comanda.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "COMANDA_CONFIG")]
    config: Option<PathBuf>,
    /// Where the platform answers [default: what runs in the data folder]
    #[arg(long, global = true, value_name = "URL", env = "COMANDA_URL")]
    url: Option<String>,
    /// How data is written to stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Asked::Table, value_name = "FORMAT")]
    output: Asked,
}

/// What the help of every role says.
macro_rules! role_help {
    ($role:literal, $port:literal) => {
        concat!(
            "Examples:\n  comanda ",
            $role,
            " --config cluster.toml --port ",
            $port,
            "\n\nHealth and metrics are served on the same port. SIGTERM drains and stops in good order; a \
             second\nsignal stops at once.\n\nExit codes: 0 stopped as asked; 1 could not start or go on; 2 \
             usage; 130 interrupted while starting."
        )
    };
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Up(UpArgs),
    /// Serve commands: REST in, events out
    ///
    /// One role of a cluster, from its settings file. Any number may run; each appends to every shard
    /// and never waits for Kafka or a read store.
    #[command(after_help = role_help!("command-api", "8081"))]
    CommandApi(RoleArgs),
    /// Publish the log to Kafka
    ///
    /// One role of a cluster, from its settings file. Any number may run; they share the shards, and one
    /// that dies is replaced by the others within relay.lease_ms.
    #[command(after_help = role_help!("relay", "8082"))]
    Relay(RoleArgs),
    /// Keep the read models of one read store
    ///
    /// One role of a cluster, from its settings file. With projector.feed = "kafka" any number may run
    /// and share the topic's partitions; projector.read_store says which store they write.
    #[command(after_help = role_help!("projector", "8083"))]
    Projector(RoleArgs),
    /// Serve queries: GraphQL from the read stores and their standbys
    ///
    /// One role of a cluster, from its settings file. Any number may run.
    #[command(after_help = role_help!("query-api", "8084"))]
    QueryApi(RoleArgs),
    /// Serve operators: the whole platform at a glance, and what is done to it
    ///
    /// One role of a cluster, from its settings file. Every route needs a token with the scope `ops`;
    /// keep it off the public gateway.
    #[command(after_help = role_help!("ops-api", "8085"))]
    OpsApi(RoleArgs),
    Migrate(MigrateArgs),
    Status(StatusArgs),
    Doctor(DoctorArgs),
    Shards(ShardsArgs),
    Events(EventsArgs),
    Seed(SeedArgs),
    Token(TokenArgs),
    Import(Box<ImportArgs>),
    Orders(OrdersArgs),
    Projections(ProjectionsArgs),
    Parked(ParkedArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Sql(SqlArgs),
    Completions(CompletionsArgs),
}

impl Cli {
    pub(crate) fn context(&self) -> Context {
        let Global {
            data,
            config,
            url,
            output,
        } = &self.global;
        Context::new(data.clone(), config.clone(), url.clone(), *output)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::output::Format;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_examples() {
        let mut pending = vec![Cli::command()];
        while let Some(command) = pending.pop() {
            pending.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let only_groups = matches!(
                command.get_name(),
                "orders" | "projections" | "parked" | "shards" | "events"
            );
            assert!(
                only_groups || help.contains("Examples:"),
                "{} has no examples",
                command.get_name()
            );
            assert!(
                only_groups || help.contains("Exit codes"),
                "{} has no exit codes",
                command.get_name()
            );
            let too_wide = help.lines().find(|line| line.chars().count() > 100);
            assert_eq!(too_wide, None, "{} would be wrapped", command.get_name());
        }
    }

    #[test]
    fn given_an_invalid_value_then_usage_is_refused() {
        for line in [
            vec!["comanda", "token"],
            vec!["comanda", "token", "--tenant", "a/b"],
            vec!["comanda", "token", "--tenant", "dev", "--scope", "everything"],
            vec!["comanda", "orders", "get", "17", "--tenant", "dev"],
            vec![
                "comanda",
                "import",
                "f",
                "--tenant",
                "dev",
                "--establishment",
                "e",
                "--date",
                "31.12.2026",
            ],
            vec!["comanda", "up", "--port", "65536"],
        ] {
            assert_eq!(Cli::try_parse_from(&line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn given_global_options_after_the_verb_then_they_count() {
        let cli =
            Cli::try_parse_from(["comanda", "token", "--tenant", "dev", "--data", "/tmp/x", "-o", "json"]).unwrap();
        assert_eq!(cli.context().asked_for(), std::path::Path::new("/tmp/x"));
        assert_eq!(cli.context().format, Format::Json);
    }
}
