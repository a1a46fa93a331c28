//! Products and establishments, as commands need them: from memory where that is current.
//!
//! Entries come from the log and only from it: read through when first asked for, moved on by a
//! follower per shard ([`follower`]), and by this process's own commands at once. The read store
//! takes no part, so orders are taken while it is down. A follower that was not confirmed lately,
//! or a client that says how far it has read, is served from the log itself.

mod follower;
mod shelf;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::Aggregate;
use domain::establishment::Establishment;
use domain::product::Product;
use domain::{EstablishmentId, ProductId, StoredEvent, StreamId, TenantId};
use event_store::{EventStore, Slot};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use service::settings::CommandSettings;

use self::follower::Followed;
pub(crate) use self::shelf::Known;
use self::shelf::Shelf;
use crate::error::Error;
use crate::execute::{Done, load_current};
use crate::streams::Signs;

/// Streams of one command that are read at a time.
const READS_AT_A_TIME: usize = 8;

/// How fresh an entry must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// From memory, where the follower was confirmed lately.
    Cached,
    /// From the log.
    Log,
}

/// The catalogue of every tenant that asked here. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalogue(Arc<Inner>);

struct Inner {
    store: EventStore,
    products: Shelf<Product>,
    establishments: Shelf<Establishment>,
    followed: Followed,
    /// Whoever waits for more of a slot is shown what passes by.
    signs: Arc<Signs>,
}

impl Catalogue {
    pub(crate) fn new(store: EventStore, settings: &CommandSettings, signs: Arc<Signs>) -> Self {
        let followed = Followed::new(Duration::from_millis(settings.catalogue_max_age_ms));
        Self(Arc::new(Inner {
            store,
            products: Shelf::new(settings.catalogue_entries),
            establishments: Shelf::new(settings.catalogue_entries),
            followed,
            signs,
        }))
    }

    /// The establishment, or one that does not exist, at version 0.
    pub(crate) async fn establishment(
        &self,
        tenant: &TenantId,
        id: &EstablishmentId,
        read: Read,
    ) -> Result<Arc<Known<Establishment>>, Error> {
        let stream = StreamId::establishment(tenant, id);
        self.find(&self.0.establishments, stream, read).await
    }

    /// The products named, those that do not exist at version 0.
    pub(crate) async fn products(
        &self,
        tenant: &TenantId,
        ids: impl Iterator<Item = &ProductId>,
        read: Read,
    ) -> Result<HashMap<ProductId, Arc<Known<Product>>>, Error> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for id in ids {
            let stream = StreamId::product(tenant, id);
            match self.kept(&self.0.products, &stream, read) {
                Some(known) => drop(found.insert(id.clone(), known)),
                None if missing.iter().any(|(other, _)| other == id) => {}
                None => missing.push((id.clone(), stream)),
            }
        }
        let reads = missing.into_iter().map(async |(id, stream)| {
            let known = self.read(&self.0.products, stream).await?;
            Ok::<_, Error>((id, known))
        });
        let read: Vec<_> = stream::iter(reads)
            .buffer_unordered(READS_AT_A_TIME)
            .try_collect()
            .await?;
        found.extend(read);
        Ok(found)
    }

    /// What a command of this process did is known here at once, whatever the follower does.
    pub(crate) fn learn_product(&self, stream: &StreamId, done: &Done<Product>) {
        self.0.products.learn(stream, done.known());
    }

    /// As [`Catalogue::learn_product`].
    pub(crate) fn learn_establishment(&self, stream: &StreamId, done: &Done<Establishment>) {
        self.0.establishments.learn(stream, done.known());
    }

    async fn find<A>(&self, shelf: &Shelf<A>, stream: StreamId, read: Read) -> Result<Arc<Known<A>>, Error>
    where
        A: Aggregate<Services = ()> + Clone + 'static,
        A::Event: StoredEvent,
        A::Error: Into<Error>,
    {
        match self.kept(shelf, &stream, read) {
            Some(known) => Ok(known),
            None => self.read(shelf, stream).await,
        }
    }

    fn kept<A: Aggregate + Clone>(&self, shelf: &Shelf<A>, stream: &StreamId, read: Read) -> Option<Arc<Known<A>>> {
        let confirmed = || {
            let shard = self.0.store.shard_of(Slot::of(stream.tenant()));
            shard.is_ok_and(|shard| self.0.followed.is_confirmed(shard))
        };
        let known = (read == Read::Cached && confirmed())
            .then(|| shelf.get(stream))
            .flatten();
        let source = if known.is_some() { "memory" } else { "log" };
        metrics::counter!("catalogue_reads_total", "source" => source).increment(1);
        known
    }

    async fn read<A>(&self, shelf: &Shelf<A>, stream: StreamId) -> Result<Arc<Known<A>>, Error>
    where
        A: Aggregate<Services = ()> + Clone + 'static,
        A::Event: StoredEvent,
        A::Error: Into<Error>,
    {
        let reading = shelf.begin_reading(stream.clone());
        let loaded = load_current(&self.0.store.aggregates::<A>(), &stream).await?;
        let known = Arc::new(Known {
            version: loaded.version,
            aggregate: loaded.aggregate,
        });
        reading.keep(&known);
        Ok(known)
    }
}
