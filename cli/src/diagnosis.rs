//! What is wrong with the platform, part by part, and what to do about it.

use std::fmt;

use migrations::SchemaError;
use serde::Serialize;
use service::Settings;
use service::auth::Verifier;
use service::settings::AuthSettings;

use crate::archiving::{ArchiveSlot, archive_slots};
use crate::blockers::Blocker;
use crate::databases::Databases;
use crate::overview::{Overview, ProcessView, ReadStoreView, ShardView, TopicView};

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    /// Works, and should not stay so.
    Warning,
    Wrong,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
        })
    }
}

/// One part, how it is, and what to do about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) part: String,
    pub(crate) verdict: Verdict,
    pub(crate) detail: String,
    pub(crate) remedy: &'static str,
}

impl Finding {
    fn ok(part: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(part, Verdict::Ok, detail, "")
    }

    fn warning(part: impl Into<String>, detail: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(part, Verdict::Warning, detail, remedy)
    }

    fn wrong(part: impl Into<String>, detail: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(part, Verdict::Wrong, detail, remedy)
    }

    fn new(part: impl Into<String>, verdict: Verdict, detail: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            part: part.into(),
            verdict,
            detail: detail.into(),
            remedy,
        }
    }
}

/// Looks at every part. `auth` is what tokens are checked with.
pub(crate) async fn diagnose(settings: &Settings, databases: &Databases, auth: &AuthSettings) -> Vec<Finding> {
    let (overview, mut findings) = tokio::join!(Overview::look(settings, databases), schemas(databases));
    findings.extend(overview.shards.iter().map(of_shard));
    findings.extend(of_slots(&overview.shards));
    findings.extend(
        overview
            .topic
            .iter()
            .flat_map(|topic| of_topic(topic, &overview.shards)),
    );
    findings.extend(overview.read_stores.iter().map(of_read_store));
    findings.extend(of_sessions(&overview));
    findings.extend(overview.processes.iter().flatten().map(of_process));
    findings.extend(archives(databases).await);
    findings.push(of_keys(auth));
    findings
}

async fn schemas(databases: &Databases) -> Vec<Finding> {
    let targets = databases.targets();
    let checks = targets.iter().map(|target| async move {
        let part = format!("schema of {}", target.name);
        match target.check().await {
            Ok(Ok(())) => Finding::ok(part, "current"),
            Ok(Err(problem @ SchemaError::Newer { .. })) => Finding::wrong(
                part,
                problem.to_string(),
                "run the newer comanda, or restore the older database",
            ),
            Ok(Err(problem)) => Finding::wrong(part, problem.to_string(), "run `comanda migrate`"),
            Err(problem) => Finding::wrong(part, problem.to_string(), "start the database, or correct its URL"),
        }
    });
    futures::future::join_all(checks).await
}

/// The archives that servers hold back log for. A server that is away is told of by its databases.
async fn archives(databases: &Databases) -> Vec<Finding> {
    let slots = archive_slots(databases).await;
    let finding = |slot: &ArchiveSlot| {
        let part = format!("archive {}", slot.name);
        let held_mb = slot.retained_bytes >> 20;
        match (slot.lost, slot.active) {
            (true, _) => Finding::wrong(
                part,
                "its server gave it up: it was too far behind",
                "start archiving again and take a backup with `comanda backup --to DIR`; then drop its slot",
            ),
            (false, false) => Finding::warning(
                part,
                format!("nobody writes it, and the server holds back {held_mb} MB of log for it"),
                "start what archives (backup.folder, or `comanda backup --archive`), or drop its slot",
            ),
            (false, true) => Finding::ok(part, format!("{held_mb} MB to go")),
        }
    };
    slots.iter().map(finding).collect()
}

fn of_shard(shard: &ShardView) -> Finding {
    let part = format!("shard {}", shard.shard);
    match (shard.state.as_str(), &shard.problem) {
        (_, Some(problem)) => Finding::wrong(
            part,
            problem.clone(),
            "start its server; its tenants are answered 503 until then",
        ),
        ("promoted", _) => Finding::wrong(
            part,
            "its standby was promoted and has not been compared yet",
            "run `comanda shards promote`; its tenants are answered 503 until then",
        ),
        ("restored", _) => Finding::wrong(
            part,
            "it was restored and has not been compared yet",
            "run `comanda shards restored`; its tenants are answered 503 until then",
        ),
        ("standby", _) => Finding::wrong(
            part,
            "its URL leads to a standby, which takes no events",
            "correct its URL, or promote the standby",
        ),
        _ if !shard.durable => Finding::wrong(
            part,
            "acknowledged events may be lost in a crash",
            "turn fsync, synchronous_commit and full_page_writes on in its server",
        ),
        _ => Finding::ok(part, format!("{} events, slots {}", shard.events, shard.slots)),
    }
}

/// Every slot must have an owner; while a shard is away, its slots cannot be judged.
fn of_slots(shards: &[ShardView]) -> Option<Finding> {
    if shards.iter().any(|shard| shard.problem.is_some()) {
        return None;
    }
    let owned: usize = shards.iter().map(|shard| shard.owned).sum();
    let all = usize::from(event_store::Slot::COUNT);
    Some(if owned == all {
        Finding::ok("slots", format!("all {all} have an owner"))
    } else {
        Finding::wrong(
            "slots",
            format!("{owned} of {all} are owned"),
            "name every shard in event_store.shards; finish a move that was left with `comanda shards move --resume`",
        )
    })
}

fn of_topic(topic: &TopicView, shards: &[ShardView]) -> Vec<Finding> {
    let part = format!("topic {}", topic.topic);
    let mut findings = vec![match &topic.problem {
        None => Finding::ok(part, format!("{} partitions", topic.partitions.len())),
        Some(problem) => Finding::wrong(
            part,
            problem.clone(),
            "start Kafka or correct [kafka]; orders are taken meanwhile, and reads grow stale",
        ),
    }];
    for shard in shards {
        let Some(published) = &shard.published else { continue };
        let part = format!("publishing shard {}", shard.shard);
        findings.push(match &published.relay {
            None => Finding::wrong(
                part,
                "no relay publishes it",
                "start a relay: `comanda relay --config FILE`",
            ),
            Some(relay) if published.lag_events > 10_000 => Finding::warning(
                part,
                format!("{} events are not in Kafka yet (relay {relay})", published.lag_events),
                "see the relay's log and metrics",
            ),
            Some(relay) => Finding::ok(part, format!("by {relay}, {} events to go", published.lag_events)),
        });
    }
    findings
}

fn of_read_store(store: &ReadStoreView) -> Finding {
    let part = match &store.standby {
        None => format!("read store {}", store.store),
        Some(standby) => format!("read store {}, standby {standby}", store.store),
    };
    if let Some(problem) = &store.problem {
        return Finding::wrong(
            part,
            problem.clone(),
            "start its server; queries are answered from the others",
        );
    }
    if store.slots_ahead > 0 {
        let detail = format!("{} slots were read beyond the end of the log", store.slots_ahead);
        return Finding::wrong(part, detail, "rebuild its read models");
    }
    if store.parked_streams > 0 {
        let detail = format!("{} streams are parked", store.parked_streams);
        return Finding::warning(part, detail, "look at them and have them retried");
    }
    if store.lag_events > 10_000 {
        let detail = format!("{} events behind the log", store.lag_events);
        return Finding::warning(part, detail, "wait while it catches up; else see the projectors' logs");
    }
    Finding::ok(part, format!("{} events behind the log", store.lag_events))
}

/// Whatever keeps a feed or an append waiting, by name.
fn of_sessions(overview: &Overview) -> Vec<Finding> {
    let shards = overview
        .shards
        .iter()
        .map(|shard| (format!("sessions of shard {}", shard.shard), &shard.blockers));
    let stores = overview.read_stores.iter().map(|store| {
        let standby = store.standby.iter().map(|name| format!(", standby {name}"));
        let part = format!("sessions of read store {}", store.store);
        (standby.fold(part, |part, name| part + &name), &store.blockers)
    });
    let blockers = shards.chain(stores).flat_map(|(part, blockers)| {
        let finding = move |blocker: &Blocker| {
            let detail = blocker.detail();
            match blocker.waiting {
                0 => Finding::warning(part.clone(), detail, "run long queries on a standby"),
                _ => Finding::wrong(
                    part.clone(),
                    detail,
                    "have its owner end it, or run `SELECT pg_terminate_backend(PID)` there",
                ),
            }
        };
        blockers.iter().map(finding)
    });
    blockers.collect()
}

fn of_process(process: &ProcessView) -> Finding {
    let part = format!("{} {}", process.role, process.name);
    match process.state.as_str() {
        "ok" => Finding::ok(part, process.url.clone()),
        "degraded" => Finding::warning(part, process.problems.join("; "), "see what each part asks for"),
        "gone" => Finding::warning(
            part,
            "not heard of any more, and ended without a clean stop",
            "start another if it is missed; this line goes by itself",
        ),
        "unreachable" => Finding::wrong(
            part,
            "is there, but does not answer from here",
            "check the network between, or whether it hangs",
        ),
        _ => Finding::wrong(part, process.problems.join("; "), "see what each part asks for"),
    }
}

fn of_keys(auth: &AuthSettings) -> Finding {
    match Verifier::new(auth) {
        Ok(_) => Finding::ok("token keys", "can be read"),
        Err(error) => Finding::wrong("token keys", error.to_string(), "correct [auth] in the settings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(state: &str) -> ShardView {
        ShardView {
            shard: 3,
            state: state.to_owned(),
            problem: None,
            slots: "0-1023".to_owned(),
            owned: 1024,
            events: 7,
            incarnation: 1,
            standbys: 0,
            durable: true,
            published: None,
            blockers: vec![],
        }
    }

    #[test]
    fn given_a_shard_that_takes_no_events_then_it_is_wrong_and_the_remedy_is_named() {
        assert_eq!(of_shard(&shard("open")).verdict, Verdict::Ok);
        for state in ["promoted", "restored", "standby"] {
            let finding = of_shard(&shard(state));
            assert_eq!(finding.verdict, Verdict::Wrong, "{state}");
            assert!(!finding.remedy.is_empty());
        }
        let fragile = ShardView {
            durable: false,
            ..shard("open")
        };
        assert_eq!(of_shard(&fragile).verdict, Verdict::Wrong);
    }

    #[test]
    fn given_slots_without_owner_then_it_is_wrong_unless_a_shard_is_away() {
        assert_eq!(of_slots(&[shard("open")]).unwrap().verdict, Verdict::Ok);
        let half = ShardView {
            owned: 513,
            ..shard("open")
        };
        let finding = of_slots(std::slice::from_ref(&half)).unwrap();
        assert_eq!(
            (finding.verdict, finding.detail.as_str()),
            (Verdict::Wrong, "513 of 1024 are owned")
        );
        let away = ShardView {
            problem: Some("gone".to_owned()),
            ..half
        };
        assert_eq!(of_slots(&[away]), None);
    }
}
