//! The steps of a move, as those are told of them who watch it.

use super::record::Move;

/// What a move has just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All but the last events are at the target.
    Copied,
    /// The source takes no more appends.
    Fenced,
    /// Everything is at the target.
    CaughtUp,
    /// Both sides were found equal.
    Verified,
    /// The source's relays have published everything.
    Drained,
    /// There is no way back.
    Decided,
    /// The target takes appends.
    Opened,
    /// What the source holds is a copy.
    Released,
}

impl Step {
    pub const ALL: [Self; 8] = [
        Self::Copied,
        Self::Fenced,
        Self::CaughtUp,
        Self::Verified,
        Self::Drained,
        Self::Decided,
        Self::Opened,
        Self::Released,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Fenced => "fenced",
            Self::CaughtUp => "caught_up",
            Self::Verified => "verified",
            Self::Drained => "drained",
            Self::Decided => "decided",
            Self::Opened => "opened",
            Self::Released => "released",
        }
    }
}

/// Told of each step.
pub(super) type Observer = dyn Fn(&Move, Step) + Send + Sync;
