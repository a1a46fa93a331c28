//! What the user sees of an import: progress, bad lines, the summary.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use domain::{Amount, Currency, Money};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::order::Outgoing;
use super::send::Outcome;
use crate::output::in_words;
use crate::terminal;

/// Counts of one import. Orders that were there already count like new ones in lines, units and
/// totals, so that a second run shows the same figures.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Orders that stand in the platform as the file has them.
    pub(crate) orders: u64,
    /// Lines of the file in them.
    pub(crate) lines: u64,
    pub(crate) units: u64,
    /// As stored, tax included, in minor units by currency.
    pub(crate) totals: BTreeMap<String, i128>,
    /// Orders that this run created.
    pub(crate) new: u64,
    pub(crate) already_there: u64,
    /// Orders that stand there with other content; left as they are.
    pub(crate) changed: u64,
    pub(crate) refused: u64,
    /// Lines left out, those of refused and changed orders excepted.
    pub(crate) bad_lines: u64,
    pub(crate) seconds: f64,
    /// False where the run was interrupted or gave up.
    pub(crate) complete: bool,
    pub(crate) dry_run: bool,
}

impl Summary {
    /// Whether everything in the file stands in the platform.
    pub(crate) fn is_clean(&self) -> bool {
        self.changed == 0 && self.refused == 0 && self.bad_lines == 0
    }

    pub(crate) fn count_in(&mut self, order: &Outgoing, total: Option<Money>) {
        self.orders += 1;
        self.lines += order.lines;
        self.units += order.units;
        if let Some(total) = total {
            *self.totals.entry(total.currency.code().to_owned()).or_default() += i128::from(total.amount.0);
        }
    }

    /// The counts as a table of names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("orders", self.orders.to_string()),
            ("lines", self.lines.to_string()),
            ("units", self.units.to_string()),
        ];
        rows.extend(
            self.totals
                .iter()
                .map(|(code, minor)| ("total", in_words(*minor, code))),
        );
        if !self.dry_run {
            rows.push(("new", self.new.to_string()));
            rows.push(("already there", self.already_there.to_string()));
            rows.push(("changed (left as they are)", self.changed.to_string()));
        }
        rows.push(("refused", self.refused.to_string()));
        rows.push(("bad lines", self.bad_lines.to_string()));
        rows.push(("seconds", format!("{:.1}", self.seconds)));
        rows
    }
}

/// Progress and complaints on stderr: a bar on a terminal, nothing but the complaints elsewhere.
#[derive(Debug)]
pub(crate) struct Reporter {
    bar: ProgressBar,
    pub(crate) summary: Summary,
}

impl Reporter {
    pub(crate) fn new(file_bytes: u64) -> Self {
        let bar = if terminal::stderr_is_rich() {
            let bar = ProgressBar::new(file_bytes);
            let style = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}  {elapsed} (left: {eta})");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        } else {
            ProgressBar::with_draw_target(Some(file_bytes), ProgressDrawTarget::hidden())
        };
        Self {
            bar,
            summary: Summary::default(),
        }
    }

    pub(crate) fn progress(&self, bytes_read: u64) {
        self.bar.set_position(bytes_read);
        self.bar.set_message(format!("{} orders", self.summary.orders));
    }

    pub(crate) fn bad_line(&mut self, line: u64, order: Option<&str>, reason: impl fmt::Display) {
        self.summary.bad_lines += 1;
        let order = order.map(|order| format!(" (order {order})")).unwrap_or_default();
        self.complain(format_args!("line {line}{order}: {reason}"));
    }

    pub(crate) fn refuse(&mut self, order: &Outgoing, reason: impl fmt::Display) {
        self.summary.refused += 1;
        self.complain(format_args!("{}: {reason}", place_of(order)));
    }

    pub(crate) fn judged(&mut self, order: &Outgoing, outcome: Outcome) {
        match outcome {
            Outcome::New { total } => {
                self.summary.new += 1;
                self.summary.count_in(order, Some(total));
            }
            Outcome::AlreadyThere { total } => {
                self.summary.already_there += 1;
                self.summary.count_in(order, Some(total));
            }
            Outcome::Changed { differences } => {
                self.summary.changed += 1;
                self.complain(format_args!(
                    "{}: stands in the platform with other content ({}) as order {}; left as it is. \
                     Where these are other orders with the same ids, give another --source",
                    place_of(order),
                    differences.join(", "),
                    order.body.id
                ));
            }
            Outcome::Refused(problem) => self.refuse(order, problem),
        }
    }

    /// One order of a dry run.
    pub(crate) fn would_send(&mut self, order: &Outgoing, currency: Currency) {
        let total = order.amount.map(|amount: Amount| Money { amount, currency });
        self.summary.count_in(order, total);
    }

    /// The line above the bar.
    fn complain(&self, text: fmt::Arguments<'_>) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn place_of(order: &Outgoing) -> String {
    let (first, last) = (order.first_line, order.last_line);
    let lines = if first == last {
        format!("line {first}")
    } else {
        format!("lines {first}-{last}")
    };
    format!("{lines} (order {})", order.reference())
}
