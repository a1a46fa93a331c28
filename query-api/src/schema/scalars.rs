//! The scalars of the schema, each as strict in as it is exact out.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{DateTime as ChronoDateTime, NaiveDate, Utc};
use domain::{BusinessDate, Timestamp};

/// A whole number beyond 32 bits, as a JSON integer. Never larger than 2^53 - 1, so every JSON
/// reader keeps it exactly.
pub(crate) struct BigInt(pub(crate) i64);

#[Scalar(name = "BigInt")]
/// A whole number beyond 32 bits, as a JSON integer. Never larger than 2^53 - 1, so every JSON
/// reader keeps it exactly.
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => number
                .as_i64()
                .map(Self)
                .ok_or_else(|| InputValueError::custom("must be a whole number")),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Number(number) if number.is_i64())
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

/// A day on a calendar.
#[derive(Clone, Copy)]
pub(crate) struct Date(pub(crate) BusinessDate);

impl From<NaiveDate> for Date {
    fn from(date: NaiveDate) -> Self {
        Self(BusinessDate(date))
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse::<NaiveDate>().ok().filter(|_| plain).map(Date::from)
}

#[Scalar(
    name = "Date",
    specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339#section-5.6"
)]
/// A day on the establishment's calendar, as `YYYY-MM-DD`.
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => {
                parse_date(text).ok_or_else(|| InputValueError::custom("must be a date such as 2026-01-31"))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if parse_date(text).is_some())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A point in time.
#[derive(Clone, Copy)]
pub(crate) struct DateTime(pub(crate) Timestamp);

impl From<ChronoDateTime<Utc>> for DateTime {
    fn from(time: ChronoDateTime<Utc>) -> Self {
        Self(Timestamp::new(time))
    }
}

fn parse_time(text: &str) -> Option<DateTime> {
    text.parse().ok().map(DateTime)
}

#[Scalar(
    name = "DateTime",
    specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339"
)]
/// A point in time, RFC 3339. Answers are in UTC with microseconds, such as
/// `2026-01-31T12:00:00.000000Z`; arguments may use any offset.
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => parse_time(text)
                .ok_or_else(|| InputValueError::custom("must be an RFC 3339 time such as 2026-01-31T12:00:00Z")),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if parse_time(text).is_some())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_dates_and_times_are_taken() {
        assert!(parse_date("2026-01-31").is_some());
        for bad in [
            "2026-02-30",
            "2026-1-31",
            "+2026-01-31",
            "2026-01-31T00:00:00Z",
            "",
            "12026-01-1",
        ] {
            assert!(parse_date(bad).is_none(), "{bad}");
        }
        assert!(parse_time("2026-01-31T12:00:00+02:00").is_some());
        for bad in ["2026-01-31", "2026-01-31T12:00:00", "now", ""] {
            assert!(parse_time(bad).is_none(), "{bad}");
        }
    }
}
