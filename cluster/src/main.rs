//! `comanda-cluster`: starts and ends the whole platform as a cluster on this machine.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use cluster::{Cluster, Config, Folder, Info};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const REVIVE_INTERVAL: Duration = Duration::from_secs(1);

/// The whole platform as a cluster of processes on this machine
#[derive(Debug, Parser)]
#[command(name = "comanda-cluster", version, arg_required_else_help = true)]
struct Cli {
    /// The folder that holds everything of the cluster
    #[arg(long, global = true, value_name = "DIR", default_value = ".comanda")]
    folder: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the cluster in the background; returns when all of it is ready
    Start(Options),
    /// Run the cluster in the foreground until SIGTERM or Ctrl-C
    Run(Options),
    /// End the cluster, and whatever a killed one left behind
    Down,
    /// Print the memory of each process (proportional share)
    Memory,
}

#[derive(Debug, Args)]
struct Options {
    /// The port that clients use
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Partitions of the topic
    #[arg(long, default_value_t = 64)]
    partitions: u16,
    /// The comanda binary
    #[arg(long, value_name = "FILE", default_value = "target/release/comanda")]
    binary: PathBuf,
    /// Kafka's jars, as scripts/kafka-jars brings them
    #[arg(long, value_name = "DIR", default_value = ".tools/kafka/lib")]
    jars: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comanda-cluster: {}", with_sources(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let folder = Folder::create(&cli.folder)?;
    match cli.verb {
        Verb::Start(options) => start(&cli.folder, &folder, &options).await,
        Verb::Run(options) => {
            supervise(Config {
                port: Some(options.port),
                partitions: options.partitions,
                ..Config::new(cli.folder, options.binary, options.jars)
            })
            .await
        }
        Verb::Down => down(&folder).await,
        Verb::Memory => {
            let mut sum = 0;
            for cluster::Memory { name, kilobytes } in cluster::memory_of(&Info::read(&folder.info())?, &folder) {
                println!("{name:<20} {:>6} MB", kilobytes / 1024);
                sum += kilobytes;
            }
            println!("{:<20} {:>6} MB", "all", sum / 1024);
            Ok(())
        }
    }
}

/// Starts ourselves as a supervisor in the background and waits until it says that all is ready.
async fn start(root: &PathBuf, folder: &Folder, options: &Options) -> Result<(), Failure> {
    if let Some(pid) = folder.holder() {
        let at = Info::read(&folder.info()).map_or_else(|_| "starting or ending".to_owned(), |info| info.url);
        return Err(format!("a cluster runs already (process {pid}): {at}; `make cluster-down` ends it").into());
    }
    let log = folder.supervisor_log();
    let output = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&log)?;
    let mut supervisor = Command::new(std::env::current_exe()?);
    supervisor.arg("run").arg("--folder").arg(root);
    supervisor.args(["--port", &options.port.to_string()]);
    supervisor.args(["--partitions", &options.partitions.to_string()]);
    supervisor.arg("--binary").arg(&options.binary);
    supervisor.arg("--jars").arg(&options.jars);
    supervisor
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // Out of the terminal's reach.
        .process_group(0);
    let supervisor = supervisor.spawn()?;
    let pid = i32::try_from(supervisor.id())?;
    tokio::select! {
        ready = wait_until_ready(supervisor, folder) => banner(&ready?, folder),
        _ = tokio::signal::ctrl_c() => {
            kill(Pid::from_raw(pid), Signal::SIGTERM)?;
            Err("interrupted".into())
        }
    }
}

async fn wait_until_ready(mut supervisor: Child, folder: &Folder) -> Result<Info, Failure> {
    loop {
        if let Ok(info) = Info::read(&folder.info())
            && info.supervisor == supervisor.id()
        {
            return Ok(info);
        }
        if let Some(status) = supervisor.try_wait()? {
            let log = std::fs::read_to_string(folder.supervisor_log()).unwrap_or_default();
            return Err(format!("the cluster did not start ({status}):\n{}", log.trim()).into());
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn banner(info: &Info, folder: &Folder) -> Result<(), Failure> {
    let (url, settings) = (&info.url, info.settings.display());
    println!("The cluster is up.\n");
    for (what, path) in [
        ("REST", "/v1"),
        ("API pages", "/docs"),
        ("GraphQL", "/graphql"),
        ("Health", "/health"),
    ] {
        println!("{what:<10} {url}{path}");
    }
    println!(
        "{:<10} {} (topic {})",
        "Kafka", info.kafka.bootstrap_servers, info.kafka.topic
    );
    println!("{:<10} {settings}", "Settings");
    println!("{:<10} {}", "Everything", folder.info().display());
    println!(
        "\nA token of the tenant dev, an order, and all orders:\n\
         token=$(target/release/comanda token --config {settings} --tenant dev)\n\
         curl -sS {url}/v1/orders -H \"authorization: Bearer $token\" -H 'content-type: application/json' \
         -H \"idempotency-key: $(date +%s%N)\" \
         -d '{{\"establishment_id\": \"main\", \"items\": [{{\"product_id\": \"margherita\", \"quantity\": 2}}]}}'\n\
         curl -sS {url}/graphql -H \"authorization: Bearer $token\" -H 'content-type: application/json' \
         -d '{{\"query\": \"{{ orders(establishmentId: \\\"main\\\", first: 5) {{ edges {{ node {{ id number status total {{ amount currency }} }} }} }} }}\"}}'\n\n\
         make cluster-down ends it.",
    );
    Ok(())
}

/// Keeps the cluster until somebody asks for its end.
async fn supervise(config: Config) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal that closes does not end what runs in the background.
    let _hang_up = signal(SignalKind::hangup())?;
    let cluster = tokio::select! {
        cluster = Cluster::start(config) => cluster?,
        _ = terminate.recv() => return Err("ended while starting".into()),
        _ = interrupt.recv() => return Err("ended while starting".into()),
    };
    tracing::info!(url = cluster.url(), "the cluster is up");
    let mut again = interval(REVIVE_INTERVAL);
    let mut written = cluster.info()?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = again.tick() => {
                if let Err(error) = cluster.revive().await {
                    tracing::error!(%error, "a process does not start; trying again");
                }
                let now = cluster.info()?;
                if now != written {
                    cluster.write_info()?;
                    written = now;
                }
            }
        }
    }
    tracing::info!("ending the cluster");
    Ok(cluster.stop().await?)
}

/// Ends the supervisor, which ends the rest; and what a killed one left.
async fn down(folder: &Folder) -> Result<(), Failure> {
    let mut was_up = false;
    while let Some(pid) = folder.holder() {
        if !was_up {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
            was_up = true;
        }
        sleep(LOOK_AGAIN).await;
    }
    let left = tokio::task::block_in_place(|| cluster::clear(folder))?;
    match (was_up, left) {
        (true, _) => println!("The cluster is down."),
        (false, 0) => println!("No cluster was running."),
        (false, left) => println!("Ended {left} processes that a cluster had left behind."),
    }
    Ok(())
}
