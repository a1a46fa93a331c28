//! A bug to plant, so that a harness can be shown to notice it.
//!
//! For tests only. Two environment variables are needed, so that neither a typing mistake nor a
//! copied settings file ever switches a guarantee off: `COMANDA_PLANTED_FAULTS=1` and
//! `COMANDA_FAULT_PROJECTOR=skip_compare_and_set` (or `skip_dedupe`, `skip_refill`, `stop_reading`).
//! No settings file can.

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Checkpoints are set without being compared: a second projector on the same slots applies
    /// every event again.
    SkipCompareAndSet,
    /// Duplicates are applied as if they were new.
    SkipDedupe,
    /// What comes after a loss is applied as if nothing were missing, and checkpoints are not
    /// compared with the heads.
    SkipRefill,
    /// The thread that reads the topic ends without having been told to.
    StopReading,
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
        let fault = match variable("COMANDA_FAULT_PROJECTOR")?.as_str() {
            "skip_compare_and_set" => Self::SkipCompareAndSet,
            "skip_dedupe" => Self::SkipDedupe,
            "skip_refill" => Self::SkipRefill,
            "stop_reading" => Self::StopReading,
            other => {
                tracing::warn!(
                    fault = other,
                    "COMANDA_FAULT_PROJECTOR names no fault that can be planted"
                );
                return None;
            }
        };
        tracing::warn!(
            ?fault,
            "PLANTED FAULT: read models WILL be wrong. Unset COMANDA_PLANTED_FAULTS unless this is a test of the tests"
        );
        Some(fault)
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
        for (name, fault) in [
            ("skip_dedupe", Fault::SkipDedupe),
            ("skip_refill", Fault::SkipRefill),
            ("stop_reading", Fault::StopReading),
        ] {
            let both = [("COMANDA_PLANTED_FAULTS", "1"), ("COMANDA_FAULT_PROJECTOR", name)];
            assert_eq!(planted(&both), Some(fault));
        }
        let unknown = [
            ("COMANDA_PLANTED_FAULTS", "1"),
            ("COMANDA_FAULT_PROJECTOR", "lose_everything"),
        ];
        assert_eq!(planted(&unknown), None);
    }
}
