//! One request, until it is taken or refused for good.
//!
//! A receiver that cannot be reached, answers 408, 429 or 5xx is asked again: after `Retry-After` where
//! it says so, else after a pause that doubles. So a request may arrive more than once.

use std::time::Duration;

use chrono::DateTime;
use domain::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, sleep};

use crate::error::Error;

const CONNECT: Duration = Duration::from_secs(5);
/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Of what a receiver says in refusing.
const EXCERPT: usize = 200;

pub(super) struct Post {
    client: Client,
    url: String,
    token: Option<String>,
    patience: Duration,
}

enum Answer {
    Taken,
    /// Why, and when to ask again where it says so.
    NotNow(String, Option<Duration>),
    Refused(String),
}

impl Post {
    pub(super) fn new(url: String, token: Option<String>, patience: Duration) -> Result<Self, Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            // A redirected POST may lose its body.
            .redirect(Policy::none())
            .user_agent(concat!("comanda/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            client: client.map_err(|error| Error::Settings(error.to_string()))?,
            url,
            token,
            patience,
        })
    }

    /// Returns when the receiver has taken it.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Unreachable`] when patience is at its end.
    pub(super) async fn deliver(&self, headers: &[(String, String)], body: String) -> Result<(), Error> {
        let headers = header_map(headers)?;
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let (reason, asked) = match self.ask(headers.clone(), body.clone()).await {
                Answer::Taken => return Ok(()),
                Answer::Refused(answer) => {
                    return Err(Error::Refused {
                        url: self.url.clone(),
                        answer,
                    });
                }
                Answer::NotNow(reason, asked) => (reason, asked),
            };
            let wait = asked.unwrap_or(pause);
            if begun.elapsed() + wait > self.patience {
                return Err(Error::Unreachable {
                    url: self.url.clone(),
                    seconds: begun.elapsed().as_secs(),
                    reason,
                });
            }
            tracing::debug!(url = %self.url, reason, wait_ms = wait.as_millis(), "asking again");
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn ask(&self, headers: HeaderMap, body: String) -> Answer {
        let mut request = self.client.post(&self.url).headers(headers).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => return Answer::Refused(error.to_string()),
            Err(error) => return Answer::NotNow(innermost(&error), None),
        };
        let status = response.status();
        if status.is_success() {
            return Answer::Taken;
        }
        let again =
            status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if again {
            let asked = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok());
            let asked = asked.and_then(|text| retry_after(text, service::edge::now()));
            return Answer::NotNow(status.to_string(), asked);
        }
        let said: String = response
            .text()
            .await
            .unwrap_or_default()
            .chars()
            .take(EXCERPT)
            .collect();
        Answer::Refused(format!("{status} {said}").trim_end().to_owned())
    }
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, Error> {
    let header = |(name, value): &(String, String)| {
        let invalid = || Error::Settings(format!("{name} cannot travel as a header"));
        let name = HeaderName::try_from(name).map_err(|_| invalid())?;
        Ok((name, HeaderValue::try_from(value).map_err(|_| invalid())?))
    };
    headers.iter().map(header).collect()
}

/// Seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    let wait = date.to_utc() - now.as_datetime();
    Some(wait.to_std().unwrap_or_default())
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_retry_after_then_seconds_and_dates_are_understood() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = "Sun, 01 Mar 2026 12:00:30 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after(date, now.plus_seconds(60)), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
