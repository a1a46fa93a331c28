//! Real brokers: they keep what they acknowledged, and are gone with the test process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use local_kafka::testing;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

const ASK: &str = "COMANDA_ASK_FOR_KAFKA";

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("socket.timeout.ms", "5000");
    config
}

async fn create_topic(config: &ClientConfig, name: &str, replication: i32) {
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(replication));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

async fn write(producer: &FutureProducer, topic: &str, text: &str) {
    let record = FutureRecord::<(), _>::to(topic).partition(0).payload(text);
    producer
        .send(record, Duration::from_secs(60))
        .await
        .map_err(|(error, _)| error)
        .unwrap();
}

fn end_of(config: &ClientConfig, topic: &str) -> i64 {
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.fetch_watermarks(topic, 0, Duration::from_secs(30)).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_go_on_without_one_and_take_it_back() {
    let cluster = testing::cluster(3).await;
    let config = client(&cluster.bootstrap());
    create_topic(&config, "kept", 3).await;
    let producer: FutureProducer = config.create().unwrap();
    write(&producer, "kept", "all three").await;

    cluster.node(1).unwrap().kill().await.unwrap();
    assert_eq!(cluster.node(1).unwrap().pid(), None);
    write(&producer, "kept", "without the first").await;

    cluster.node(1).unwrap().restart().await.unwrap();
    cluster.node(2).unwrap().freeze().unwrap();
    write(&producer, "kept", "the second frozen").await;
    cluster.node(2).unwrap().thaw().unwrap();
    write(&producer, "kept", "all three again").await;
    // The node that was frozen answers for a moment as if it still led.
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while end_of(&config, "kept") != 4 {
        assert!(std::time::Instant::now() < deadline, "{}", end_of(&config, "kept"));
        looks.tick().await;
    }

    assert!(cluster.node(4).is_err());
    let folder = cluster.folder().to_owned();
    drop(cluster);
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_ports_outlive_a_stop_and_a_name_and_password_open_the_secure_door() {
    let secure = testing::secure().await;
    let open = client(&secure.cluster.bootstrap());
    create_topic(&open, "kept", 1).await;
    let mut config = client(&secure.cluster.secure_bootstrap());
    config
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "SCRAM-SHA-512");
    config.set("ssl.ca.location", secure.ca_file.display().to_string());
    config
        .set("sasl.username", &secure.username)
        .set("sasl.password", &secure.password);
    write(&config.create().unwrap(), "kept", "through TLS").await;

    secure.cluster.node(1).unwrap().restart().await.unwrap();
    assert_eq!(end_of(&open, "kept"), 1);

    config.set("sasl.password", "wrong");
    let stranger: BaseConsumer = config.create().unwrap();
    assert!(stranger.fetch_metadata(Some("kept"), Duration::from_secs(3)).is_err());
}

#[tokio::test]
async fn asking_process() {
    if std::env::var_os(ASK).is_none() {
        return;
    }
    let cluster = testing::cluster(1).await;
    println!(
        "node {} in {}",
        cluster.nodes()[0].pid().unwrap(),
        cluster.folder().display()
    );
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_test_process_leaves_neither_node_nor_folder() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "asking_process", "--nocapture"])
        .env(ASK, "yes");
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let told = lines.find_map(|line| Some(line.split_once("node ")?.1.to_owned()).filter(|it| it.contains(" in ")));
    let told = told.expect("a cluster");
    let (pid, folder) = told.split_once(" in ").unwrap();
    let (node, folder) = (format!("/proc/{pid}/exe"), Path::new(folder.trim()));
    assert!(std::fs::read_link(&node).is_ok() && folder.exists());

    process.kill().unwrap();
    process.wait().unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    while std::fs::read_link(&node).is_ok() || folder.exists() {
        assert!(Instant::now() < give_up, "{} is still there", folder.display());
        std::thread::yield_now();
    }
}
