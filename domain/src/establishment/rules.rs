//! Commands, rules and state of an establishment.

use serde::{Deserialize, Serialize};

use super::event::{EstablishmentDefined, EstablishmentEvent};
use crate::order::Terms;
use crate::{Currency, Refusal};

/// What kind of business it is; shops may hand goods over without preparing them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EstablishmentKind {
    #[default]
    Restaurant,
    Retail,
}

impl EstablishmentKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restaurant => "restaurant",
            Self::Retail => "retail",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum EstablishmentCommand {
    /// Open the establishment, or redefine it.
    Define(Box<EstablishmentDefined>),
}

/// An establishment, or the absence of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Establishment(Option<Box<EstablishmentDefined>>);

/// Why a command to an establishment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EstablishmentError {
    // Sums of past days would otherwise mix currencies.
    #[error("an establishment's currency never changes; it is {current}")]
    CurrencyFixed { current: Currency },
}

impl Refusal for EstablishmentError {
    fn code(&self) -> &'static str {
        match self {
            Self::CurrencyFixed { .. } => "currency_fixed",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::CurrencyFixed { .. } => Some("/currency".into()),
        }
    }
}

impl Establishment {
    /// `None` before the establishment was defined.
    pub fn state(&self) -> Option<&EstablishmentDefined> {
        self.0.as_deref()
    }

    /// What the establishment is after one more event.
    pub fn evolve(&mut self, event: &EstablishmentEvent) {
        match event {
            EstablishmentEvent::EstablishmentDefined(defined) => self.0 = Some(Box::new(defined.clone())),
        }
    }
}

impl EstablishmentDefined {
    /// The terms that an order placed now is under.
    pub fn terms(&self) -> Terms {
        Terms {
            kind: self.kind,
            time_zone: self.time_zone,
            currency: self.currency,
            tax: self.tax,
        }
    }
}

/// Decides a command. Pure.
///
/// # Errors
/// [`EstablishmentError`] where a rule refuses the command.
pub fn decide(
    establishment: &Establishment,
    command: EstablishmentCommand,
) -> Result<Vec<EstablishmentEvent>, EstablishmentError> {
    match command {
        EstablishmentCommand::Define(definition) => {
            if let Some(current) = establishment.state()
                && current.currency != definition.currency
            {
                return Err(EstablishmentError::CurrencyFixed {
                    current: current.currency,
                });
            }
            Ok(vec![EstablishmentEvent::EstablishmentDefined(*definition)])
        }
    }
}
