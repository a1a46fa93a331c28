//! The checker is worth something only if it fails when a guard is off.

use std::time::Duration;

use cluster::Role;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

use super::{say, topic};
use crate::crash::{differences_after_two_projectors, progress};
use crate::support::checker::Log;
use crate::support::cluster::OnCluster;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::topology::Topology;

/// A small cluster whose projector has a guard off.
async fn without(guard: &str) -> OnCluster {
    OnCluster::start_with(|config| {
        config.brokers = 1;
        config.command_apis = 1;
        config.query_apis = 1;
        config.ops_apis = 0;
        config.relays = 1;
        config.projectors = 1;
        config.read_standbys = 0;
        config.shard_standbys = 0;
        config.seed = false;
        for (name, value) in [("COMANDA_PLANTED_FAULTS", "1"), ("COMANDA_FAULT_PROJECTOR", guard)] {
            config
                .environment
                .push((Role::Projector, name.to_owned(), value.to_owned()));
        }
    })
    .await
}

/// What the read models differ by, once they no longer change.
async fn found(on: &OnCluster, load: &Load) -> Vec<String> {
    load.settle().await;
    let log = Log::read(on.databases()).await;
    eventually(Duration::from_secs(60), || async {
        let found = log.differences(on.databases()).await;
        if found.is_empty() {
            Err("the harness sees nothing".to_owned())
        } else {
            Ok(found)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_projectors_that_apply_duplicates_are_noticed() {
    let on = without("skip_dedupe").await;
    let load = Load::prepare(&on, "twice", 4).await;
    load.run(200, 8).await;
    on.cluster.await_ready().await.expect("caught up");
    say("orders' first records once more");
    let config = topic::config(&on);
    let repeated = tokio::task::spawn_blocking(move || topic::repeat_creations(&config));
    let repeated = repeated.await.expect("read").expect("repeated");
    assert!(repeated >= 200, "{repeated}");
    assert!(!found(&on, &load).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_projectors_that_pass_over_losses_are_noticed() {
    let on = without("skip_refill").await;
    let load = Load::prepare(&on, "gap", 4).await;
    load.run(100, 8).await;
    on.cluster.await_ready().await.expect("caught up");
    // The projector is away while the records of some orders come and go.
    let projector = on.cluster.process("projector-1").expect("the projector");
    projector.kill().await.expect("killed");
    let running = load.start(8);
    progress(&load, 200).await;
    running.stop().await;
    topic::assert_complete(&on).await;
    say("taking records out of the topic");
    empty_the_topic(&on).await;
    projector.restart().await.expect("started");
    let running = load.start(8);
    progress(&load, 100).await;
    running.stop().await;
    assert!(!found(&on, &load).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_checkpoints_set_without_comparing_are_noticed_on_the_cluster() {
    let on = without("skip_compare_and_set").await;
    let fault = Some(projector::Fault::SkipCompareAndSet);
    assert!(!differences_after_two_projectors(&on, fault).await.is_empty());
}

/// Everything that is in the topic now, gone.
async fn empty_the_topic(on: &OnCluster) {
    let admin: AdminClient<DefaultClientContext> = topic::config(on).create().expect("a client");
    let mut all = TopicPartitionList::new();
    for partition in 0..topic::PARTITIONS {
        all.add_partition_offset(topic::TOPIC, partition, Offset::End)
            .expect("added");
    }
    let deleted = admin.delete_records(&all, &AdminOptions::new()).await.expect("asked");
    for element in deleted.elements() {
        element.error().expect("records deleted");
    }
}
