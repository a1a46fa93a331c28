//! `comanda restore`: the platform as it was at a time, in a new data folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use backup::{DatabaseKind, Folder, Manifest, ServerRecord, Until};
use chrono::{DateTime, Utc};
use clap::Args;
use event_store::{
    Incarnation, PositionToken, Reopen, Reopened, ShardId, ShardOptions, Slot, SlotPosition, Unreachable,
};
use local_postgres::{DataFolder, Server};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::{private_file, signing};

/// Restore the platform into a new data folder
///
/// Takes the last backup before the time, and replays the archived log up to it: every commit that was
/// acknowledged before is there, none that was begun after. A local platform is then ready for
/// `comanda up --data NEWDIR`: its slots have new incarnations, so that readers who saw more stop and
/// say so. The servers of a cluster are each restored to the same time, one folder each; start them,
/// then open their shards with `comanda shards restored`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda restore --from /srv/backup/comanda --latest --data restored
  comanda restore --from /srv/backup/comanda --to-time 2026-11-24T12:30:00Z --data restored
  comanda up --data restored

The backup is only read. A restoration that was interrupted is begun again: remove the folder first.

Exit codes: 0 restored; 1 not restored, stderr says why; 2 usage; 3 restored with --latest, but
later events are known to have been there.")]
pub(crate) struct RestoreArgs {
    /// The folder of backups
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The time to restore to, with its zone
    #[arg(
        long,
        value_name = "TIME",
        required_unless_present = "latest",
        conflicts_with = "latest"
    )]
    to_time: Option<DateTime<Utc>>,
    /// Restore all that was archived
    #[arg(long)]
    latest: bool,
}

pub(crate) async fn run(context: &Context, args: RestoreArgs) -> Result<Exit, Failure> {
    let until = args.to_time.map_or(Until::Latest, Until::Time);
    let data = new_folder(context)?;
    let folder = Folder::open(&args.from)?;
    let manifest = backup::choose(&folder, until)?;
    eprintln!("restoring from backup {} into {}", manifest.id, data.display());
    match (manifest.local, manifest.servers.as_slice()) {
        (true, [server]) => {
            let restored = restore_local(&folder, &manifest, server, until, &data).await?;
            restored.print(context, until)
        }
        _ => restore_servers(context, &folder, &manifest, until, &data).await,
    }
}

/// Never over what is there.
fn new_folder(context: &Context) -> Result<PathBuf, Failure> {
    let DataFolder::Explicit(asked) = &context.folder else {
        return Err(Failure::usage("where shall it be restored to?").with_remedy("name a new folder with --data DIR"));
    };
    let empty = std::fs::read_dir(asked).map_or(true, |mut entries| entries.next().is_none());
    if !empty {
        return Err(Failure::usage(format!("{} is not empty", asked.display()))
            .with_remedy("nothing is restored over what is there: name a new folder with --data DIR"));
    }
    Ok(local_postgres::locate(&context.folder)?.data)
}

/// A local platform, open again.
struct Restored {
    backup: String,
    shards: Vec<Shard>,
    /// Slots whose read models have seen more than the log has.
    ahead: BTreeSet<Slot>,
}

struct Shard {
    events: i64,
    reopened: Reopened,
}

async fn restore_local(
    folder: &Folder,
    manifest: &Manifest,
    server: &ServerRecord,
    until: Until,
    data: &Path,
) -> Result<Restored, Failure> {
    let running = backup::recover(folder, manifest, server, until, data).await?;
    let opened = open_again(folder, manifest, server, &running).await;
    running.stop().await?;
    if let Some(secret) = signing::secret_file(data)
        .file_name()
        .and_then(|name| folder.key(&manifest.id, name.to_str()?))
    {
        let unwritten = |error| {
            Failure::failed(format!(
                "cannot write the signing secret in {}: {error}",
                data.display()
            ))
        };
        private_file::create_if_absent(&signing::secret_file(data), &secret).map_err(unwritten)?;
    }
    opened
}

/// Compares the shards with each other, with the read models and with the newest backup, and gives
/// their slots new incarnations.
async fn open_again(
    folder: &Folder,
    manifest: &Manifest,
    server: &ServerRecord,
    running: &Server,
) -> Result<Restored, Failure> {
    let mut shards = Vec::new();
    let mut seen = Vec::new();
    for database in &server.databases {
        match database.kind {
            DatabaseKind::Shard(id) => shards.push(ShardOptions {
                id: ShardId(id),
                url: running.url(&database.database),
            }),
            DatabaseKind::ReadStore(_) => seen.extend(checkpoints(&running.url(&database.database)).await?),
            DatabaseKind::Control => {}
        }
    }
    let newest = folder.manifests()?.pop();
    let mut known = newest.as_ref().map(heads).unwrap_or_default();
    known.extend(&seen);
    let mut control = connect(&running.url("control")).await?;
    let mut restored = Restored {
        backup: manifest.id.clone(),
        shards: Vec::new(),
        ahead: BTreeSet::new(),
    };
    for shard in &shards {
        readdress(&mut control, shard).await?;
        let asked = Reopen {
            shard: shard.id,
            shards: &shards,
            unreachable: Unreachable::Refuse,
            known: &known,
        };
        let reopened = event_store::restored(&mut control, &asked)
            .await
            .map_err(Failure::failed)?;
        let ahead = reopened.lost.iter().filter(|lost| seen.contains(&lost.known));
        restored.ahead.extend(ahead.map(|lost| lost.known.slot));
        let mut connection = connect(&shard.url).await?;
        let events = sqlx::query_scalar("SELECT count(*) FROM events JOIN slots USING (slot) WHERE owned");
        let events = events.fetch_one(&mut connection).await.map_err(Failure::failed)?;
        restored.shards.push(Shard { events, reopened });
    }
    Ok(restored)
}

/// A shard that was added while the platform ran has its address in the control database. What was
/// restored with it is still that of the platform that was backed up, which may be running: orders
/// of the restored one must not go there.
async fn readdress(control: &mut PgConnection, shard: &ShardOptions) -> Result<(), Failure> {
    sqlx::query("UPDATE shards SET url = $2 WHERE shard_id = $1 AND url IS NOT NULL")
        .bind(shard.id.0)
        .bind(&shard.url)
        .execute(control)
        .await
        .map_err(Failure::failed)?;
    Ok(())
}

async fn connect(url: &str) -> Result<PgConnection, Failure> {
    PgConnection::connect(url).await.map_err(Failure::failed)
}

/// Where slots ended when a backup began.
fn heads(manifest: &Manifest) -> Vec<PositionToken> {
    let databases = manifest.servers.iter().flat_map(|server| &server.databases);
    let heads = databases
        .filter_map(|it| it.shard.as_ref())
        .flat_map(|shard| &shard.heads);
    let token = |slot: i16, incarnation: i32, position: i64| {
        Some(PositionToken {
            slot: Slot(u16::try_from(slot).ok()?),
            incarnation: Incarnation(incarnation),
            slot_position: SlotPosition(position),
        })
    };
    heads
        .filter(|(_, head)| head.owned)
        .filter_map(|(slot, head)| token(*slot, head.incarnation, head.slot_position))
        .collect()
}

/// How far the read models have seen each slot.
async fn checkpoints(url: &str) -> Result<Vec<PositionToken>, Failure> {
    let mut connection = connect(url).await?;
    let rows: Vec<(i32, i32, i64)> = sqlx::query_as(
        "SELECT slot::int, incarnation, max(slot_position) FROM meta.checkpoints \
          WHERE slot_position > 0 GROUP BY slot, incarnation",
    )
    .fetch_all(&mut connection)
    .await
    .map_err(Failure::failed)?;
    let token = |(slot, incarnation, position)| {
        Some(PositionToken {
            slot: Slot(u16::try_from(slot).ok()?),
            incarnation: Incarnation(incarnation),
            slot_position: SlotPosition(position),
        })
    };
    Ok(rows.into_iter().filter_map(token).collect())
}

impl Shard {
    /// By slot: the furthest position known elsewhere, and the last that is here.
    fn lost(&self) -> BTreeMap<u16, (i64, i64)> {
        let mut lost = BTreeMap::new();
        for ahead in &self.reopened.lost {
            let known = ahead.known.slot_position.0;
            let entry = lost.entry(ahead.known.slot.0).or_insert((known, ahead.agreed.0));
            entry.0 = entry.0.max(known);
            entry.1 = entry.1.min(ahead.agreed.0);
        }
        lost
    }

    fn owned(&self) -> usize {
        self.reopened.slots.iter().filter(|slot| slot.owned).count()
    }

    fn incarnation(&self) -> i32 {
        self.reopened
            .slots
            .iter()
            .map(|slot| slot.now.0)
            .max()
            .unwrap_or_default()
    }

    fn to_json(&self) -> Value {
        let lost = self.lost();
        let lost = lost
            .iter()
            .map(|(slot, (seen, kept))| json!({"slot": slot, "seen": seen, "kept": kept, "lost": seen - kept}));
        json!({
            "shard": self.reopened.shard.0, "slots": self.owned(), "events": self.events,
            "incarnation": self.incarnation(), "lost": lost.collect::<Vec<_>>(),
        })
    }
}

impl Restored {
    fn print(&self, context: &Context, until: Until) -> Result<Exit, Failure> {
        let lost: usize = self.shards.iter().map(|shard| shard.lost().len()).sum();
        if matches!(context.format, Format::Json | Format::Ndjson) {
            let shards: Vec<Value> = self.shards.iter().map(Shard::to_json).collect();
            let ahead: Vec<u16> = self.ahead.iter().map(|slot| slot.0).collect();
            context.print_json(&json!({"backup": self.backup, "shards": shards, "read_models_ahead": ahead}))?;
        } else {
            let mut table = Table::new(["shard", "slots", "events", "incarnation", "slots_with_lost_events"]);
            for shard in &self.shards {
                table.row([
                    shard.reopened.shard.to_string(),
                    shard.owned().to_string(),
                    shard.events.to_string(),
                    shard.incarnation().to_string(),
                    shard.lost().len().to_string(),
                ]);
            }
            context.print_table(&table)?;
        }
        for (slot, (seen, kept)) in self.shards.iter().flat_map(Shard::lost) {
            eprintln!(
                "later: slot {slot}: {} events behind position {kept} were known",
                seen - kept
            );
        }
        if !self.ahead.is_empty() {
            eprintln!(
                "note: the read models have seen more than the log of {} slots; run `comanda projections rebuild --all`",
                self.ahead.len()
            );
        }
        eprintln!("start it with `comanda up --data {}`", context.asked_for().display());
        Ok(if lost > 0 && until == Until::Latest {
            Exit::Partly
        } else {
            Exit::Done
        })
    }
}

/// Each server into a folder of its own, recovered and stopped.
async fn restore_servers(
    context: &Context,
    folder: &Folder,
    manifest: &Manifest,
    until: Until,
    data: &Path,
) -> Result<Exit, Failure> {
    let mut table = Table::new(["server", "databases", "folder"]);
    for server in &manifest.servers {
        let into = data.join(&server.server);
        backup::recover(folder, manifest, server, until, &into)
            .await?
            .stop()
            .await?;
        let databases: Vec<&str> = server.databases.iter().map(|it| it.name.as_str()).collect();
        let cluster = into.join("postgres/cluster");
        table.row([
            server.server.clone(),
            databases.join(" "),
            cluster.display().to_string(),
        ]);
    }
    context.print_table(&table)?;
    eprintln!(
        "each server stands at the same time by its own clock. Start PostgreSQL on these folders with your own \
         settings and addresses; give shards that were added with --url-file their new address with \
         `comanda shards add`, before anything else starts; then run `comanda shards restored --shard N` for every \
         shard, and \
         `comanda projections rebuild` where `comanda doctor` finds read models ahead of the log"
    );
    Ok(Exit::Done)
}
