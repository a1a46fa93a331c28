//! A stream as it stood at a version or a time: the fold of its events up to there.
//!
//! Times are compared with `recorded_at`, which the log gives and which never goes back within a
//! stream. What a device's clock said of an event has no part in it.

use cqrs_es::{Aggregate, EventEnvelope};
use domain::metadata::key;
use domain::{Sequence, Timestamp};
use service::problem::Problem;

use crate::error::{Error, Missing};
use crate::execute::Done;
use crate::openapi::HistoryQuery;

/// Which of a stream's past states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after its event of this sequence.
    Version(Sequence),
    /// After everything that was recorded up to this time, and at it.
    Time(Timestamp),
}

impl Moment {
    /// `None` where the present is asked for.
    ///
    /// # Errors
    /// 400 where it cannot be read, or both are asked for.
    pub(crate) fn of(query: &HistoryQuery) -> Result<Option<Self>, Problem> {
        match (query.version.as_deref(), query.as_of.as_deref()) {
            (None, None) => Ok(None),
            (Some(version), None) => {
                let version = version.parse().ok().filter(|version| *version >= 1);
                let fault = || Problem::invalid_parameter("version", "`version` must be a number from 1 on.");
                Ok(Some(Self::Version(Sequence(version.ok_or_else(fault)?))))
            }
            (None, Some(time)) => {
                let fault = "`as_of` must be an RFC 3339 time such as 2026-01-31T12:00:00Z.";
                let time = time.parse().map_err(|_| Problem::invalid_parameter("as_of", fault))?;
                Ok(Some(Self::Time(time)))
            }
            (Some(_), Some(_)) => Err(Problem::invalid_parameter(
                "as_of",
                "Ask for a `version` or for a time, not for both.",
            )),
        }
    }

    /// How many of these events had happened. `None` where there is no telling, or no such version.
    fn length<A: Aggregate>(self, history: &[EventEnvelope<A>]) -> Option<usize> {
        match self {
            Self::Version(version) => {
                let is_it = |event: &EventEnvelope<A>| i64::try_from(event.sequence) == Ok(version.0);
                history.iter().position(is_it).map(|index| index + 1)
            }
            Self::Time(time) => {
                let mut length = 0;
                for event in history {
                    let recorded_at: Timestamp = event.metadata.get(key::RECORDED_AT)?.parse().ok()?;
                    if recorded_at > time {
                        break;
                    }
                    length += 1;
                }
                Some(length)
            }
        }
    }
}

/// What `done` was at that moment.
///
/// # Errors
/// 404 where it was not there then, or never had that version.
pub(crate) fn at<A: Aggregate>(done: &Done<A>, moment: Moment, missing: Missing) -> Result<Done<A>, Error> {
    match (moment, moment.length(&done.history)) {
        (Moment::Version(_), None) => Err(Error::NoSuchVersion {
            current: done.version(),
        }),
        (Moment::Time(_), None) => Err(Error::Unexpected(
            "a stored event does not say when it was recorded".into(),
        )),
        (_, Some(0)) => Err(Error::NotFound(missing)),
        (_, Some(length)) => Ok(Done::of_history(done.history.iter().take(length).cloned().collect())),
    }
}
