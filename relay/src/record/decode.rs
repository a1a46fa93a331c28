//! Record to event.

use domain::metadata::key;
use domain::{EventId, Metadata, Sequence, StreamId, Timestamp};
use event_store::{Incarnation, Position, RecordedEvent, Slot, SlotPosition};
use rdkafka::Message;
use rdkafka::message::Headers;
use serde_json::value::RawValue;

use super::{METADATA, header};

/// The record was not written by a relay, or by one that is newer than this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Somebody else wrote into the topic.
    #[error("the record is not a CloudEvent of Comanda: it has no {0}")]
    NotOurs(&'static str),
    #[error("the record's {0} is malformed")]
    Malformed(&'static str),
    /// Passing it over would be silently wrong: stop, and start a newer program.
    #[error("the record is of a kind of stream that this program does not know: {0}")]
    UnknownStream(String),
}

/// The event that a record carries. Its metadata always names the tenant.
///
/// # Errors
/// [`RecordError`].
pub fn decode<M: Message>(record: &M) -> Result<RecordedEvent, RecordError> {
    let headers = Attributes::of(record)?;
    let payload = record.payload().ok_or(RecordError::NotOurs("value"))?;
    let payload = std::str::from_utf8(payload).map_err(|_| RecordError::Malformed("value"))?;
    let slot: u16 = headers.parse(header::SLOT)?;
    if slot >= Slot::COUNT {
        return Err(RecordError::Malformed(header::SLOT));
    }
    let stream = stream(headers.required(header::STREAM)?)?;
    Ok(RecordedEvent {
        position: Position(headers.parse(header::SHARD_POSITION)?),
        slot: Slot(slot),
        slot_position: SlotPosition(headers.parse(header::SLOT_POSITION)?),
        incarnation: Incarnation(headers.parse(header::INCARNATION)?),
        sequence: Sequence(headers.parse(header::SEQUENCE)?),
        event_id: EventId(headers.parse(header::ID)?),
        event_type: headers.required(header::TYPE)?.to_owned(),
        event_version: headers.required(header::EVENT_VERSION)?.to_owned(),
        payload: RawValue::from_string(payload.to_owned()).map_err(|_| RecordError::Malformed("value"))?,
        metadata: headers.metadata(&stream)?,
        recorded_at: headers.parse::<Timestamp>(header::TIME)?,
        stream,
    })
}

fn stream(text: &str) -> Result<StreamId, RecordError> {
    let (kind, id) = text.split_once(':').ok_or(RecordError::Malformed(header::STREAM))?;
    StreamId::from_stored(kind, id).ok_or_else(|| RecordError::UnknownStream(text.to_owned()))
}

/// The headers that hold text.
struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    fn of<M: Message>(record: &'a M) -> Result<Self, RecordError> {
        let headers = record.headers().ok_or(RecordError::NotOurs(header::SPEC_VERSION))?;
        let text = |header: rdkafka::message::Header<'a, &'a [u8]>| {
            Some((header.key, std::str::from_utf8(header.value?).ok()?))
        };
        let attributes = Self(headers.iter().filter_map(text).collect());
        match attributes.get(header::SPEC_VERSION) {
            Some("1.0") => Ok(attributes),
            _ => Err(RecordError::NotOurs(header::SPEC_VERSION)),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn required(&self, name: &'static str) -> Result<&'a str, RecordError> {
        self.get(name).ok_or(RecordError::NotOurs(name))
    }

    fn parse<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, RecordError> {
        self.required(name)?.parse().map_err(|_| RecordError::Malformed(name))
    }

    fn metadata(&self, stream: &StreamId) -> Result<Metadata, RecordError> {
        let mut metadata: Metadata = match self.get(header::METADATA) {
            Some(others) => serde_json::from_str(others).map_err(|_| RecordError::Malformed(header::METADATA))?,
            None => Metadata::new(),
        };
        for (key, attribute) in METADATA {
            metadata.extend(self.get(attribute).map(|value| (key.to_owned(), value.to_owned())));
        }
        metadata.insert(key::TENANT_ID.to_owned(), stream.tenant().to_string());
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, message};
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    fn with(changed: &str, value: Option<&[u8]>) -> OwnedMessage {
        let message = message(&event());
        let mut headers = OwnedHeaders::new();
        for header in message.headers().unwrap().iter() {
            let value = if header.key == changed { value } else { header.value };
            if value.is_some() {
                headers = headers.insert(Header { key: header.key, value });
            }
        }
        message.replace_headers(Some(headers))
    }

    #[test]
    fn a_record_that_lacks_something_is_refused_by_name() {
        for name in [
            header::SPEC_VERSION,
            header::ID,
            header::TYPE,
            header::TIME,
            header::EVENT_VERSION,
            header::STREAM,
            header::SEQUENCE,
            header::SLOT,
            header::SLOT_POSITION,
            header::INCARNATION,
            header::SHARD_POSITION,
        ] {
            assert_eq!(decode(&with(name, None)).unwrap_err(), RecordError::NotOurs(name));
        }
        let foreign = message(&event()).replace_headers(None);
        assert_eq!(
            decode(&foreign).unwrap_err(),
            RecordError::NotOurs(header::SPEC_VERSION)
        );
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        for (name, value) in [
            (header::ID, "x"),
            (header::TIME, "yesterday"),
            (header::SLOT, "1024"),
            (header::SLOT, "-1"),
            (header::SEQUENCE, "1.5"),
            (header::STREAM, "order"),
            (header::METADATA, "[]"),
        ] {
            assert_eq!(
                decode(&with(name, Some(value.as_bytes()))).unwrap_err(),
                RecordError::Malformed(name),
                "{value}"
            );
        }
        let unknown = decode(&with(header::STREAM, Some(b"robot:acme/1"))).unwrap_err();
        assert_eq!(unknown, RecordError::UnknownStream("robot:acme/1".to_owned()));
        assert!(decode(&with(header::ID, Some(&[0xff]))).is_err(), "not UTF-8");
    }

    #[test]
    fn a_header_that_is_not_known_changes_nothing() {
        let message = message(&event());
        let more = Header {
            key: "ce_traceparent",
            value: Some("00-…"),
        };
        let headers = message.headers().unwrap().clone().insert(more);
        assert_eq!(
            decode(&message.replace_headers(Some(headers))).unwrap().metadata,
            event().metadata
        );
    }
}
