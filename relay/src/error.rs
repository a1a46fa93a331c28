//! Why publishing stopped, by what is done about it.

use std::path::PathBuf;

use rdkafka::error::KafkaError;

/// All but [`Error::is_final`] are tried again, from the cursor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the relay's settings are wrong: {0}")]
    Settings(String),
    #[error("the file {} cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Publishing into it would put slots where no consumer looks for them.
    #[error(
        "topic {topic} has {found} partitions where {expected} are configured; the number is fixed when a topic is \
         made: configure {found}, or publish to a topic of another name"
    )]
    Partitions { topic: String, found: usize, expected: u16 },
    #[error("Kafka: cannot {doing}")]
    Kafka {
        doing: &'static str,
        #[source]
        source: KafkaError,
    },
    #[error("Kafka refused a record for partition {partition}")]
    Delivery {
        partition: i32,
        #[source]
        source: KafkaError,
    },
    #[error("no acknowledgement by Kafka for {seconds} s")]
    Stalled { seconds: u64 },
    #[error("topic {topic} does not exist any more")]
    TopicMissing { topic: String },
    /// It was deleted and made again, or its brokers lost what they had acknowledged.
    #[error(
        "topic {topic} lost records that were acknowledged: partition {partition} ends at {found}, and ended at \
         {acknowledged} before"
    )]
    TopicLost {
        topic: String,
        partition: usize,
        acknowledged: i64,
        found: i64,
    },
    #[error("the shard cannot be reached: {doing}")]
    Shard {
        doing: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// Taken anew, it begins at the stored cursor.
    #[error("another relay has taken the shard over, or its database was promoted, restored or set back")]
    LeaseLost,
    #[error(transparent)]
    Log(#[from] event_store::Error),
    #[error("a part of the relay ended unexpectedly")]
    Ended,
}

impl Error {
    pub(crate) fn kafka(doing: &'static str) -> impl FnOnce(KafkaError) -> Self {
        move |source| Self::Kafka { doing, source }
    }

    pub(crate) fn shard(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Shard { doing, source }
    }

    /// Whether trying again is useless until somebody changes something.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::File { .. } | Self::Partitions { .. })
    }

    /// Whether Kafka no longer has what it acknowledged.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::TopicMissing { .. } | Self::TopicLost { .. })
    }

    /// A stable word for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Settings(_) | Self::File { .. } => "settings",
            Self::Partitions { .. } => "partitions",
            Self::Kafka { .. } => "kafka",
            Self::Delivery { .. } => "delivery",
            Self::Stalled { .. } => "stalled",
            Self::TopicMissing { .. } | Self::TopicLost { .. } => "topic_lost",
            Self::Shard { .. } => "shard",
            Self::LeaseLost => "lease_lost",
            Self::Log(_) => "log",
            Self::Ended => "ended",
        }
    }

    /// The whole chain of causes in one line, for logs and `status`.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
