//! How a feed learns which generations there are: rebuilt, switched to, dropped.
//!
//! Guarantee: a generation that became live is fed within about a second, and one that is not live
//! any more is fed no more. What a new one lacks, because the feed has passed it, is read from the
//! log, as for any slot that is behind.
//!
//! A crash loses nothing: generations are looked up anew. Not needed for correctness: being told in
//! time. A generation that nobody feeds yet is behind, and no switch goes to one that is.

use std::time::Duration;

use sqlx::PgPool;

use crate::error::{Error, described};
use crate::feed::{Feed, Log};
use crate::feeder::{Feeder, PATIENCE};
use crate::generation::{self, Standing};
use crate::model::Registered;
use crate::rebuild::metrics;

/// How often it is looked.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

async fn look(read_store: PgPool, models: Vec<Registered>) -> Result<Standing, Error> {
    let look = async {
        let mut connection = read_store.acquire().await?;
        metrics::expose(&mut connection).await?;
        generation::look(&mut connection, &models).await
    };
    let seconds = PATIENCE.as_secs();
    let done = tokio::time::timeout(PATIENCE, look).await;
    done.unwrap_or(Err(Error::TimedOut { seconds }))
}

impl<F: Feed, L: Log> Feeder<F, L> {
    pub(crate) fn look_for_generations(&mut self) {
        if self.learning.is_empty() {
            let look = look(self.engine.read_store().clone(), self.models.clone());
            self.learning.push(Box::pin(look));
        }
    }

    /// Feeds what there is from now on. Where the read store fails, it is looked again; the next
    /// batch says that it fails.
    pub(crate) async fn learn_generations(&mut self, standing: Result<Standing, Error>) {
        let fed = match standing {
            Ok(standing) => {
                self.progress.refuse(&standing.refused);
                standing.fed
            }
            Err(error) => return tracing::debug!(error = described(&error), "generations cannot be looked up"),
        };
        let before = self.engine.generations().len();
        let lacking = match self.engine.feed(fed).await {
            Ok(lacking) => lacking,
            Err(error) => return tracing::debug!(error = described(&error), "a generation cannot be looked at"),
        };
        if !lacking.is_empty() || before == 0 {
            // Also says how far the new one is behind.
            self.look();
        }
        for (slot, passed) in lacking {
            if self.compared.contains_key(&slot) && self.feed.delivers(slot) {
                self.intake.fall_behind(slot, passed);
            }
        }
    }
}
