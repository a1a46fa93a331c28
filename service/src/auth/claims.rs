//! From a token's payload to a principal. Reached only past a valid signature.

use std::collections::BTreeSet;

use domain::{ActorId, EstablishmentId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::principal::{Facts, Validity};
use super::{AuthError, Principal, Scope, TenantScope};

/// The longest `sub`, in bytes: it is stored with every event.
const MAX_SUBJECT_LEN: usize = 256;

/// The payload. A claim that appears twice, or has another type, makes the token unreadable.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: Audience,
    pub(super) sub: String,
    /// Seconds since 1970; the standard allows fractions.
    pub(super) exp: serde_json::Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<String>,
    pub(super) tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) establishments: Option<BTreeSet<EstablishmentId>>,
    #[serde(default)]
    pub(super) scope: String,
}

/// `null` is not "absent": read as "all establishments" it would widen a token by accident.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<EstablishmentId>>, D::Error> {
    BTreeSet::deserialize(deserializer).map(Some)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn includes(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// What the settings demand of every token.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) leeway_seconds: f64,
}

impl Expected {
    /// # Errors
    /// Where a claim is not as the settings demand.
    pub(super) fn judge(&self, claims: Claims, now: Timestamp) -> Result<Principal, AuthError> {
        if claims.iss != self.issuer {
            return Err(AuthError::WrongIssuer);
        }
        if !claims.aud.includes(&self.audience) {
            return Err(AuthError::WrongAudience);
        }
        let validity = Validity {
            not_before: claims.nbf.as_ref().map(seconds).transpose()?,
            expires: seconds(&claims.exp)?,
        };
        self.judge_time(validity, now)?;
        let length = claims.sub.len();
        if !(1..=MAX_SUBJECT_LEN).contains(&length) || claims.sub.chars().any(char::is_control) {
            let problem = format!("sub must be 1 to {MAX_SUBJECT_LEN} bytes without control characters");
            return Err(AuthError::Claims(problem));
        }
        Ok(Principal::new(Facts {
            tenant: TenantScope::new(claims.tenant),
            actor: ActorId(claims.sub),
            establishments: claims.establishments,
            // Names that are not ours are another system's business.
            scopes: claims
                .scope
                .split(' ')
                .filter_map(|name| name.parse::<Scope>().ok())
                .collect(),
            validity,
        }))
    }

    /// Also for a remembered token: that it was valid once does not make it valid now.
    pub(super) fn judge_time(&self, validity: Validity, now: Timestamp) -> Result<(), AuthError> {
        let now = now.as_datetime().timestamp_micros() as f64 / 1e6;
        // The standard has a token count strictly before `exp` and from `nbf` on.
        if now >= validity.expires + self.leeway_seconds {
            return Err(AuthError::Expired);
        }
        if validity
            .not_before
            .is_some_and(|start| now < start - self.leeway_seconds)
        {
            return Err(AuthError::NotYetValid);
        }
        Ok(())
    }
}

fn seconds(number: &serde_json::Number) -> Result<f64, AuthError> {
    let seconds = number.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| AuthError::Claims("exp and nbf must be seconds since 1970".to_owned()))
}
