//! Which part of the log: the options that tail, export and replay share.

use std::str::FromStr;

use clap::Args;
use domain::{EstablishmentId, EventType, OrderId, StreamId, TenantId, Timestamp};
use event_store::{Cursor, EventStore, LogFilter, ShardId, Slot};

use crate::exit::Failure;

/// Conditions; an event must meet all that are given.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which events")]
pub(super) struct FilterArgs {
    /// Only this tenant's events
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Only events that happened at this establishment
    #[arg(long, value_name = "ID")]
    establishment: Option<EstablishmentId>,
    /// Only events of this type; repeat for more, or separate with commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = parse_type)]
    types: Vec<EventType>,
    /// Only this stream's events, as in the events themselves (order:dev/0192…)
    #[arg(long, value_name = "STREAM", value_parser = parse_stream, conflicts_with = "order")]
    stream: Option<StreamId>,
    /// Only this order's events; needs --tenant
    #[arg(long, value_name = "UUID", requires = "tenant")]
    order: Option<OrderId>,
    /// Only events recorded at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Only events recorded before this time (RFC 3339)
    #[arg(long = "before", value_name = "TIME", value_parser = parse_time)]
    before: Option<Timestamp>,
    /// Only events behind this cursor, or `now`
    #[arg(long, value_name = "CURSOR")]
    after: Option<At>,
    /// Only events up to this cursor, or `now`
    #[arg(long, value_name = "CURSOR")]
    until: Option<At>,
    /// Only what this shard holds; repeat for more
    #[arg(long = "shard", value_name = "ID")]
    shards: Vec<i16>,
    /// Only these slots of the 1,024
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_slots)]
    slots: Option<(Slot, Slot)>,
}

/// A place in the log, as people give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    Now,
    Cursor(Cursor),
}

impl FromStr for At {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "now" => Ok(Self::Now),
            text => text
                .parse()
                .map(Self::Cursor)
                .map_err(|_| "must be `now`, or a cursor as an earlier run printed it"),
        }
    }
}

impl FilterArgs {
    /// As the log takes them.
    pub(super) fn filter(&self, store: &EventStore) -> Result<LogFilter, Failure> {
        let known = store.shards();
        let shards: Vec<ShardId> = self.shards.iter().copied().map(ShardId).collect();
        if let Some(unknown) = shards.iter().find(|shard| !known.contains(shard)) {
            return Err(Failure::usage(format!("there is no shard {unknown}")));
        }
        Ok(LogFilter {
            shards,
            ..self.conditions()?
        })
    }

    /// Without the shards, which an event does not name.
    pub(super) fn conditions(&self) -> Result<LogFilter, Failure> {
        let order = self.tenant.as_ref().zip(self.order);
        let stream = order.map(|(tenant, order)| StreamId::order(tenant, order));
        if let (Some(tenant), Some(stream)) = (&self.tenant, &self.stream)
            && stream.tenant() != tenant
        {
            return Err(Failure::usage(format!("{stream} is not a stream of {tenant}")));
        }
        Ok(LogFilter {
            tenant: self.tenant.clone(),
            stream: stream.or_else(|| self.stream.clone()),
            types: self.types.clone(),
            establishment: self.establishment.clone(),
            from: self.from,
            to: self.before,
            slots: self.slots,
            shards: Vec::new(),
        })
    }

    pub(super) async fn after(&self, store: &EventStore) -> Result<Cursor, Failure> {
        Ok(resolve(self.after.as_ref(), store).await?.unwrap_or_default())
    }

    /// `None`: where the log stands when it is read.
    pub(super) async fn until(&self, store: &EventStore) -> Result<Option<Cursor>, Failure> {
        resolve(self.until.as_ref().filter(|until| **until != At::Now), store).await
    }

    /// The cursors as they were given, for a reader that has no log to ask what `now` is.
    pub(super) fn given(&self) -> Result<(Cursor, Option<Cursor>), Failure> {
        let given = |at: &Option<At>| match at {
            None => Ok(None),
            Some(At::Cursor(cursor)) => Ok(Some(cursor.clone())),
            Some(At::Now) => Err(Failure::usage(
                "`now` is a place in the shards' log: leave out --source kafka",
            )),
        };
        Ok((given(&self.after)?.unwrap_or_default(), given(&self.until)?))
    }

    /// Whether an end was asked for, which following would never reach.
    pub(super) fn ends(&self) -> bool {
        self.until.is_some() || self.before.is_some()
    }

    pub(super) fn names_shards(&self) -> bool {
        !self.shards.is_empty()
    }
}

async fn resolve(at: Option<&At>, store: &EventStore) -> Result<Option<Cursor>, Failure> {
    match at {
        None => Ok(None),
        Some(At::Cursor(cursor)) => Ok(Some(cursor.clone())),
        Some(At::Now) => Ok(Some(store.cursor_at_heads().await.map_err(Failure::failed)?)),
    }
}

fn parse_stream(text: &str) -> Result<StreamId, String> {
    let stream = text
        .split_once(':')
        .and_then(|(kind, id)| StreamId::from_stored(kind, id));
    stream.ok_or_else(|| "must be KIND:TENANT/ID, as in order:dev/0192…".to_owned())
}

fn parse_type(text: &str) -> Result<EventType, String> {
    let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    EventType::from_stored(text).ok_or_else(|| format!("must be one of {}", known.join(", ")))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| "must be an RFC 3339 time such as 2026-01-31T12:00:00Z".to_owned())
}

fn parse_slots(text: &str) -> Result<(Slot, Slot), String> {
    let slot = |text: &str| text.trim().parse().ok().filter(|slot| *slot < Slot::COUNT).map(Slot);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (slot(first), slot(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err("must be a slot, or a range such as 0-255; slots are 0 to 1023".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn parse(line: &[&str]) -> Result<FilterArgs, clap::Error> {
        Command::try_parse_from(std::iter::once(&"x").chain(line)).map(|command| command.filter)
    }

    #[test]
    fn given_conditions_then_they_become_the_logs_filter() {
        let order = "01920000-0000-7000-8000-000000000001";
        let args = parse(&[
            "--tenant",
            "dev",
            "--order",
            order,
            "--type",
            "OrderCreated,OrderStatusChanged",
        ])
        .unwrap();
        let filter = args.conditions().unwrap();
        assert_eq!(filter.stream.unwrap().to_string(), format!("order:dev/{order}"));
        assert_eq!(filter.types, [EventType::OrderCreated, EventType::OrderStatusChanged]);
        assert_eq!(parse(&["--slots", "7"]).unwrap().slots, Some((Slot(7), Slot(7))));
        assert_eq!(parse(&["--after", "now"]).unwrap().after, Some(At::Now));
    }

    #[test]
    fn given_conditions_that_make_no_sense_then_they_are_refused() {
        for line in [
            ["--type", "OrderTeleported"],
            ["--slots", "9-3"],
            ["--slots", "0-1024"],
            ["--from", "yesterday"],
            ["--after", "17"],
            ["--order", "01920000-0000-7000-8000-000000000001"],
        ] {
            assert!(parse(&line).is_err(), "{line:?}");
        }
        let other = parse(&["--tenant", "dev", "--stream", "order:acme/1"]).unwrap();
        assert!(other.conditions().is_err());
    }
}
