//! `comanda backup`: base backups of the whole platform and the archive of its log.

use std::path::{Path, PathBuf};

use backup::{ArchiveState, Folder, Manifest, ServerAt, Taking};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use service::Shutdown;

use crate::archiving::{self, States, databases_at};
use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::{platform, signing};

/// Back up the whole platform while it runs
///
/// Copies every PostgreSQL server of the platform into a folder and checks each file. Where the log of
/// the servers is archived there as well (`backup.folder` in the settings of `comanda up`, or
/// `--archive`), every later moment can be restored; without, only the moment of the backup.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  comanda backup --to /srv/backup/comanda
  comanda backup --to /srv/backup/comanda --archive --config cluster.toml
  comanda backup list /srv/backup/comanda
  comanda restore --from /srv/backup/comanda --latest --data restored

With --archive the command goes on archiving until Ctrl-C or SIGTERM, and the next one continues
where it ended. The folder holds every order and the keys of a local platform: guard it.

Exit codes: 0 done; 1 no backup was taken, stderr says why; 2 usage; 130 interrupted."
)]
pub(crate) struct BackupArgs {
    /// The folder of backups; made where it is missing
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Archive the servers' log too, from before the copy until stopped
    #[arg(long, requires = "to")]
    archive: bool,
    #[command(subcommand)]
    verb: Option<BackupVerb>,
}

#[derive(Debug, Subcommand)]
enum BackupVerb {
    List(ListArgs),
    Check(CheckArgs),
    Prune(PruneArgs),
}

/// List the backups in a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda backup list /srv/backup/comanda
  comanda backup list /srv/backup/comanda -o json | jq '.[-1].backup'

Exit codes: 0 done; 1 the folder cannot be read; 2 usage.")]
struct ListArgs {
    /// The folder of backups
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Check that what lies in a folder can be restored
///
/// Holds every file against PostgreSQL's manifest, looks for missing segments of the log, and reads
/// every record in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda backup check /srv/backup/comanda

Exit codes: 0 all of it can be restored; 1 the folder cannot be read; 2 usage; 3 something in it is
damaged or missing.")]
struct CheckArgs {
    /// The folder of backups
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Remove old backups and the log that only they needed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda backup prune /srv/backup/comanda --keep 7

Exit codes: 0 done; 1 the folder cannot be read or written; 2 usage.")]
struct PruneArgs {
    /// The folder of backups
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How many to keep, the newest ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
}

pub(crate) async fn run(context: &Context, args: BackupArgs) -> Result<Exit, Failure> {
    match (args.verb, args.to) {
        (Some(BackupVerb::List(args)), _) => list(context, &args.folder),
        (Some(BackupVerb::Check(args)), _) => check(context, &args.folder).await,
        (Some(BackupVerb::Prune(args)), _) => prune(context, &args),
        (None, Some(to)) => back_up(context, &to, args.archive).await,
        (None, None) => Err(Failure::usage("where shall the backup go?").with_remedy("name a folder with --to DIR")),
    }
}

async fn back_up(context: &Context, to: &Path, archive: bool) -> Result<Exit, Failure> {
    let configured = Databases::configured(&context.settings().load().map_err(Failure::usage)?)?;
    let (_, databases) = platform::databases(context).await?;
    let stop = Shutdown::new();
    stop.listen_to_signals().map_err(Failure::failed)?;
    let folder = Folder::create(to)?;
    let data = platform::data_folder(context);
    let keys = [data.join("postgres/password"), signing::secret_file(&data)];
    let keys = configured.is_none().then_some(&keys[..]);
    let servers = backup::servers(&databases_at(&databases)).await?;
    let states = if archive {
        archiving::start(&folder, &servers, &stop)
    } else {
        States::new()
    };
    tokio::select! {
        begun = begun(&states) => begun?,
        () = stop.cancelled() => return Ok(interrupted(to)),
    }
    let taken = tokio::select! {
        taken = take(&folder, &servers, keys) => taken?,
        () = stop.cancelled() => return Ok(interrupted(to)),
    };
    print_manifests(context, &folder, std::slice::from_ref(&taken))?;
    if taken.servers.iter().any(|server| server.archive.is_none()) {
        eprintln!("note: the log is not archived there: only the moment of this backup can be restored");
    }
    if archive {
        eprintln!(
            "note: archiving until Ctrl-C or SIGTERM; `comanda backup --to {} --archive` goes on",
            to.display()
        );
        stop.cancelled().await;
        stop.wait(std::time::Duration::from_secs(10)).await;
    }
    Ok(Exit::Done)
}

fn interrupted(to: &Path) -> Exit {
    eprintln!(
        "interrupted: no backup was taken; run `comanda backup --to {}` again",
        to.display()
    );
    Exit::Interrupted
}

/// Waits until every archive is being written, or says why one is not.
async fn begun(states: &States) -> Result<(), Failure> {
    for (server, state) in states {
        let mut state = state.clone();
        let settled = state.wait_for(|state| state.streaming || state.why.is_some()).await;
        let settled: ArchiveState = settled.map_err(Failure::failed)?.clone();
        if let Some(why) = settled.why.filter(|_| !settled.streaming) {
            return Err(Failure::failed(format!("{server} is not archived: {why}"))
                .with_remedy("mend what it names; `comanda up` with backup.folder archives by itself"));
        }
    }
    Ok(())
}

async fn take(folder: &Folder, servers: &[ServerAt], local_keys: Option<&[PathBuf]>) -> Result<Manifest, Failure> {
    let taking = Taking {
        folder,
        servers,
        local_keys,
        version: env!("CARGO_PKG_VERSION"),
    };
    let told = |into: &Path, bytes: u64| eprintln!("copying {} MB to {}", bytes >> 20, into.display());
    Ok(backup::take(taking, told).await?)
}

fn list(context: &Context, folder: &Path) -> Result<Exit, Failure> {
    let folder = Folder::open(folder)?;
    print_manifests(context, &folder, &folder.manifests()?)?;
    Ok(Exit::Done)
}

fn print_manifests(context: &Context, folder: &Folder, manifests: &[Manifest]) -> Result<(), Failure> {
    let mut table = Table::new([
        "backup",
        "server",
        "databases",
        "events",
        "restorable_from",
        "restorable_until",
    ])
    .with_numbers(["events"]);
    for manifest in manifests {
        for server in &manifest.servers {
            let databases: Vec<&str> = server.databases.iter().map(|it| it.name.as_str()).collect();
            let shards = server.databases.iter().filter_map(|it| it.shard.as_ref());
            let until = folder.archived_until(server).unwrap_or(server.ended_at);
            table.row([
                manifest.id.clone(),
                server.server.clone(),
                databases.join(" "),
                shards.map(|shard| shard.position).sum::<i64>().to_string(),
                in_text(server.ended_at),
                in_text(until),
            ]);
        }
    }
    context.print_table(&table)
}

fn in_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

async fn check(context: &Context, folder: &Path) -> Result<Exit, Failure> {
    let checked = backup::check(&Folder::open(folder)?).await?;
    let mut table = Table::new(["backup", "server", "segments", "verdict", "what_to_do"]).with_numbers(["segments"]);
    let sound = checked.iter().all(|it| it.problem.is_none());
    for found in checked {
        let (verdict, remedy) = found.problem.map_or_else(
            || ("ok".to_owned(), String::new()),
            |problem| (problem.detail, problem.remedy),
        );
        table.row([found.backup, found.server, found.segments.to_string(), verdict, remedy]);
    }
    context.print_table(&table)?;
    Ok(if sound { Exit::Done } else { Exit::Partly })
}

fn prune(context: &Context, args: &PruneArgs) -> Result<Exit, Failure> {
    let pruned = backup::prune(&Folder::open(&args.folder)?, usize::from(args.keep))?;
    context.print_pairs(&[
        ("backups", pruned.backups.join(" ")),
        ("segments", pruned.segments.to_string()),
        ("archives", pruned.archives.join(" ")),
    ])?;
    Ok(Exit::Done)
}
