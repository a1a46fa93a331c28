//! Trying again, less and less often.

use std::time::Duration;

use service::Shutdown;
use service::settings::ProjectorSettings;

/// Pauses between attempts, each twice as long as the one before, up to a limit.
pub(crate) struct Retry {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Retry {
    pub(crate) fn new(settings: &ProjectorSettings) -> Self {
        let first = Duration::from_millis(settings.retry_min_ms.max(1));
        Self {
            first,
            most: Duration::from_millis(settings.retry_max_ms).max(first),
            next: first,
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.next = self.first;
    }

    pub(crate) async fn pause(&mut self, shutdown: &Shutdown) {
        let pause = self.next();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.most);
        pause
    }
}
