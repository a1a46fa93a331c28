//! Generations that a request names, to be read instead of the served ones.
//!
//! An analyst asks a read model as of some position, or the rows of a rebuild before the switch. What
//! is read of such a generation says nothing of how far the served one has come: it is not held
//! against the position that a request brings, and the answer's position does not count it.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, HeaderName, StatusCode};
use service::{Principal, Problem, Scope};

use crate::read_model::ReadModel;

/// Names generations in a request, such as `orders=7, daily_sales=3`; answers carry it back.
pub const COMANDA_GENERATION: HeaderName = HeaderName::from_static("comanda-generation");

/// The generations that a request names; of other read models it is answered from the served ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chosen(BTreeMap<ReadModel, i32>);

impl Chosen {
    /// # Errors
    /// 403 where the token may not read the log, whose fold every generation is; 400 where the
    /// header cannot be read.
    pub(crate) fn from_headers(headers: &HeaderMap, principal: &Principal) -> Result<Self, Problem> {
        let mut chosen = BTreeMap::new();
        for value in headers.get_all(COMANDA_GENERATION) {
            principal.require(Scope::EventsRead)?;
            let text = value.to_str().map_err(|_| unreadable())?;
            for entry in text.split(',') {
                let (model, generation) = read(entry).ok_or_else(unreadable)?;
                if chosen.insert(model, generation).is_some() {
                    return Err(unreadable());
                }
            }
        }
        Ok(Self(chosen))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self, model: ReadModel) -> bool {
        self.0.contains_key(&model)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReadModel, i32)> {
        self.0.iter().map(|(model, generation)| (*model, *generation))
    }
}

/// As the header has it.
impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (model, generation)) in self.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{model}={generation}")?;
        }
        Ok(())
    }
}

fn read(entry: &str) -> Option<(ReadModel, i32)> {
    let (name, generation) = entry.trim().split_once('=')?;
    let model = ReadModel::from_stored(name)?;
    let generation = generation.parse().ok().filter(|generation| *generation >= 1)?;
    Some((model, generation))
}

fn unreadable() -> Problem {
    let names = ReadModel::ALL.map(ReadModel::as_str).join(", ");
    Problem::invalid_parameter(
        COMANDA_GENERATION.as_str(),
        format!("Name generations as `orders=7,daily_sales=3`, each read model once; they are: {names}."),
    )
}

/// The read store has no such generation.
pub(crate) fn unknown(model: ReadModel, generation: i32) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "unknown_generation",
        format!("The read model {model} has no generation {generation}."),
    )
    .with("read_model", model.as_str())
    .with("generation", generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_read_models_and_whole_numbers_are_generations() {
        assert_eq!(read(" orders=7"), Some((ReadModel::Orders, 7)));
        for bad in [
            "orders",
            "orders=",
            "orders=0",
            "orders=-1",
            "orders=7.0",
            "Orders=7",
            "x=1",
            "",
            "orders = 7",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let chosen = Chosen(BTreeMap::from([(ReadModel::DailySales, 3), (ReadModel::Orders, 7)]));
        assert_eq!(chosen.to_string(), "orders=7,daily_sales=3");
    }
}
