//! Faults: what is done to which parts, and how it is undone.

use std::time::Duration;

use futures::future::join_all;

use super::last;
use crate::support::cluster::OnCluster;

/// What is done to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// kill -9, started again after the length.
    Kill,
    /// Stands still with its connections open for the length.
    Freeze,
    /// Asked to end, and started again at once, one part after another.
    Restart,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    harm: Harm,
    /// Processes, PostgreSQL servers and Kafka nodes by their names in the cluster.
    parts: &'static [&'static str],
    seconds: u64,
    /// How often, without waiting for everything to be well between.
    times: usize,
}

const fn fault(name: &'static str, harm: Harm, parts: &'static [&'static str], seconds: u64) -> Fault {
    Fault {
        name,
        harm,
        parts,
        seconds,
        times: 1,
    }
}

use Harm::{Freeze, Kill, Restart};

/// Longer than leases (5 s) and sessions (6 s): what wakes up then is a zombie.
const PAST_LEASES: u64 = 9;

/// Every fault, one after another.
pub(crate) const ALL: [Fault; 36] = [
    fault("broker 1 killed", Kill, &["kafka-1"], 3),
    fault("broker 2 killed", Kill, &["kafka-2"], 3),
    fault("broker 3 killed", Kill, &["kafka-3"], 3),
    fault("broker 1 frozen", Freeze, &["kafka-1"], PAST_LEASES),
    fault("broker 2 frozen", Freeze, &["kafka-2"], 4),
    fault("two brokers killed", Kill, &["kafka-1", "kafka-3"], 4),
    fault("every broker killed", Kill, &["kafka-1", "kafka-2", "kafka-3"], 4),
    fault("every broker frozen", Freeze, &["kafka-1", "kafka-2", "kafka-3"], 6),
    fault("relay 1 killed", Kill, &["relay-1"], 2),
    fault("relay 2 killed", Kill, &["relay-2"], PAST_LEASES),
    fault("relay 1 frozen past its leases", Freeze, &["relay-1"], PAST_LEASES),
    fault("both relays killed", Kill, &["relay-1", "relay-2"], 3),
    fault("projector 1 killed", Kill, &["projector-1"], 2),
    fault(
        "projector 2 killed past its session",
        Kill,
        &["projector-2"],
        PAST_LEASES,
    ),
    fault("projector 3 killed", Kill, &["projector-3"], 1),
    fault(
        "projector 1 frozen past its session",
        Freeze,
        &["projector-1"],
        PAST_LEASES,
    ),
    fault(
        "every projector killed",
        Kill,
        &["projector-1", "projector-2", "projector-3"],
        3,
    ),
    Fault {
        times: 4,
        ..fault(
            "a rebalance storm",
            Restart,
            &["projector-1", "projector-2", "projector-3"],
            0,
        )
    },
    fault("command-api 1 killed", Kill, &["command-api-1"], 2),
    fault("command-api 2 killed", Kill, &["command-api-2"], 2),
    fault("command-api 1 frozen", Freeze, &["command-api-1"], 4),
    fault("both command-apis killed", Kill, &["command-api-1", "command-api-2"], 2),
    fault("query-api 1 killed", Kill, &["query-api-1"], 2),
    fault("query-api 2 frozen", Freeze, &["query-api-2"], 4),
    fault("both query-apis killed", Kill, &["query-api-1", "query-api-2"], 2),
    fault("a read standby killed", Kill, &["read-1"], 3),
    fault("a read standby frozen", Freeze, &["read-2"], 4),
    fault("both read standbys killed", Kill, &["read-1", "read-2"], 3),
    fault("the read store killed", Kill, &["read-0"], 3),
    fault("the read store frozen", Freeze, &["read-0"], 5),
    fault("a shard's standby killed", Kill, &["shards-a-standby"], 2),
    fault("shards 0 and 1 killed", Kill, &["shards-a"], 2),
    fault("shards 2 and 3 frozen", Freeze, &["shards-b"], 6),
    fault("every shard killed", Kill, &["shards-a", "shards-b"], 2),
    fault(
        "every process asked to end, one after another",
        Restart,
        &[
            "command-api-1",
            "command-api-2",
            "query-api-1",
            "query-api-2",
            "relay-1",
            "relay-2",
            "projector-1",
            "projector-2",
            "projector-3",
        ],
        0,
    ),
    fault(
        "everything killed at once",
        Kill,
        &[
            "kafka-1",
            "kafka-2",
            "kafka-3",
            "relay-1",
            "relay-2",
            "projector-1",
            "projector-2",
            "projector-3",
            "command-api-1",
            "command-api-2",
            "query-api-1",
            "query-api-2",
            "shards-a",
            "shards-b",
            "read-0",
        ],
        2,
    ),
];

/// One of each kind, for every run of the tests.
pub(crate) const FEW: [&str; 5] = [
    "broker 1 killed",
    "relay 1 frozen past its leases",
    "projector 1 frozen past its session",
    "shards 0 and 1 killed",
    "everything killed at once",
];

impl Fault {
    /// Does it and undoes it. The parts run again when this returns; they need not be well yet.
    pub(crate) async fn happen(&self, on: &OnCluster) {
        for _ in 0..self.times {
            match self.harm {
                Kill => {
                    for part in self.parts {
                        kill(on, part).await;
                    }
                    last(Duration::from_secs(self.seconds)).await;
                    // Together: brokers need each other to begin.
                    join_all(self.parts.iter().map(|part| restart(on, part))).await;
                }
                Freeze => {
                    for part in self.parts {
                        freeze(on, part);
                    }
                    last(Duration::from_secs(self.seconds)).await;
                    for part in self.parts {
                        thaw(on, part);
                    }
                }
                Restart => {
                    for part in self.parts {
                        restart(on, part).await;
                    }
                }
            }
        }
    }
}

/// A part by its name.
enum Part<'a> {
    Process(&'a cluster::Process),
    Postgres(&'a cluster::Postgres),
    Broker(&'a local_kafka::Node),
}

fn part<'a>(on: &'a OnCluster, name: &str) -> Part<'a> {
    if let Some(node) = name.strip_prefix("kafka-") {
        let kafka = on.cluster.kafka().expect("Kafka");
        return Part::Broker(kafka.node(node.parse().expect("a number")).expect("the node"));
    }
    match on.cluster.postgres(name) {
        Ok(server) => Part::Postgres(server),
        Err(_) => Part::Process(on.cluster.process(name).expect("the process")),
    }
}

async fn kill(on: &OnCluster, name: &str) {
    match part(on, name) {
        Part::Process(process) => process.kill().await.expect("killed"),
        Part::Postgres(server) => server.kill().await.expect("killed"),
        Part::Broker(node) => node.kill().await.expect("killed"),
    }
}

async fn restart(on: &OnCluster, name: &str) {
    match part(on, name) {
        Part::Process(process) => process.restart().await.expect("started"),
        Part::Postgres(server) => server.restart().await.expect("started"),
        Part::Broker(node) => node.restart().await.expect("started"),
    }
}

fn freeze(on: &OnCluster, name: &str) {
    match part(on, name) {
        Part::Process(process) => process.freeze().expect("frozen"),
        Part::Postgres(server) => server.freeze(),
        Part::Broker(node) => node.freeze().expect("frozen"),
    }
}

fn thaw(on: &OnCluster, name: &str) {
    match part(on, name) {
        Part::Process(process) => process.thaw().expect("thawed"),
        Part::Postgres(server) => server.thaw(),
        Part::Broker(node) => node.thaw().expect("thawed"),
    }
}
