//! How a rebuild is going, while it goes.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use projector::rebuild::{Phase, Status};
use serde_json::json;

use crate::context::Context;
use crate::output::Format;
use crate::terminal;

/// A bar on a terminal, and JSON lines on stdout with `-o ndjson`.
pub(super) struct Shown<'a> {
    context: &'a Context,
    bar: ProgressBar,
    named: Mutex<bool>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        let bar = if terminal::stderr_is_rich() {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} events  {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
        };
        Self {
            context,
            bar,
            named: Mutex::new(false),
        }
    }

    pub(super) fn show(&self, status: &Status) {
        self.name_once(status);
        self.bar.set_length(status.events_total.unsigned_abs());
        self.bar.set_position(status.events_done.unsigned_abs());
        self.bar.set_message(message(status));
        if self.context.format == Format::Ndjson {
            let generations = status.generations.iter();
            let generations = generations.map(|(name, number)| json!({"read_model": name, "generation": number}));
            let line = json!({
                "type": "progress", "phase": status.phase.as_str(), "generations": generations.collect::<Vec<_>>(),
                "events_done": status.events_done, "events_total": status.events_total,
                "events_per_second": status.events_per_second,
                "remaining_ms": status.remaining.map(|it| it.as_millis()),
            });
            // A reader that has gone is told of by the result.
            drop(self.context.print_json(&line));
        }
    }

    /// Says which generations are being filled, so that they can be found again.
    fn name_once(&self, status: &Status) {
        let mut named = self.named.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !std::mem::replace(&mut *named, true) {
            let generations = status.generations.iter();
            let generations: Vec<String> = generations.map(|(name, number)| format!("{name}={number}")).collect();
            self.bar.suspend(|| eprintln!("filling {}", generations.join(", ")));
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(status: &Status) -> String {
    match status.phase {
        Phase::Filling => {
            let rate = status.events_per_second.unwrap_or(0.0);
            let left = status.remaining.map_or_else(|| "unknown".to_owned(), human);
            format!("{rate:.0} events/s  {left} left")
        }
        Phase::Verifying => "verifying".to_owned(),
        Phase::Done => "done".to_owned(),
    }
}

/// `1 h 05 min`, `3 min 20 s`, `20 s`.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {:02} s", seconds % 60),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_duration_then_two_units_tell_it() {
        let shown = |seconds| human(Duration::from_secs(seconds));
        assert_eq!([20, 200, 3_900].map(shown), ["20 s", "3 min 20 s", "1 h 05 min"]);
    }
}
