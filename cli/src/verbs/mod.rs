//! One file per verb.

pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod orders;
pub(crate) mod token;
pub(crate) mod up;
