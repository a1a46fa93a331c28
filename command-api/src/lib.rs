//! REST in, events out: the commands of the platform, and reads that come from the log itself.
//!
//! A request is authenticated, its rights and its body are judged, its items are priced from the
//! catalogue, and then [`execute`](crate::execute) puts the command to its aggregate and the events
//! to the log. Whatever was answered 2xx is durable; repeating it gives the same answer.
//!
//! Nothing here needs the read store or Kafka: orders are taken while either is down.

mod call;
mod catalogue;
mod error;
mod execute;
mod history;
mod http;
mod openapi;
mod ordering;
mod replay;
mod streams;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use event_store::EventStore;
use service::auth::Verifier;
use service::settings::CommandSettings;
use service::shutdown::Shutdown;

use crate::catalogue::Catalogue;
use crate::execute::Executor;
use crate::streams::{Signs, Streams};

/// Everything the routes need. Cheap to clone.
#[derive(Clone)]
pub struct CommandApi {
    executor: Arc<Executor>,
    catalogue: Catalogue,
    streams: Streams,
    verifier: Arc<Verifier>,
    settings: Arc<CommandSettings>,
}

impl CommandApi {
    pub fn new(store: EventStore, verifier: Arc<Verifier>, settings: CommandSettings) -> Self {
        let signs = Arc::new(Signs::new());
        Self {
            executor: Arc::new(Executor::new(store.clone(), settings.conflict_retries)),
            catalogue: Catalogue::new(store, &settings, Arc::clone(&signs)),
            streams: Streams::new(&settings, signs),
            verifier,
            settings: Arc::new(settings),
        }
    }

    /// Ends the streams of events when `shutdown` is triggered, which must be the one that the
    /// listener obeys: an endless answer would otherwise be cut at its deadline.
    #[must_use]
    pub fn with_streams_ended_by(self, shutdown: &Shutdown) -> Self {
        Self {
            streams: self.streams.ended_by(shutdown.clone()),
            ..self
        }
    }

    /// Starts following the catalogue; until `shutdown`. Without it every price is read from the
    /// log, and streams of events are late.
    pub fn follow_catalogue(&self, shutdown: &Shutdown) {
        self.catalogue.follow(shutdown);
    }
}

impl FromRef<CommandApi> for Arc<Verifier> {
    fn from_ref(api: &CommandApi) -> Self {
        Self::clone(&api.verifier)
    }
}

impl std::fmt::Debug for CommandApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandApi")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The routes under `/v1`, `/openapi.json` and `/docs`.
pub fn router(api: CommandApi) -> Router {
    http::router(api)
}

/// The OpenAPI document of [`router`].
pub fn openapi() -> utoipa::openapi::OpenApi {
    http::document()
}
