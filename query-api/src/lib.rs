//! Read models to GraphQL: `/graphql`, and the explorer page that goes with it.
//!
//! A request's way: [`mod@http`] speaks HTTP, `api` takes one request from its parameters to its
//! answer, `limits` judges the document, `position` waits for the client's own writes, `schema`
//! holds the types and root resolvers, `plan` turns what is selected into typed columns, `reads`
//! holds the SQL, `session` runs it on one connection of one of the `stores`.
//!
//! Guarantees: a query reads its token's tenant and nothing else, whatever its arguments; it reads
//! only the columns it selects; its answer carries the position that its rows show; and a document
//! of any shape costs no more than the limits allow.

mod api;
mod cursor;
mod error;
mod generation;
mod history;
mod http;
mod id;
mod limits;
mod nulls;
mod plan;
mod position;
mod read_model;
mod reads;
mod schema;
mod session;
mod sql;
mod stores;

pub use crate::http::router;
pub use api::QueryApi;
pub use error::{Code, Error};
pub use generation::COMANDA_GENERATION;
pub use history::History;
pub use position::{COMANDA_POSITION, Progress};
pub use read_model::ReadModel;
pub use schema::sdl;
pub use stores::{PoolOptions, ReadStores, StoreHealth};
