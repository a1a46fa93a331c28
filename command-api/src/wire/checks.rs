//! Gathers every fault of a body, so that a client repairs it in one go.

use std::fmt::Display;

use axum::http::StatusCode;
use domain::{Currency, Personal, Text};
use service::problem::{self, Problem};

use super::schema::Money;

/// The faults found so far, each with the JSON pointer of what is at fault.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    faults: Vec<(String, String)>,
}

impl Checks {
    /// Keeps the value, or notes the fault.
    pub(crate) fn keep<T, E: Display>(&mut self, pointer: impl Display, result: Result<T, E>) -> Option<T> {
        result.map_err(|fault| self.note(pointer, fault)).ok()
    }

    pub(crate) fn note(&mut self, pointer: impl Display, fault: impl Display) {
        self.faults.push((pointer.to_string(), fault.to_string()));
    }

    /// An id, or whatever else is written as text.
    pub(crate) fn parse<T>(&mut self, pointer: impl Display, text: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        self.keep(pointer, text.parse::<T>())
    }

    /// As [`Checks::parse`], of a field that may be left out.
    pub(crate) fn parse_optional<T>(&mut self, pointer: impl Display, text: Option<&str>) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        self.parse(pointer, text?)
    }

    pub(crate) fn text(&mut self, pointer: impl Display, text: String) -> Option<Text> {
        self.keep(pointer, Text::new(text))
    }

    pub(crate) fn optional_text(&mut self, pointer: impl Display, text: Option<String>) -> Option<Text> {
        self.text(pointer, text?)
    }

    /// Text about the person named by `subject`.
    pub(crate) fn personal(&mut self, pointer: impl Display, text: Option<String>, subject: &str) -> Option<Personal> {
        Some(Personal::plain(subject, self.optional_text(pointer, text)?))
    }

    pub(crate) fn money(&mut self, pointer: &str, money: &Money) -> Option<domain::Money> {
        let amount = self.keep(format!("{pointer}/amount"), domain::Amount(money.amount).checked());
        let currency = self.parse::<Currency>(format!("{pointer}/currency"), &money.currency);
        Some(domain::Money {
            amount: amount?,
            currency: currency?,
        })
    }

    /// # Errors
    /// 422 `invalid_body` naming every fault, where there is any.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let faults = self.faults.into_iter();
        Err(faults.fold(incomplete(), |problem, (pointer, fault)| {
            problem.with_error(pointer, fault)
        }))
    }
}

/// The refusal of a body, before it names what is at fault.
pub(crate) fn incomplete() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        problem::code::INVALID_BODY,
        "The body is JSON, but not what this operation takes.",
    )
}
