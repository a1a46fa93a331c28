//! One slot: every target's rows in one snapshot, and the log folded to their checkpoints.
//!
//! The snapshot ends before the log is read, so it is never held longer than it takes to read the
//! slot's rows. Where rows differ, a second look describes them as they stand by then.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use domain::{DecodeError, StreamId, TenantId};
use event_store::{EventStore, Incarnation, PositionToken, RecordedEvent, Slot, SlotPosition};
use sqlx::PgPool;

use crate::digest::RowKey;
use crate::error::Error;
use crate::explain;
use crate::matcher::Matcher;
use crate::models::{Fold, Model, Occurred};
use crate::report::{Difference, Fingerprint, Kind};
use crate::snapshot::{self, Snapshot};
use crate::table::{Holds, Row};
use crate::target::Target;

/// Events per reading of the log.
const PAGE: usize = 2_000;
/// How often a slot is begun anew: a standby may cancel a snapshot, a move take the slot away.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// All or nothing from here on, and nothing written.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(crate) struct Examiner {
    pub(crate) store: EventStore,
    pub(crate) read_store: PgPool,
    pub(crate) targets: Vec<(Target, &'static Model)>,
    /// Only this tenant's rows and events.
    pub(crate) tenant: Option<TenantId>,
}

/// What was found in one slot.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    pub(crate) tenants: BTreeSet<TenantId>,
    pub(crate) rows: u64,
    pub(crate) events: u64,
    pub(crate) differences: Vec<Described>,
    pub(crate) omitted: u64,
    pub(crate) fingerprints: BTreeMap<(String, TenantId), Fingerprint>,
}

/// A difference, and the row that it speaks of, by which a row of another tenant is recognised.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) difference: Difference,
    pub(crate) row: Option<Box<Row>>,
}

impl Described {
    pub(crate) fn without_row(difference: Difference) -> Self {
        Self { difference, row: None }
    }
}

/// One target of the slot being looked at.
pub(crate) struct Look {
    pub(crate) target: Target,
    pub(crate) model: &'static Model,
    pub(crate) snapshot: Snapshot,
    pub(crate) fold: Box<dyn Fold>,
    rows: Matcher,
    /// Streams whose events make no rows from somewhere on, though they are not parked.
    stopped: HashSet<StreamId>,
    pub(crate) differences: Vec<Difference>,
    /// The rows cannot be compared: the log does not go as far as they do.
    incomparable: bool,
}

impl Examiner {
    /// Looks at a slot, and looks again where something passing came in between.
    pub(crate) async fn examine(&self, slot: Slot, tenants: BTreeSet<TenantId>) -> Result<Examined, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.examine_once(slot, tenants.clone()).await {
                Err(error) if attempts < ATTEMPTS && is_passing(&error) => tokio::time::sleep(PAUSE).await,
                Err(Error::ReadStore(source)) if Error::is_cancelled_snapshot(&source) => {
                    return Err(Error::Cancelled { slot, source });
                }
                result => return result,
            }
        }
    }

    async fn examine_once(&self, slot: Slot, mut tenants: BTreeSet<TenantId>) -> Result<Examined, Error> {
        let nothing = vec![HashSet::new(); self.targets.len()];
        let (looks, events) = self.look(slot, &mut tenants, nothing).await?;
        let mut examined = Examined {
            events,
            ..Examined::default()
        };
        let mut wanted = Vec::with_capacity(looks.len());
        for look in looks {
            examined.rows += look.snapshot.rows;
            examined.tenants.extend(look.snapshot.fingerprints.keys().cloned());
            let name = look.target.read_model.clone();
            let prints = look.snapshot.fingerprints.iter();
            examined
                .fingerprints
                .extend(prints.map(|(tenant, print)| ((name.clone(), tenant.clone()), *print)));
            examined
                .differences
                .extend(look.differences.into_iter().map(Described::without_row));
            let mut keys = HashSet::new();
            if !look.incomparable {
                let matched = look.rows.finish();
                examined.omitted += matched.omitted;
                keys.extend(matched.differing.iter().map(|differing| differing.key));
            }
            wanted.push(keys);
        }
        if wanted.iter().any(|keys| !keys.is_empty()) {
            self.describe(slot, &mut tenants, wanted, &mut examined).await?;
        }
        Ok(examined)
    }

    /// The second look, at rows that the first one found to differ.
    async fn describe(
        &self,
        slot: Slot,
        tenants: &mut BTreeSet<TenantId>,
        wanted: Vec<HashSet<RowKey>>,
        examined: &mut Examined,
    ) -> Result<(), Error> {
        let (looks, _) = self.look(slot, tenants, wanted.clone()).await?;
        for (mut look, wanted) in looks.into_iter().zip(wanted) {
            if look.incomparable {
                examined.omitted += wanted.len() as u64;
                continue;
            }
            let matched = std::mem::take(&mut look.rows).finish();
            let explained = explain::explain(&look, slot, wanted, matched);
            examined.differences.extend(explained.described);
            examined.omitted += explained.omitted;
        }
        Ok(())
    }

    /// Reads the rows and folds the log to them. Begins again where the log knows of tenants whose rows
    /// were not read.
    async fn look(
        &self,
        slot: Slot,
        tenants: &mut BTreeSet<TenantId>,
        wanted: Vec<HashSet<RowKey>>,
    ) -> Result<(Vec<Look>, u64), Error> {
        loop {
            let mut looks = self.read_rows(slot, tenants, &wanted).await?;
            let known = tenants.len();
            let events = self.fold_log(slot, &mut looks, tenants).await?;
            if tenants.len() == known {
                looks
                    .iter_mut()
                    .for_each(|look| look.settle(slot, self.tenant.is_none()));
                return Ok((looks, events));
            }
        }
    }

    async fn read_rows(
        &self,
        slot: Slot,
        tenants: &BTreeSet<TenantId>,
        wanted: &[HashSet<RowKey>],
    ) -> Result<Vec<Look>, Error> {
        let mut transaction = self.read_store.begin_with(BEGIN).await?;
        let mut looks = Vec::with_capacity(self.targets.len());
        for ((target, model), wanted) in self.targets.iter().zip(wanted) {
            let (mut fold, mut rows) = ((model.fold)(), Matcher::wanting(wanted.clone()));
            let of = (target, *model);
            let snapshot = snapshot::read(&mut transaction, of, slot, tenants, fold.as_mut(), &mut rows).await?;
            looks.push(Look {
                target: target.clone(),
                model,
                snapshot,
                fold,
                rows,
                stopped: HashSet::new(),
                differences: vec![],
                incomparable: false,
            });
        }
        transaction.rollback().await?;
        Ok(looks)
    }

    /// Folds the log to each look's checkpoint, and adds the tenants that have to have rows. Gives how
    /// many events.
    async fn fold_log(&self, slot: Slot, looks: &mut [Look], tenants: &mut BTreeSet<TenantId>) -> Result<u64, Error> {
        let furthest = looks.iter().map(Look::at).max().unwrap_or_default();
        let (mut at, mut incarnation, mut events) = (SlotPosition(0), None, 0);
        while at < furthest {
            let page = self.store.read_slot(slot, at, PAGE).await?;
            let Some(last) = page.last() else { break };
            at = last.slot_position;
            incarnation = Some(last.incarnation);
            for recorded in page.iter().filter(|event| event.slot_position <= furthest) {
                let tenant = recorded.stream.tenant();
                if self.tenant.as_ref().is_some_and(|only| only != tenant) {
                    continue;
                }
                events += 1;
                if apply(looks, slot, recorded)? && !tenants.contains(tenant) {
                    tenants.insert(tenant.clone());
                }
            }
        }
        self.judge_checkpoints(slot, looks, at, incarnation).await?;
        Ok(events)
    }

    /// Whether the log goes as far as the checkpoints, in their incarnations.
    async fn judge_checkpoints(
        &self,
        slot: Slot,
        looks: &mut [Look],
        end: SlotPosition,
        incarnation: Option<Incarnation>,
    ) -> Result<(), Error> {
        for look in looks {
            let Some(checkpoint) = look.snapshot.checkpoint else {
                continue;
            };
            let position = checkpoint.slot_position;
            if position.0 == 0 || (position <= end && Some(checkpoint.incarnation) == incarnation) {
                continue;
            }
            let history = self.store.history(self.store.shard_of(slot)?).await?;
            let now = incarnation.unwrap_or(checkpoint.incarnation);
            let agreed = history.agreed(PositionToken {
                slot,
                incarnation: checkpoint.incarnation,
                slot_position: position,
            });
            // Unknown where the slot has just moved elsewhere; then it is looked at again there.
            let agreed = agreed.ok_or(event_store::Error::NotOwned { slot })?.min(end);
            let unheard_of = checkpoint.incarnation > now;
            if position > agreed || unheard_of {
                let why = if unheard_of {
                    format!(
                        "it is of incarnation {}, and the log is in {now}",
                        checkpoint.incarnation
                    )
                } else if checkpoint.incarnation < now {
                    format!(
                        "it is of incarnation {}, and what that one had beyond was lost before {now}: rebuild",
                        checkpoint.incarnation
                    )
                } else {
                    "the log ends before it: the read model has read another log, or the checkpoint was changed"
                        .to_owned()
                };
                let kind = Kind::CheckpointAhead {
                    checkpoint: position,
                    agreed,
                };
                look.incomparable = true;
                look.checkpoint_difference(slot, kind, Some(why));
            }
        }
        Ok(())
    }
}

fn is_passing(error: &Error) -> bool {
    match error {
        Error::ReadStore(error) => Error::is_cancelled_snapshot(error),
        Error::Log(event_store::Error::NotOwned { .. } | event_store::Error::Unavailable { .. }) => true,
        _ => false,
    }
}

/// Whether any of the read models has rows of it.
fn apply(looks: &mut [Look], slot: Slot, recorded: &RecordedEvent) -> Result<bool, Error> {
    let (mut decoded, mut concerns) = (None, false);
    for look in looks {
        let reads = look.model.reads == recorded.stream.kind();
        if !reads || recorded.slot_position > look.at() || look.is_held_back(recorded) {
            continue;
        }
        concerns = true;
        let event = decoded.get_or_insert_with(|| recorded.decode());
        let applied = match event {
            Ok(event) => look.fold.apply(&Occurred { recorded, event }, &mut look.rows),
            Err(DecodeError::Malformed { reason, .. }) => Err(reason.clone()),
            Err(DecodeError::Newer { .. }) => {
                return Err(Error::NewerEvent {
                    slot,
                    slot_position: recorded.slot_position,
                    stream: recorded.stream.clone(),
                });
            }
        };
        if let Err(why) = applied {
            look.stop(slot, recorded, why);
        }
    }
    Ok(concerns)
}

impl Look {
    pub(crate) fn at(&self) -> SlotPosition {
        self.snapshot
            .checkpoint
            .map_or(SlotPosition(0), |checkpoint| checkpoint.slot_position)
    }

    /// Whether the event waits behind a parked stream; then it has to be among the parked ones.
    fn is_held_back(&mut self, recorded: &RecordedEvent) -> bool {
        let Some(parked) = self.snapshot.parked(&recorded.stream) else {
            return self.stopped.contains(&recorded.stream);
        };
        if recorded.sequence < parked.first {
            return false;
        }
        if !parked.dropped {
            let (table, stream) = (self.model.tables.len() - 1, &recorded.stream);
            let row = Row {
                table,
                tenant: stream.tenant().to_string(),
                key: vec![
                    stream.kind().as_str().to_owned(),
                    stream.aggregate_id().to_owned(),
                    recorded.sequence.to_string(),
                ],
                columns: vec![
                    Some(recorded.slot.to_string()),
                    Some(recorded.slot_position.to_string()),
                ],
                note: Some(format!("the stream is parked from sequence {} on", parked.first)),
            };
            let digest = row.digest(&self.model.tables[table]);
            self.rows.expect(row.row_key(), digest, || row);
        }
        true
    }

    fn stop(&mut self, slot: Slot, recorded: &RecordedEvent, why: String) {
        self.stopped.insert(recorded.stream.clone());
        let table = self.model.tables.iter().find(|table| table.holds == Holds::Stream);
        self.differences.push(Difference {
            read_model: self.target.read_model.clone(),
            generation: self.target.generation,
            slot: Some(slot),
            table: table.map_or("parked_streams", |table| table.name),
            tenant: recorded.stream.tenant().to_string(),
            key: vec![("stream", recorded.stream.to_string())],
            kind: Kind::NotParked {
                sequence: recorded.sequence,
            },
            why: Some(why),
        });
    }

    fn checkpoint_difference(&mut self, slot: Slot, kind: Kind, why: Option<String>) {
        self.differences.push(Difference {
            read_model: self.target.read_model.clone(),
            generation: self.target.generation,
            slot: Some(slot),
            table: "checkpoints",
            tenant: String::new(),
            key: vec![("slot", slot.to_string())],
            kind,
            why,
        });
    }

    /// Gives the matcher all that is left to be expected, and looks at what no table holds.
    fn settle(&mut self, slot: Slot, whole_slot: bool) {
        self.fold.finish(&mut self.rows);
        match self.snapshot.checkpoint {
            None => {
                self.incomparable = true;
                self.checkpoint_difference(slot, Kind::CheckpointMissing, None);
            }
            Some(checkpoint) if whole_slot && checkpoint.parked != self.snapshot.parked_in_slot => {
                let kind = explain::one_column("parked", self.snapshot.parked_in_slot, checkpoint.parked);
                let why = "as many streams are parked in the slot; where it says none, projectors do not look";
                self.checkpoint_difference(slot, kind, Some(why.to_owned()));
            }
            Some(_) => {}
        }
        let streams = self.snapshot.parked.iter();
        let elsewhere = streams.filter(|(_, parked)| parked.slot != i32::from(slot.0));
        let found: Vec<Difference> = elsewhere
            .map(|((kind, id), parked)| explain::parked_elsewhere(&self.target, slot, (kind, id), parked.slot))
            .collect();
        self.differences.extend(found);
    }
}
