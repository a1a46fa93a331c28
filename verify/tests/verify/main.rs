//! Verifying read models that a real projector wrote, from a real log, in real databases.

mod defects;
mod healthy;
mod mutations;
mod parked;
mod support;
