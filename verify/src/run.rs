//! A whole run: which slots, several at a time, and what they come to together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::TenantId;
use event_store::{EventStore, Slot};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::digest::Digest;
use crate::error::Error;
use crate::examine::{Described, Examined, Examiner};
use crate::models::{self, Model};
use crate::report::{Difference, Kind, MAX_DIFFERENCES, Report};
use crate::target::Target;
use crate::tenants::Tenants;

/// Slots looked at at the same time where nobody says.
const WORKERS: usize = 4;

/// How much to look at, and how hard.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Only this tenant's rows, or everybody's.
    pub tenant: Option<TenantId>,
    /// Slots looked at at the same time; each takes one connection of the read store.
    pub workers: usize,
}

impl Default for Scope {
    /// Everybody's rows.
    fn default() -> Self {
        Self {
            tenant: None,
            workers: WORKERS,
        }
    }
}

impl Scope {
    /// One tenant's rows.
    pub fn of(tenant: TenantId) -> Self {
        Self {
            tenant: Some(tenant),
            ..Self::default()
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub slots_done: u64,
    pub slots: u64,
    pub rows: u64,
    pub events: u64,
    pub differences: u64,
}

/// Verifies generations against the log.
///
/// # Errors
/// Where the read store or the log cannot be read, a target names what there is not, or the log holds
/// events newer than this binary. What differs is no error.
pub async fn run(store: &EventStore, read_store: &PgPool, targets: &[Target], scope: &Scope) -> Result<Report, Error> {
    run_observed(store, read_store, targets, scope, &|_| {}).await
}

/// As [`run`], and tells how far it is after every slot.
///
/// # Errors
/// As [`run`].
pub async fn run_observed(
    store: &EventStore,
    read_store: &PgPool,
    targets: &[Target],
    scope: &Scope,
    observe: &(dyn Fn(&Progress) + Send + Sync),
) -> Result<Report, Error> {
    let with_models = |target: &Target| Ok((target.clone(), models::find(&target.read_model)?));
    let targets: Vec<(Target, &'static Model)> = targets.iter().map(with_models).collect::<Result<_, Error>>()?;
    let tenants = match &scope.tenant {
        Some(tenant) => Tenants::only(tenant),
        None => Tenants::of(read_store, &targets).await?,
    };
    let mut slots = tenants.by_slot;
    if scope.tenant.is_none() {
        for slot in begun_slots(read_store, &targets).await? {
            slots.entry(slot).or_default();
        }
    }
    let mut outcome = Outcome::default();
    outcome.of_nobody(&targets, tenants.none);
    let examiner = Arc::new(Examiner {
        store: store.clone(),
        read_store: read_store.clone(),
        targets,
        tenant: scope.tenant.clone(),
    });
    outcome.progress.slots = slots.len() as u64;
    let mut running = JoinSet::new();
    for (slot, tenants) in slots {
        if running.len() >= scope.workers.max(1) {
            outcome.take(running.join_next().await, observe)?;
        }
        let examiner = Arc::clone(&examiner);
        running.spawn(async move { examiner.examine(slot, tenants).await });
    }
    while !running.is_empty() {
        outcome.take(running.join_next().await, observe)?;
    }
    Ok(outcome.report())
}

/// Slots that a target has read of, and those that lack their checkpoint.
async fn begun_slots(read_store: &PgPool, targets: &[(Target, &Model)]) -> Result<BTreeSet<Slot>, Error> {
    let mut begun = BTreeSet::new();
    for (target, _) in targets {
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "SELECT slot, slot_position FROM meta.checkpoints WHERE read_model = $1 AND generation = $2",
        )
        .bind(&target.read_model)
        .bind(target.generation)
        .fetch_all(read_store)
        .await?;
        let known: HashMap<i32, i64> = rows.into_iter().collect();
        begun.extend(Slot::all().filter(|slot| known.get(&i32::from(slot.0)) != Some(&0)));
    }
    Ok(begun)
}

#[derive(Debug, Default)]
struct Outcome {
    report: Report,
    progress: Progress,
    tenants: BTreeSet<TenantId>,
    described: Vec<Described>,
}

type Finished = Option<Result<Result<Examined, Error>, tokio::task::JoinError>>;

impl Outcome {
    fn take(&mut self, finished: Finished, observe: &(dyn Fn(&Progress) + Send + Sync)) -> Result<(), Error> {
        let Some(examined) = finished else { return Ok(()) };
        let examined = examined??;
        self.report.slots += 1;
        self.report.rows += examined.rows;
        self.report.events += examined.events;
        self.report.omitted += examined.omitted;
        self.report.fingerprints.extend(examined.fingerprints);
        self.tenants.extend(examined.tenants);
        self.progress.differences += examined.differences.len() as u64 + examined.omitted;
        let room = MAX_DIFFERENCES.saturating_sub(self.described.len());
        self.report.omitted += examined.differences.len().saturating_sub(room) as u64;
        self.described.extend(examined.differences.into_iter().take(room));
        self.progress.slots_done += 1;
        self.progress.rows = self.report.rows;
        self.progress.events = self.report.events;
        observe(&self.progress);
        Ok(())
    }

    /// Rows under what can be no tenant.
    fn of_nobody(&mut self, targets: &[(Target, &Model)], rows: BTreeSet<(usize, &'static str, String)>) {
        for (target, table, tenant) in rows {
            let target = &targets[target].0;
            self.described.push(Described::without_row(Difference {
                read_model: target.read_model.clone(),
                generation: target.generation,
                slot: None,
                table,
                tenant,
                key: vec![],
                kind: Kind::Extra,
                why: Some("no tenant can be called so; all its rows of the table".to_owned()),
            }));
        }
    }

    fn report(mut self) -> Report {
        self.report.tenants = self.tenants.len() as u64;
        let mut differences = moved_rows(self.described);
        differences.sort_by(|a, b| {
            let place = |it: &Difference| {
                (
                    it.read_model.clone(),
                    it.generation,
                    it.slot,
                    it.table,
                    it.tenant.clone(),
                )
            };
            place(a).cmp(&place(b)).then_with(|| a.key.cmp(&b.key))
        });
        self.report.differences = differences;
        self.report
    }
}

/// A row that is missing of one tenant and too many of another, the same to the last column, is one
/// difference: it stands under the wrong tenant.
fn moved_rows(described: Vec<Described>) -> Vec<Difference> {
    let mut missing: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, it) in described.iter().enumerate() {
        if it.difference.kind == Kind::Missing
            && let Some(place) = content(it)
        {
            missing.entry(place).or_default().push(index);
        }
    }
    let mut gone = BTreeSet::new();
    let mut owners: BTreeMap<usize, TenantId> = BTreeMap::new();
    for (index, it) in described.iter().enumerate() {
        if it.difference.kind == Kind::Extra
            && let Some(place) = content(it)
            && let Some(from) = missing.get_mut(&place).and_then(Vec::pop)
            && let Ok(owner) = TenantId::new(&described[from].difference.tenant)
        {
            gone.insert(from);
            owners.insert(index, owner);
        }
    }
    let kept = described
        .into_iter()
        .enumerate()
        .filter(|(index, _)| !gone.contains(index));
    kept.map(|(index, it)| match owners.remove(&index) {
        Some(belongs_to) => Difference {
            kind: Kind::OtherTenant { belongs_to },
            why: Some("the log makes the same row under that tenant, where it is missing".to_owned()),
            ..it.difference
        },
        None => it.difference,
    })
    .collect()
}

/// Table, key and columns, without the tenant.
fn content(it: &Described) -> Option<(String, i32, &'static str, Vec<String>, Digest)> {
    let row = it.row.as_ref()?;
    let of = &it.difference;
    let columns = crate::digest::fixed(&row.columns);
    Some((of.read_model.clone(), of.generation, of.table, row.key.clone(), columns))
}
