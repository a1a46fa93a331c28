//! The whole platform as `status` shows it and `doctor` judges it: one look at every database, every
//! process and Kafka, bounded in time, where what does not answer is part of the picture.

mod feed;
mod process;
mod reads;
mod shard;

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use service::Settings;
use tokio::time::timeout;

pub(crate) use feed::{PartitionView, TopicView};
pub(crate) use process::ProcessView;
pub(crate) use reads::ReadStoreView;
pub(crate) use shard::ShardView;

use crate::databases::Databases;

/// How long one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What one look found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Overview {
    /// `None` where the control database does not answer.
    pub(crate) processes: Option<Vec<ProcessView>>,
    pub(crate) shards: Vec<ShardView>,
    /// `None` where nothing is published to Kafka.
    pub(crate) topic: Option<TopicView>,
    pub(crate) read_stores: Vec<ReadStoreView>,
}

impl Overview {
    /// Looks at everything at once.
    pub(crate) async fn look(settings: &Settings, databases: &Databases) -> Self {
        let topic = &settings.kafka.topic;
        let shards = futures::future::join_all(
            databases
                .shards()
                .iter()
                .map(|(id, url)| shard::look(*id, url, &topic.name)),
        );
        let (processes, shards) = tokio::join!(process::look(databases.control()), shards);
        let heads: Vec<shard::Head> = shards.iter().flat_map(|(_, heads)| heads.clone()).collect();
        let shards: Vec<ShardView> = shards.into_iter().map(|(view, _)| view).collect();
        let stores = futures::future::join_all(
            reads::endpoints(databases.read_stores())
                .into_iter()
                .map(|endpoint| reads::look(endpoint, &heads)),
        );
        let published = shards.iter().any(|shard| shard.published.is_some());
        let topic = async {
            if published {
                Some(feed::look(&settings.kafka).await)
            } else {
                None
            }
        };
        let (stores, topic) = tokio::join!(stores, topic);
        let topic = topic.map(|topic| topic.with_lag(&heads, &stores));
        Self {
            processes,
            shards,
            topic,
            read_stores: stores.into_iter().map(|(view, _)| view).collect(),
        }
    }
}

/// The answer, or why there is none, on one line.
async fn within<T, E: std::error::Error>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(described(&error)),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Ascending numbers as ranges: `0-255, 300`; with a step where one is kept: `0-1020 by 4`.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u16>) -> String {
    let numbers: Vec<u16> = numbers.into_iter().collect();
    let mut shown: Vec<String> = Vec::new();
    let mut rest = numbers.as_slice();
    while let [first, others @ ..] = rest {
        let step = others.first().map_or(0, |second| second - first);
        let kept = rest.windows(2).take_while(|pair| pair[1] - pair[0] == step).count();
        // Two numbers keep any step: say both, unless they follow one another.
        let (text, taken) = match (step, kept) {
            (1, 1..) => (format!("{first}-{}", rest[kept]), kept + 1),
            (_, 2..) => (format!("{first}-{} by {step}", rest[kept]), kept + 1),
            _ => (first.to_string(), 1),
        };
        shown.push(text);
        rest = &rest[taken..];
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_ranges() {
        assert_eq!(ranges([]), "");
        assert_eq!(ranges([7]), "7");
        assert_eq!(ranges([0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(ranges([u16::MAX]), "65535");
    }

    #[test]
    fn numbers_that_keep_a_step_are_shown_with_it() {
        assert_eq!(ranges((0..1024).step_by(4)), "0-1020 by 4");
        assert_eq!(ranges([0, 4, 9]), "0, 4, 9");
        assert_eq!(ranges([0, 4, 8, 9, 10]), "0-8 by 4, 9-10");
    }
}
