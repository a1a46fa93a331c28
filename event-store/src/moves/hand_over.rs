//! Who owns the slot: what a move asks and changes of that once it is decided. Each can be tried again.

use sqlx::PgPool;

use super::record::Move;
use super::source::Standing;
use super::work::not_moved;
use super::{source, target};
use crate::error::Error;
use crate::ids::Slot;

/// Whether the source lost the fence and owns the slot again, and the target did not take it over. Then
/// [`opened`] refuses, whoever comes to it.
pub(super) async fn never_opened(source: &PgPool, target: &PgPool, slot: Slot) -> Result<bool, Error> {
    let (here, there) = tokio::try_join!(source::standing(source, slot), source::standing(target, slot))?;
    Ok(here.is_some_and(|here| here.owned && !here.outranked_by(there.as_ref())))
}

/// The target takes appends.
///
/// Between the fence and the end of a move, its source neither owns the slot nor knows a later move.
/// Where it does, opening the target would make a second owner.
pub(super) async fn opened(source: PgPool, target: PgPool, moving: Move, skip_fence: bool) -> Result<Standing, Error> {
    let slot = moving.slot;
    let standing = source::standing(&source, slot).await?;
    let standing = standing.ok_or_else(|| not_moved(&moving, "its source lost it"))?;
    let (branches, there) = tokio::try_join!(source::branches(&source, slot), source::standing(&target, slot))?;
    match (standing.owned, standing.outranked_by(there.as_ref())) {
        // An earlier try opened it, whatever the source has lost since.
        (false, true) => return Ok(standing),
        (true, true) if !skip_fence => {
            let why = "both its shards took it up: compare the source again with `comanda shards restored`, and go on \
                       with --resume";
            return Err(not_moved(&moving, why));
        }
        (owned, false) if (owned || standing.moved != moving.id.0) && !skip_fence => {
            let why = "its source took it up again, by a promotion, a restoration or a later move: take this move back \
                       with --undo if it is not ended";
            return Err(not_moved(&moving, why));
        }
        _ => {}
    }
    target::open(&target, &moving, &standing, &branches).await?;
    Ok(standing)
}

/// What the source has is a copy.
pub(super) async fn released(source: PgPool, moving: Move) -> Result<(), Error> {
    source::release(&source, moving.slot, moving.id).await
}

/// The source takes appends again.
pub(super) async fn reopened(source: PgPool, moving: Move) -> Result<(), Error> {
    source::unfence(&source, moving.slot, moving.id).await
}
