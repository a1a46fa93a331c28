//! `comanda events replay`.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use event_store::EventStore;
use export::{Format, HttpReceiver, Mode, Pace, Receiver, ReplayProgress, ReplayRequest};
use service::settings::KafkaSettings;

use super::filter::FilterArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::{output, parts, platform};

/// Send events once more: to a Kafka topic, by HTTP, or to stdout
///
/// Records and requests are CloudEvents with the attributes that the relay gives them. Each slot's
/// events arrive in order and at least once; between slots there is no order. A replay ends where the
/// log stood when it began, and can be gone on with by its cursor.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda events replay --to kafka://analysis --config cluster.toml
  comanda events replay --to http://localhost:9000/events --tenant dev --speed 60x
  comanda events replay --to https://example.org/hook --batch 100 --token-file hook.token
  comanda events replay --to stdout --rate 10/s | my-program

HTTP: one event a request in binary mode; with --batch N up to N as
application/cloudevents-batch+json. 408, 429 and 5xx are tried again, after Retry-After where it
is given.

Exit codes: 0 replayed; 1 the log cannot be read or the receiver does not take it: stderr says how
to go on; 2 usage; 130 interrupted: the cursor is on stderr.")]
pub(super) struct ReplayArgs {
    /// kafka://TOPIC, http(s)://URL or stdout
    #[arg(long, value_name = "RECEIVER")]
    to: To,
    /// As recorded, so many times faster [default: as fast as the receiver takes it]
    #[arg(long, value_name = "60x", value_parser = parse_speed, conflicts_with = "rate")]
    speed: Option<f64>,
    /// Evenly, so many a second
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    rate: Option<f64>,
    /// HTTP: events in one request, at most [default: one, in binary mode]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: Option<u16>,
    /// HTTP: requests at the same time; a slot's events are sent one after another
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// HTTP: how long a receiver that is away or overloaded is tried again
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,
    /// HTTP: a file that holds a token, sent as `Authorization: Bearer`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Kafka(String),
    Http(String),
    Stdout,
}

impl FromStr for To {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let topic = text.strip_prefix("kafka://").map(|topic| topic.trim_end_matches('/'));
        let well_named = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        match topic {
            Some(topic) if well_named(topic) => Ok(Self::Kafka(topic.to_owned())),
            None if text == "stdout" || text == "-" => Ok(Self::Stdout),
            None if text.starts_with("http://") || text.starts_with("https://") => Ok(Self::Http(text.to_owned())),
            Some(_) | None => Err("must be kafka://TOPIC, http://…, https://… or stdout"),
        }
    }
}

fn positive(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
}

fn parse_speed(text: &str) -> Result<f64, String> {
    positive(text.strip_suffix('x').unwrap_or(text)).ok_or_else(|| "must be a factor such as 60x or 0.5x".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    positive(text.strip_suffix("/s").unwrap_or(text)).ok_or_else(|| "must be a rate such as 100/s".to_owned())
}

pub(super) async fn run(context: &Context, args: ReplayArgs) -> Result<Exit, Failure> {
    let (settings, _) = platform::databases(context).await?;
    let receiver = receiver(context, &args, &settings.kafka)?;
    let store = EventStore::connect(parts::log_options(&settings))
        .await
        .map_err(Failure::failed)?;
    let pace = match (args.speed, args.rate) {
        (Some(speed), _) => Pace::Speed(speed),
        (None, Some(rate)) => Pace::Rate(rate),
        (None, None) => Pace::Unlimited,
    };
    let request = ReplayRequest {
        filter: args.filter.filter(&store)?,
        after: args.filter.after(&store).await?,
        until: args.filter.until(&store).await?,
        pace,
    };
    let progress = ReplayProgress::new(&request.after);
    let ended = tokio::select! {
        ended = export::replay(&store, request, receiver, &progress) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    let (sent, cursor) = (progress.sent.load(Ordering::Relaxed), progress.cursor());
    let go_on = match cursor.to_string() {
        cursor if cursor.is_empty() => "begin again: nothing was taken".to_owned(),
        cursor => format!("go on with --after {cursor}"),
    };
    match ended {
        Some(Err(export::Error::Closed)) => Ok(Exit::Done),
        Some(Err(error)) => {
            eprintln!("{sent} events were taken");
            Err(Failure::failed(error).with_remedy(go_on))
        }
        Some(Ok(())) => {
            eprintln!("{sent} events; what comes later: --after {cursor}");
            Ok(Exit::Done)
        }
        None => {
            eprintln!("interrupted after {sent} events; {go_on}");
            Ok(Exit::Interrupted)
        }
    }
}

fn receiver(context: &Context, args: &ReplayArgs, kafka: &KafkaSettings) -> Result<Receiver, Failure> {
    match &args.to {
        To::Kafka(topic) => Ok(Receiver::Kafka {
            settings: Box::new(kafka.clone()),
            topic: topic.clone(),
        }),
        To::Http(url) => Ok(Receiver::Http(HttpReceiver {
            url: url.clone(),
            mode: args.batch.map_or(Mode::Binary, |size| Mode::Batch(size.into())),
            connections: args.connections.into(),
            patience: Duration::from_secs(args.patience),
            token: args.token_file.as_ref().map(read_token).transpose()?,
        })),
        To::Stdout => {
            let format = match context.format {
                output::Format::Csv => Format::Csv,
                output::Format::Table | output::Format::Json | output::Format::Ndjson => Format::Ndjson,
            };
            Ok(Receiver::Stream(Box::new(std::io::stdout()), format))
        }
    }
}

fn read_token(path: &PathBuf) -> Result<String, Failure> {
    let unreadable = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let token = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_receivers_and_paces_then_they_are_understood_or_refused() {
        assert_eq!("kafka://a.b-c".parse(), Ok(To::Kafka("a.b-c".to_owned())));
        assert_eq!("https://h/x".parse(), Ok(To::Http("https://h/x".to_owned())));
        assert_eq!("stdout".parse(), Ok(To::Stdout));
        for text in ["kafka://", "kafka://a/b", "ftp://h", "topic"] {
            assert!(text.parse::<To>().is_err(), "{text}");
        }
        assert_eq!((parse_speed("60x"), parse_rate("2.5/s")), (Ok(60.0), Ok(2.5)));
        for text in ["0x", "-1x", "fast", "inf"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }
}
