//! Following an issuer's keys while the process runs.
//!
//! Guarantee: a key that the set gained or lost is accepted or refused from the next reading on,
//! which is `auth.jwks_refresh_ms` away at most, or sooner: a token that names an unknown key has
//! the set read again, at most every five seconds whatever is sent. A set that cannot be read, or is
//! no set, changes nothing: the last good one stays. Before the first good one no key is held.
//!
//! Requests that wait for such a reading are few, however slow the source is and whatever is sent:
//! anybody can make up a `kid`. Beyond that number a token of an unknown key is refused at once; one
//! of a new key is then accepted when it is sent again after the reading.
//!
//! On a crash nothing is lost; the set is read at the start. Neither clocks nor the source's
//! cache headers matter.

mod set;
mod source;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

pub(super) use set::{KeySet, Thumbprint};
use source::{ReadError, Source};

use super::AuthError;
use super::key::wrong;
use crate::health::Part;
use crate::settings::AuthSettings;
use crate::shutdown::Shutdown;

/// The shortest time from one reading to the next.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a request waits for a reading that its token's key might be in.
const REQUEST_LIMIT: Duration = Duration::from_secs(1);
/// How many requests wait so at once. Each holds one of `http.max_in_flight`.
const WAITING_MAX: usize = 16;

pub(super) struct Jwks {
    source: Source,
    every: Duration,
    /// Names of configured keys.
    taken: Vec<String>,
    keys: ArcSwap<KeySet>,
    wanted: Notify,
    /// A permit for each request that may wait.
    waiting: Semaphore,
    /// Counts readings that ended, well or not.
    readings: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    following: bool,
    began: Option<Instant>,
    reading: bool,
    good: Option<Instant>,
    trouble: Option<String>,
}

impl Jwks {
    /// `None` where the settings name no source.
    ///
    /// # Errors
    /// The setting, and what is wrong with it.
    pub(super) fn new(settings: &AuthSettings) -> Result<Option<Self>, AuthError> {
        let authorities = settings.jwks_ca_file.as_deref();
        if authorities.is_some() && settings.jwks_url.is_none() {
            return Err(wrong("auth.jwks_ca_file", "is of use beside jwks_url only"));
        }
        let source = match (&settings.jwks_file, &settings.jwks_url) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(wrong("auth.jwks_url", "is given beside jwks_file; keep one of them")),
            (Some(file), None) => Source::File(Path::to_owned(file)),
            (None, Some(url)) => Source::url(url, authorities)?,
        };
        Ok(Some(Self {
            source,
            every: Duration::from_millis(settings.jwks_refresh_ms.max(10)),
            taken: settings.keys.iter().filter_map(|key| key.kid.clone()).collect(),
            keys: ArcSwap::default(),
            wanted: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
            readings: watch::Sender::new(0),
            state: Mutex::default(),
        }))
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// A token named a key that is not held.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Has the set read again unless that was done just now; `false` where there is nothing new to
    /// look at, or too many wait for it.
    pub(super) async fn look_again(&self) -> bool {
        let mut readings = self.readings.subscribe();
        let soon = self.with_state(|state| {
            let rested = state.began.is_none_or(|began| began.elapsed() >= self.pause());
            state.following && (state.reading || rested)
        });
        self.want();
        let Some(_place) = self.waiting.try_acquire().ok().filter(|_| soon) else {
            return false;
        };
        tokio::time::timeout(REQUEST_LIMIT, readings.changed()).await.is_ok()
    }

    pub(super) async fn follow(&self, shutdown: Shutdown) {
        self.with_state(|state| state.following = true);
        while !shutdown.is_triggered() {
            let began = Instant::now();
            tokio::select! {
                () = self.read(began) => {}
                () = shutdown.cancelled() => return,
            }
            let asked_for = async {
                tokio::time::sleep_until(began + self.pause()).await;
                self.wanted.notified().await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(began + self.every) => {}
                () = asked_for => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn pause(&self) -> Duration {
        PAUSE.min(self.every)
    }

    async fn read(&self, began: Instant) {
        self.with_state(|state| {
            state.began = Some(began);
            state.reading = true;
        });
        let read = self.source.read().await;
        let set = read.and_then(|text| KeySet::parse(&text, &self.taken).map_err(ReadError::Malformed));
        let outcome = if set.is_ok() { "ok" } else { "failed" };
        metrics::counter!("auth_key_set_readings_total", "outcome" => outcome).increment(1);
        let trouble = match set {
            Ok(set) => {
                metrics::gauge!("auth_key_set_keys").set(set.len() as f64);
                self.keys.store(Arc::new(set));
                None
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the key set could not be read; the last good one stays"
                );
                Some(error.to_string())
            }
        };
        self.with_state(|state| {
            state.reading = false;
            if trouble.is_none() {
                state.good = Some(Instant::now());
            }
            state.trouble = trouble;
        });
        self.readings.send_modify(|count| *count += 1);
    }

    /// Down only where no key of any kind is held.
    pub(super) fn health(&self, others: bool) -> Part {
        const REMEDY: &str = "check auth.jwks_file or auth.jwks_url, and what answers there";
        let held = self.keys.load().len();
        self.with_state(|state| match (&state.trouble, state.good) {
            (None, Some(_)) => Part::ok().with_detail(format!("{held} keys")),
            (Some(trouble), Some(good)) => {
                let age_s = good.elapsed().as_secs();
                Part::degraded(format!("{trouble}; the one of {age_s} s ago is in use"), REMEDY)
            }
            (trouble, None) => {
                let detail = trouble.as_deref().unwrap_or("the key set has not been read yet");
                if others {
                    Part::degraded(detail, REMEDY)
                } else {
                    Part::down(detail, REMEDY)
                }
            }
        })
    }

    fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
