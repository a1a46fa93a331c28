//! What every process shares: settings, authentication, problem documents, telemetry, health,
//! serving HTTP and stopping in order. Nothing here knows what an order is.

pub mod auth;
pub mod edge;
pub mod extract;
pub mod health;
pub mod http;
pub mod json;
pub mod problem;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use auth::{Principal, Scope, TenantScope, Verifier};
pub use problem::Problem;
pub use settings::Settings;
pub use shutdown::Shutdown;
