//! A local Kafka cluster in the foreground; the signals that end it end the nodes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use local_kafka::{Cluster, Config, Error};
use tokio::signal::unix::{SignalKind, signal};

/// Runs Apache Kafka on this machine until it is told to stop.
#[derive(Debug, Parser)]
struct Arguments {
    /// Keeps the cluster's data between starts.
    #[arg(long, default_value = ".comanda/kafka")]
    folder: PathBuf,
    /// Kafka's jars, as `scripts/kafka-jars` brings them.
    #[arg(long, default_value = ".tools/kafka/lib")]
    jars: PathBuf,
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Heap of each node.
    #[arg(long, default_value_t = 256)]
    heap_mb: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let here = |source| Error::Io {
        doing: "listen to signals for",
        path: arguments.folder.clone(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(here)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(here)?;
    let mut config = Config::new(&arguments.folder, &arguments.jars, arguments.nodes);
    config.heap_mb = arguments.heap_mb;
    let cluster = Cluster::start(config).await?;
    println!("{}", cluster.bootstrap());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    cluster.stop().await
}
