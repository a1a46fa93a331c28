//! Which events an export holds, in words: kept with it, so that it is not gone on with as another.

use event_store::{Cursor, LogFilter};

/// Every condition of the filter, and where the export begins and ends if not at the log's own.
pub(crate) fn in_words(filter: &LogFilter, after: &Cursor, until: Option<&Cursor>) -> String {
    let types: Vec<&str> = filter.types.iter().map(|kind| kind.as_str()).collect();
    let shards: Vec<String> = filter.shards.iter().map(ToString::to_string).collect();
    let conditions = [
        ("tenant", filter.tenant.as_ref().map(ToString::to_string)),
        ("establishment", filter.establishment.as_ref().map(ToString::to_string)),
        ("stream", filter.stream.as_ref().map(ToString::to_string)),
        ("type", (!types.is_empty()).then(|| types.join(","))),
        ("from", filter.from.map(|from| from.to_string())),
        ("to", filter.to.map(|to| to.to_string())),
        ("slots", filter.slots.map(|(first, last)| format!("{first}-{last}"))),
        ("shard", (!shards.is_empty()).then(|| shards.join(","))),
        ("after", Some(after.to_string()).filter(|after| !after.is_empty())),
        ("until", until.map(ToString::to_string)),
    ];
    let said: Vec<String> = conditions
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value?)))
        .collect();
    if said.is_empty() {
        "all events".to_owned()
    } else {
        said.join(", ")
    }
}
