//! The running platform, as other verbs reach it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{ActorId, EstablishmentId, TenantId};
use service::auth::{Issuer, TokenRequest};
use service::edge;
use service::settings::AuthSettings;
use service::{Scope, Settings};

use crate::context::Context;
use crate::databases::Databases;
use crate::exit::Failure;
use crate::rest::Rest;
use crate::run_file::{self, Found};
use crate::signing;

/// How long a token lives that a verb mints for its own requests: longer than any import.
const OWN_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A running platform and the keys of its data folder.
#[derive(Debug)]
pub(crate) struct Platform {
    url: String,
    auth: AuthSettings,
}

impl Platform {
    /// Finds the platform: at the URL that was given, else the one of the data folder.
    pub(crate) fn find(context: &Context) -> Result<Self, Failure> {
        let settings = context.settings().load().map_err(Failure::usage)?;
        let data = data_folder(context);
        let url = match &context.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => match find_run_file(&data)? {
                Found::Running(run) => run.url,
                Found::Stale => return Err(not_running(&data, "the platform there has ended without a clean stop")),
                Found::Nothing => return Err(not_running(&data, "no platform runs there")),
            },
        };
        Ok(Self {
            url,
            auth: signing::with_secret(settings.auth, &data),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A client for one tenant, with a token of its own.
    pub(crate) fn rest(
        &self,
        actor: &str,
        tenant: &TenantId,
        establishment: Option<&EstablishmentId>,
        scopes: &[Scope],
    ) -> Result<Rest, Failure> {
        let token = issue(
            &self.auth,
            &TokenRequest {
                tenant: tenant.clone(),
                subject: ActorId(actor.to_owned()),
                scopes: scopes.iter().copied().collect(),
                establishments: establishment.map(|id| BTreeSet::from([id.clone()])),
                ttl: OWN_TOKEN_TTL,
            },
        )?;
        Rest::new(self.url(), token).map_err(Failure::failed)
    }
}

/// The databases of the platform that the settings describe, else of the one that runs in the data
/// folder; shards that were added since included. With its settings.
pub(crate) async fn databases(context: &Context) -> Result<(Settings, Databases), Failure> {
    let mut settings = context.settings().load().map_err(Failure::usage)?;
    if let Some(databases) = Databases::configured(&settings)? {
        let databases = databases.with_registered().await;
        databases.fill(&mut settings);
        return Ok((settings, databases));
    }
    let data = data_folder(context);
    match find_run_file(&data)? {
        Found::Running(run) => {
            let databases = Databases::of_running(run.databases).with_registered().await;
            databases.fill(&mut settings);
            Ok((settings, databases))
        }
        Found::Stale => Err(not_running(&data, "the platform there has ended without a clean stop")),
        Found::Nothing => Err(not_running(&data, "no platform runs there")),
    }
}

/// Signs a token that is valid from now.
pub(crate) fn issue(auth: &AuthSettings, request: &TokenRequest) -> Result<String, Failure> {
    let issuer = Issuer::new(auth).map_err(Failure::failed)?;
    issuer.issue(request, edge::now()).map_err(Failure::failed)
}

/// Where the context's data lies, as far as that is settled; else where it would.
pub(crate) fn data_folder(context: &Context) -> PathBuf {
    local_postgres::located_before(&context.folder).unwrap_or_else(|| context.asked_for().to_owned())
}

pub(crate) fn find_run_file(data: &Path) -> Result<Found, Failure> {
    let unreadable = |error| Failure::failed(format!("cannot read {}: {error}", data.join("run.json").display()));
    run_file::find(data).map_err(unreadable)
}

fn not_running(data: &Path, why: &str) -> Failure {
    Failure::failed(format!("no running platform in {}: {why}", data.display())).with_remedy(
        "start it with `comanda up`, or name its folder with --data DIR, or where it answers with --url URL",
    )
}
