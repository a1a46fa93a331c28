//! The lease and the cursor, by the database alone.

use std::time::Duration;

use event_store::{Position, ShardId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::log::Log;
use crate::cursor::{Attendance, Desk, Lease, Post};
use crate::error::Error;
use crate::published::{published, rewind};
use crate::settling::Proven;

const TOPIC: &str = "t";

fn desk(log: &Log, relay: u128) -> Desk {
    let post = Post {
        topic: TOPIC.to_owned(),
        relay: Uuid::from_u128(relay),
        name: format!("relay {relay}"),
        lease: Duration::from_secs(60),
        shard: ShardId(0),
        shards: log.store.shards_changed(),
    };
    Desk::new(post, &log.shards[0].url).unwrap()
}

/// A log that is long enough for every cursor here.
async fn log() -> Log {
    let log = Log::of(1).await;
    set(&mut log.shard(0).await, "UPDATE shard SET position = 1000").await;
    log
}

async fn set(shard: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sql).execute(shard).await.unwrap();
}

async fn held(desk: &mut Desk, lease: Option<&Lease>) -> Lease {
    match desk.attend(lease).await.unwrap() {
        Attendance::Held(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// As if their time were over.
async fn expire(shard: &mut PgConnection) {
    let sql = "UPDATE relay_cursors SET lease_until = '-infinity'; DELETE FROM relay_members";
    set(shard, sql).await;
}

#[tokio::test]
async fn a_lease_is_one_relays_until_it_gives_it_back_or_its_time_is_over() {
    let log = log().await;
    let (mut first, mut second, mut shard) = (desk(&log, 2), desk(&log, 1), log.shard(0).await);
    let lease = held(&mut first, None).await;
    assert_eq!(lease.position, Position(0));
    // The shard falls to the second by its id, and it waits for the first.
    assert_eq!(second.attend(None).await.unwrap(), Attendance::Awaited);
    assert!(matches!(
        first.attend(Some(&lease)).await.unwrap(),
        Attendance::HandOver(_)
    ));
    first.release(&lease).await.unwrap();
    let taken = held(&mut second, None).await;
    assert_eq!(first.attend(None).await.unwrap(), Attendance::Elsewhere);

    expire(&mut shard).await;
    let again = held(&mut first, None).await;
    assert!(matches!(second.attend(Some(&taken)).await, Err(Error::LeaseLost)));
    let name = published(&mut shard, TOPIC).await.unwrap().unwrap().holder;
    assert_eq!(name.as_deref(), Some("relay 2"));
    first.release(&again).await.unwrap();
    first.leave().await.unwrap();
    assert_eq!(published(&mut shard, TOPIC).await.unwrap().unwrap().holder, None);
}

#[tokio::test]
async fn only_the_holder_moves_the_cursor_and_only_forward() {
    let log = log().await;
    let (mut first, mut second, mut shard) = (desk(&log, 1), desk(&log, 2), log.shard(0).await);
    let mut lease = held(&mut first, None).await;
    first.advance(&mut lease, Position(7), None).await.unwrap();
    assert!(matches!(
        first.advance(&mut lease, Position(6), None).await,
        Err(Error::Shard { .. })
    ));
    assert_eq!(
        published(&mut shard, TOPIC).await.unwrap().unwrap().position,
        Position(7)
    );

    expire(&mut shard).await;
    let mut taken = held(&mut second, None).await;
    assert_eq!(taken.position, Position(7));
    second.advance(&mut taken, Position(9), None).await.unwrap();
    assert!(matches!(
        first.advance(&mut lease, Position(20), None).await,
        Err(Error::LeaseLost)
    ));
    assert_eq!(
        published(&mut shard, TOPIC).await.unwrap().unwrap().position,
        Position(9)
    );
}

#[tokio::test]
async fn a_loss_goes_back_to_what_had_settled() {
    let log = log().await;
    let (mut desk, mut shard) = (desk(&log, 1), log.shard(0).await);
    let mut lease = held(&mut desk, None).await;
    let settled = Proven {
        position: Position(5),
        ends: vec![3, 2],
    };
    desk.advance(&mut lease, Position(10), Some(&settled)).await.unwrap();
    desk.advance(&mut lease, Position(12), None).await.unwrap();
    assert_eq!(lease.settled_ends, vec![3, 2]);
    desk.rewind(&mut lease).await.unwrap();
    assert_eq!((lease.position, lease.settled_ends.len()), (Position(5), 0));
    let stored = published(&mut shard, TOPIC).await.unwrap().unwrap();
    assert_eq!((stored.position, stored.rewinds), (Position(5), 1));
}

#[tokio::test]
async fn an_operator_can_have_everything_published_again() {
    let log = log().await;
    let (mut desk, mut shard) = (desk(&log, 1), log.shard(0).await);
    assert_eq!(
        rewind(&mut shard, TOPIC, Position(0)).await.unwrap(),
        None,
        "never published"
    );
    let mut lease = held(&mut desk, None).await;
    desk.advance(&mut lease, Position(10), None).await.unwrap();
    assert_eq!(rewind(&mut shard, TOPIC, Position(4)).await.unwrap(), Some(Position(4)));
    assert_eq!(
        rewind(&mut shard, TOPIC, Position(400)).await.unwrap(),
        Some(Position(4)),
        "never forward"
    );
    assert!(matches!(
        desk.advance(&mut lease, Position(11), None).await,
        Err(Error::LeaseLost)
    ));
    assert_eq!(held(&mut desk, None).await.position, Position(4));
}

/// As a standby that was promoted, or a backup that was restored, at the same address: holder and
/// term are ours, and the rest is not what it was.
#[tokio::test]
async fn a_shard_that_is_not_as_it_was_left_is_taken_anew_at_the_stored_cursor() {
    for (set_back, stored) in [
        ("UPDATE relay_cursors SET position = 4, rewinds = rewinds + 1", 4),
        ("UPDATE shard SET position = 6", 6),
        ("UPDATE shard SET reopened = reopened + 1", 10),
    ] {
        let log = log().await;
        let (mut desk, mut shard) = (desk(&log, 1), log.shard(0).await);
        let mut lease = held(&mut desk, None).await;
        desk.advance(&mut lease, Position(10), None).await.unwrap();
        set(&mut shard, set_back).await;
        let moved = desk.advance(&mut lease, Position(11), None).await;
        assert!(matches!(moved, Err(Error::LeaseLost)), "{set_back}: {moved:?}");
        let kept = desk.attend(Some(&lease)).await;
        assert!(matches!(kept, Err(Error::LeaseLost)), "{set_back}: {kept:?}");
        let anew = held(&mut desk, None).await;
        assert_eq!(anew.position, Position(stored), "{set_back}");
        assert_eq!(held(&mut desk, Some(&anew)).await, anew, "{set_back}");
    }
}

#[tokio::test]
async fn a_move_whose_answer_was_lost_counts() {
    let log = log().await;
    let (mut desk, mut shard) = (desk(&log, 1), log.shard(0).await);
    let lease = held(&mut desk, None).await;
    set(&mut shard, "UPDATE relay_cursors SET position = 8").await;
    assert_eq!(held(&mut desk, Some(&lease)).await.position, Position(8));
}
