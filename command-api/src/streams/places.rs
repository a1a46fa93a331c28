//! How many streams there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use domain::TenantId;
use service::problem::Problem;

use crate::error::code;

/// Seconds after which a refused client is to try again: streams are long.
const RETRY_AFTER: u32 = 5;

/// Bounds of the streams that are open at once.
pub(super) struct Places {
    most: usize,
    most_per_tenant: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// One stream's place; free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
}

impl Places {
    pub(super) fn new(most: usize, most_per_tenant: usize) -> Self {
        Self {
            most,
            most_per_tenant,
            taken: Mutex::default(),
        }
    }

    /// # Errors
    /// 429 where the tenant has as many as it may, 503 where all are taken.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantId) -> Result<Place, Problem> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_tenant.get(tenant).copied().unwrap_or_default();
        if own >= self.most_per_tenant {
            let detail = format!("The tenant has {own} event streams open, and may have no more.");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY_STREAMS, detail);
            return Err(problem.retry_after(RETRY_AFTER));
        }
        if taken.all >= self.most {
            return Err(Problem::overloaded().retry_after(RETRY_AFTER));
        }
        taken.all += 1;
        taken.by_tenant.insert(tenant.clone(), own + 1);
        report(&taken);
        Ok(Place {
            places: Arc::clone(self),
            tenant: tenant.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        match taken.by_tenant.get_mut(&self.tenant) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(taken.by_tenant.remove(&self.tenant)),
        }
        report(&taken);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn report(taken: &Taken) {
    metrics::gauge!("event_streams_open").set(taken.all as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_all_places_taken_then_one_that_is_left_is_taken_again() {
        let places = Arc::new(Places::new(3, 2));
        let (acme, other) = (TenantId::new("acme").unwrap(), TenantId::new("other").unwrap());
        let first = places.take(&acme).unwrap();
        let _second = places.take(&acme).unwrap();
        let refused = places.take(&acme).err().unwrap();
        assert_eq!((refused.status().as_u16(), refused.code()), (429, "too_many_streams"));
        let _third = places.take(&other).unwrap();
        let refused = places.take(&other).err().unwrap();
        assert_eq!((refused.status().as_u16(), refused.code()), (503, "overloaded"));
        drop(first);
        let _fourth = places.take(&other).unwrap();
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_tenant[&acme], taken.by_tenant[&other]), (3, 1, 2));
    }
}
