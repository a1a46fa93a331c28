//! The roles: each a process of its own, any number of each, all from one settings file.
//!
//! A role needs the databases that it works on and waits for them; it never changes a schema, but
//! refuses one that is not this binary's.

use std::time::Duration;

use clap::Args;
use event_store::EventStore;
use futures::future::join_all;
use migrations::{Database, SchemaError};
use service::Settings;
use tokio::time::sleep;

use crate::context::Context;
use crate::databases::{Databases, Target};
use crate::exit::{Exit, Failure};
use crate::parts::{self, PartError, Parts};
use crate::process::{Process, start_logging};
use crate::registry;
use crate::signing;

const RETRY: Duration = Duration::from_secs(1);

/// What a process of a cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    CommandApi,
    Relay,
    Projector,
    QueryApi,
    OpsApi,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CommandApi => "command-api",
            Self::Relay => "relay",
            Self::Projector => "projector",
            Self::QueryApi => "query-api",
            Self::OpsApi => "ops-api",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The port for requests, health and metrics; 0 takes a free one [default: http.port]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

pub(crate) async fn run(context: &Context, role: Role, args: RoleArgs) -> Result<Exit, Failure> {
    let mut loader = context.settings();
    if let Some(port) = args.port {
        loader = loader.flag("http.port", port);
    }
    let settings = loader.load().map_err(Failure::usage)?;
    require(role, &settings)?;
    start_logging(&settings)?;
    let process = Process::begin(settings).await?;
    let begin = async |process: &Process| {
        check_schemas(role, &process.settings).await?;
        let parts = begin(role, process).await?;
        registry::announce(process, role.as_str())?;
        Ok(parts)
    };
    let announce = async |address| {
        tracing::info!(%address, role = role.as_str(), "serving");
        Ok(())
    };
    process.serve(begin, announce).await
}

async fn begin(role: Role, process: &Process) -> Result<Parts, Failure> {
    Ok(match role {
        Role::CommandApi => {
            let store = log(process).await?;
            let verifier = parts::verifier(process)?;
            parts::watch_sessions(process, &store, false)?;
            Parts {
                router: parts::command_api(process, &store, &verifier),
                store: Some(store),
                read_store: None,
            }
        }
        Role::Relay => {
            let store = log(process).await?;
            parts::start_relay(process, &store)?;
            parts::watch_sessions(process, &store, false)?;
            Parts {
                store: Some(store),
                ..Parts::default()
            }
        }
        Role::Projector => {
            let store = log(process).await?;
            let (read_store, _) = parts::start_projector(process, &store)?;
            parts::watch_sessions(process, &store, true)?;
            Parts {
                read_store: Some(read_store),
                store: Some(store),
                ..Parts::default()
            }
        }
        Role::QueryApi => Parts {
            router: parts::query_api(process, parts::verifier(process)?, None, None)?,
            ..Parts::default()
        },
        Role::OpsApi => {
            let store = log(process).await?;
            let verifier = parts::verifier(process)?;
            let databases = Databases::configured(&process.settings)?
                .ok_or_else(|| Failure::usage("the settings name no databases"))?;
            parts::watch_sessions(process, &store, false)?;
            Parts {
                router: parts::ops_api(process, databases, &store, verifier)?,
                store: Some(store),
                read_store: None,
            }
        }
    })
}

/// Opens the log as soon as one shard answers.
async fn log(process: &Process) -> Result<EventStore, PartError> {
    loop {
        match parts::log(process).await {
            Err(PartError::EventStore(error @ event_store::Error::Unavailable { .. })) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no shard answers yet; trying again"
                );
                sleep(RETRY).await;
            }
            opened => return opened,
        }
    }
}

/// What the role works on must be named.
fn require(role: Role, settings: &Settings) -> Result<(), Failure> {
    let needs_log = role != Role::QueryApi;
    let needs_reads = matches!(role, Role::Projector | Role::QueryApi | Role::OpsApi);
    let needs_keys = matches!(role, Role::CommandApi | Role::QueryApi | Role::OpsApi);
    let auth = &settings.auth;
    let missing = [
        (
            "event_store.shards",
            needs_log && settings.event_store.shards.is_empty(),
        ),
        ("read_stores", needs_reads && settings.read_stores.is_empty()),
        (
            "auth.keys",
            needs_keys && signing::is_development(auth) && auth.jwks_file.is_none() && auth.jwks_url.is_none(),
        ),
    ];
    match missing.iter().find(|(_, missing)| *missing) {
        None => Ok(()),
        Some((setting, _)) => Err(Failure::usage(format!(
            "{} needs {setting}, which the settings do not name",
            role.as_str()
        ))
        .with_remedy("name a settings file that describes the topology with --config FILE")),
    }
}

/// Refuses databases of another schema. One that does not answer is waited for later.
async fn check_schemas(role: Role, settings: &Settings) -> Result<(), Failure> {
    let targets = targets(role, settings)?;
    let checks = join_all(targets.iter().map(Target::check)).await;
    for (target, check) in targets.iter().zip(checks) {
        match check {
            Ok(Ok(())) => {}
            Ok(Err(SchemaError::Unreadable { .. })) | Err(_) => {
                tracing::warn!(database = target.name, "cannot check the schema now");
            }
            Ok(Err(problem)) => {
                return Err(Failure::failed(problem).with_remedy("run `comanda migrate` with the same settings first"));
            }
        }
    }
    Ok(())
}

fn targets(role: Role, settings: &Settings) -> Result<Vec<Target<'_>>, Failure> {
    let mut targets = Vec::new();
    if role != Role::QueryApi {
        targets.extend(settings.event_store.shards.iter().map(|shard| Target {
            name: format!("shard_{}", shard.id),
            kind: Database::EventStore,
            url: shard.url.expose(),
        }));
    }
    let stores = match role {
        Role::Projector => vec![parts::written(settings)?],
        Role::QueryApi | Role::OpsApi => settings.read_stores.iter().collect(),
        Role::CommandApi | Role::Relay => vec![],
    };
    targets.extend(stores.into_iter().map(|store| Target {
        name: format!("read_store {}", store.name),
        kind: Database::ReadStore,
        url: store.url.expose(),
    }));
    Ok(targets)
}
