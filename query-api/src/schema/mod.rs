//! The GraphQL schema: types, and the resolvers that connect them with the reads.
//!
//! A resolver at the root makes the typed selection, checks the arguments and calls one read; what
//! lies below it is in memory already. No schema extension is installed: any of them takes
//! async-graphql off its fast path for every field.

mod catalogue;
mod connection;
mod enums;
mod money;
mod order;
mod query;
mod sales;
mod scalars;

use async_graphql::{EmptyMutation, EmptySubscription, Result, SDLExportOptions};

use crate::error::Error;

pub(crate) type Schema = async_graphql::Schema<query::Query, EmptyMutation, EmptySubscription>;

pub(crate) fn schema() -> Schema {
    // The limits are judged before execution (see `limits`). Suggestions would walk every type's
    // fields for each misspelt one.
    Schema::build(query::Query, EmptyMutation, EmptySubscription)
        .limit_recursive_depth(100)
        .disable_suggestions()
        .finish()
}

/// The schema in GraphQL's schema language, as committed in `query-api/schema.graphql`.
pub fn sdl() -> String {
    schema().sdl_with_options(SDLExportOptions::new().include_specified_by())
}

/// A column that the selection has read. That one is missing would be a mistake of the plan.
fn read<T>(column: &Option<T>) -> Result<&T> {
    column
        .as_ref()
        .ok_or_else(|| internal("a selected column was not read"))
}

/// A stored name that this binary knows.
fn known<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| internal("a stored name is not known to this binary"))
}

/// A count as GraphQL's 32-bit Int.
fn int(value: i64) -> Result<i32> {
    i32::try_from(value).map_err(|_| internal("a number is beyond 32 bits"))
}

fn internal(what: &str) -> async_graphql::Error {
    let error = Error::Row(what.to_owned());
    tracing::error!(error = &error as &dyn std::error::Error, "a field failed");
    error.for_client()
}
