//! How the process ends, and what it says of a failure.

use std::error::Error;
use std::process::ExitCode;

/// Ends that are not failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Done,
    /// 3: some rows were refused, the rest is done.
    Partly,
    /// 130, as shells report an interrupted command.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Partly => Self::from(3),
            Exit::Interrupted => Self::from(130),
        }
    }
}

/// Why a command failed, and where known what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    source: Box<dyn Error + Send + Sync>,
    remedy: Option<String>,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code: 1,
            source: source.into(),
            remedy: None,
        }
    }

    /// Exit code 2: what was asked for makes no sense.
    pub(crate) fn usage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code: 2,
            source: source.into(),
            remedy: None,
        }
    }

    #[must_use]
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The error, its causes and the remedy, as written to stderr.
    fn text(&self) -> String {
        let mut text = format!("error: {}", self.source);
        let mut cause = self.source.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        if let Some(remedy) = &self.remedy {
            text.push_str(&format!("\n  what to do: {remedy}"));
        }
        text
    }

    /// Tells the user, and yields the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("{}", self.text());
        ExitCode::from(self.code)
    }
}

impl From<local_postgres::Error> for Failure {
    fn from(error: local_postgres::Error) -> Self {
        let remedy = error.remedy();
        Self::failed(error).with_remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_failure_with_causes_then_all_are_told_and_the_remedy() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] std::io::Error);
        let failure = Failure::failed(Outer(std::io::Error::other("no room"))).with_remedy("free some");
        assert_eq!(failure.text(), "error: cannot start: no room\n  what to do: free some");
    }
}
