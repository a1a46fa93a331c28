//! A bug to plant, so that a harness can be shown to notice it.
//!
//! For tests only. Two environment variables are needed, so that neither a typing mistake nor a
//! copied settings file ever switches a guarantee off: `COMANDA_PLANTED_FAULTS=1` and
//! `COMANDA_FAULT_PROJECTOR=skip_compare_and_set`. No settings file can.

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Checkpoints are set without being compared: a second projector on the same slots applies
    /// every event again.
    SkipCompareAndSet,
}

impl Fault {
    /// The fault that the environment plants, with a warning that cannot be overlooked.
    pub fn from_environment() -> Option<Self> {
        Self::planted(|name| std::env::var(name).ok())
    }

    fn planted(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if variable("COMANDA_PLANTED_FAULTS")? != "1" {
            return None;
        }
        match variable("COMANDA_FAULT_PROJECTOR")?.as_str() {
            "skip_compare_and_set" => {
                tracing::warn!(
                    "PLANTED FAULT: checkpoints are not compared before they are set; read models WILL be wrong. \
                     Unset COMANDA_PLANTED_FAULTS unless this is a test of the tests"
                );
                Some(Self::SkipCompareAndSet)
            }
            other => {
                tracing::warn!(
                    fault = other,
                    "COMANDA_FAULT_PROJECTOR names no fault that can be planted"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(variables: &[(&str, &str)]) -> Option<Fault> {
        Fault::planted(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn given_only_one_of_the_two_variables_then_nothing_is_planted() {
        assert_eq!(planted(&[("COMANDA_FAULT_PROJECTOR", "skip_compare_and_set")]), None);
        assert_eq!(planted(&[("COMANDA_PLANTED_FAULTS", "1")]), None);
        let zero = [
            ("COMANDA_PLANTED_FAULTS", "0"),
            ("COMANDA_FAULT_PROJECTOR", "skip_compare_and_set"),
        ];
        assert_eq!(planted(&zero), None);
    }

    #[test]
    fn given_both_variables_then_the_fault_is_planted() {
        let both = [
            ("COMANDA_PLANTED_FAULTS", "1"),
            ("COMANDA_FAULT_PROJECTOR", "skip_compare_and_set"),
        ];
        assert_eq!(planted(&both), Some(Fault::SkipCompareAndSet));
        let unknown = [
            ("COMANDA_PLANTED_FAULTS", "1"),
            ("COMANDA_FAULT_PROJECTOR", "lose_everything"),
        ];
        assert_eq!(planted(&unknown), None);
    }
}
