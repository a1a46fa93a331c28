//! A record's attributes as CloudEvents over HTTP: the same attributes that the relay gives a record.
//!
//! Header values hold printable ASCII; everything else, the space, `"` and `%` are percent-encoded, as
//! the HTTP binding of CloudEvents says.

use event_store::{RecordedEvent, ShardId};
use rdkafka::message::Headers;
use relay::record::{self, header};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

/// Of the metadata that has no attribute of its own. Not an attribute: their names hold no `_`.
const METADATA: &str = "comandametadata";

/// An event as a CloudEvent.
pub(super) struct CloudEvent<'a> {
    /// Without `ce_`.
    attributes: Vec<(String, String)>,
    data: &'a RawValue,
}

impl<'a> CloudEvent<'a> {
    pub(super) fn of(shard: ShardId, event: &'a RecordedEvent) -> Self {
        let headers = record::encode(event, shard, 1).headers;
        let attribute = |name: &str| match name {
            header::CONTENT_TYPE => Some("datacontenttype".to_owned()),
            header::METADATA => Some(METADATA.to_owned()),
            name => name.strip_prefix("ce_").map(str::to_owned),
        };
        let attributes = headers.iter().filter_map(|header| {
            let value = std::str::from_utf8(header.value?).ok()?;
            Some((attribute(header.key)?, value.to_owned()))
        });
        Self {
            attributes: attributes.collect(),
            data: &event.payload,
        }
    }

    /// Names and values of the headers of binary mode.
    pub(super) fn headers(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.attributes.iter().map(|(name, value)| match name.as_str() {
            "datacontenttype" => ("content-type".to_owned(), value.clone()),
            name => (format!("ce-{name}"), percent_encoded(value)),
        })
    }

    pub(super) fn data(&self) -> &'a str {
        self.data.get()
    }
}

/// Structured mode.
impl Serialize for CloudEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.attributes.len() + 1))?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("data", self.data)?;
        map.end()
    }
}

fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' => encoded.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_text_beyond_printable_ascii_then_a_header_holds_it_percent_encoded() {
        assert_eq!(percent_encoded("größer \"5%\""), "gr%C3%B6%C3%9Fer%20%225%25%22");
        assert_eq!(percent_encoded("order:acme/1"), "order:acme/1");
    }
}
