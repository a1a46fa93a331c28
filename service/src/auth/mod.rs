//! Who is asking, and what for: bearer tokens (JWT, RFC 7519) verified offline.
//!
//! A token is accepted only where everything holds: it is signed by a configured key with that
//! key's one algorithm, is neither expired nor early, was issued by and for whom the settings say,
//! and names a valid tenant. What a token says about its own key (`jku`, `jwk`, `x5u`, `x5c`) is
//! never looked at; a `crit` header is refused, for no extension is understood.
//!
//! Claims:
//!
//! | claim | |
//! |---|---|
//! | `iss`, `aud`, `exp` | required, checked; `nbf` checked where present |
//! | `sub` | required: who acts, stored with every event as its actor |
//! | `tenant` | required: the one tenant whose data the token reaches |
//! | `establishments` | array of ids; absent means all of the tenant's |
//! | `scope` | space-separated names (RFC 8693); names that are not ours are ignored, since one identity provider may serve several systems |

mod claims;
mod extract;
mod issuer;
mod jwks;
mod key;
mod principal;
mod scope;
mod verifier;

pub use issuer::{Issuer, TokenRequest};
pub use principal::{Principal, TenantScope};
pub use scope::{Scope, UnknownScope};
pub use verifier::Verifier;

use crate::problem::{Problem, code};
use crate::settings::SettingsError;
use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

/// Why a token or a key is refused.
///
/// What is not known to come from our issuer gets one answer, [`AuthError::NotAccepted`], so that
/// trying tokens teaches nothing; the variants after it are reached only past a valid signature.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("no bearer token was sent")]
    Missing,
    #[error("the Authorization header is not one bearer token")]
    NotBearer,
    #[error("the token, its key or its signature is not accepted")]
    NotAccepted,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is from another issuer")]
    WrongIssuer,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the token's claims cannot be read: {0}")]
    Claims(String),
    #[error("{setting}: {problem}")]
    Key { setting: String, problem: String },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot sign the token")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::new(
                StatusCode::UNAUTHORIZED,
                code::UNAUTHENTICATED,
                "Send a token: `Authorization: Bearer <token>`.",
            )
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"comanda\"")),
            AuthError::NotBearer
            | AuthError::NotAccepted
            | AuthError::Expired
            | AuthError::NotYetValid
            | AuthError::WrongIssuer
            | AuthError::WrongAudience
            | AuthError::Claims(_) => invalid_token(&error),
            AuthError::Key { .. } | AuthError::Settings(_) | AuthError::Signing(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "authentication is misconfigured"
                );
                Self::internal()
            }
        }
    }
}

fn invalid_token(error: &AuthError) -> Problem {
    // A quoted string of the header; text from the token itself never reaches it.
    let reason = match error {
        AuthError::Claims(_) => "the token's claims cannot be read".to_owned(),
        other => other.to_string(),
    };
    let challenge = format!("Bearer realm=\"comanda\", error=\"invalid_token\", error_description=\"{reason}\"");
    let challenge = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    Problem::new(StatusCode::UNAUTHORIZED, code::INVALID_TOKEN, format!("{error}."))
        .with_header(WWW_AUTHENTICATE, challenge)
}
