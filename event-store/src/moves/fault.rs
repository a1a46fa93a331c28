//! A bug, or a moment to be killed at, planted to show that a harness notices.
//!
//! For tests only. Two environment variables are needed, so that neither a typing mistake nor a
//! copied settings file switches anything off: `COMANDA_PLANTED_FAULTS=1` and
//! `COMANDA_FAULT_MOVE=hang_after_fenced` (or another step), or `skip_fence`.

use super::step::Step;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveFault {
    /// Stands still after a step, for ever: to be killed there.
    HangAfter(Step),
    /// Opens the target while the source still takes appends.
    SkipFence,
}

impl MoveFault {
    /// The fault that the environment plants, with a warning that cannot be overlooked.
    pub fn from_environment() -> Option<Self> {
        Self::planted(|name| std::env::var(name).ok())
    }

    fn planted(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if variable("COMANDA_PLANTED_FAULTS")? != "1" {
            return None;
        }
        let name = variable("COMANDA_FAULT_MOVE")?;
        let hang = || {
            let step = name.strip_prefix("hang_after_")?;
            Step::ALL.into_iter().find(|it| it.as_str() == step)
        };
        let fault = match name.as_str() {
            "skip_fence" => Some(Self::SkipFence),
            _ => hang().map(Self::HangAfter),
        };
        match fault {
            Some(fault) => tracing::warn!(?fault, "PLANTED FAULT: a move WILL go wrong"),
            None => tracing::warn!(fault = name, "COMANDA_FAULT_MOVE names no fault that can be planted"),
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(variables: &[(&str, &str)]) -> Option<MoveFault> {
        MoveFault::planted(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn given_only_one_of_the_two_variables_then_nothing_is_planted() {
        assert_eq!(planted(&[("COMANDA_FAULT_MOVE", "skip_fence")]), None);
        assert_eq!(planted(&[("COMANDA_PLANTED_FAULTS", "1")]), None);
    }

    #[test]
    fn given_both_variables_then_each_fault_can_be_planted() {
        fn with(fault: &str) -> Option<MoveFault> {
            planted(&[("COMANDA_PLANTED_FAULTS", "1"), ("COMANDA_FAULT_MOVE", fault)])
        }
        assert_eq!(with("skip_fence"), Some(MoveFault::SkipFence));
        for step in Step::ALL {
            let name = format!("hang_after_{}", step.as_str());
            assert_eq!(with(&name), Some(MoveFault::HangAfter(step)));
        }
        assert_eq!(with("hang_after_lunch"), None);
    }
}
