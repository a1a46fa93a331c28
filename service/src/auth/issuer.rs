//! Making tokens: for development, tests and operators. A production identity provider does the
//! same elsewhere, with its own key.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{ActorId, EstablishmentId, TenantId, Timestamp};
use jsonwebtoken::{EncodingKey, Header};

use super::claims::{Audience, Claims};
use super::{AuthError, Scope, key};
use crate::edge;
use crate::settings::{AuthSettings, KeyAlgorithm};

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub tenant: TenantId,
    pub subject: ActorId,
    pub scopes: BTreeSet<Scope>,
    /// `None` means all of the tenant's.
    pub establishments: Option<BTreeSet<EstablishmentId>>,
    pub ttl: Duration,
}

/// Signs tokens that a [`super::Verifier`] of the same settings accepts.
pub struct Issuer {
    key: EncodingKey,
    kid: Option<String>,
    algorithm: KeyAlgorithm,
    issuer: String,
    audience: String,
}

impl Issuer {
    /// Signs with `auth.signing`, or else with the first HS256 key that tokens are checked by.
    ///
    /// # Errors
    /// Where there is no such key, or it cannot be read or used.
    pub fn new(settings: &AuthSettings) -> Result<Self, AuthError> {
        let (key, kid, algorithm) = match &settings.signing {
            Some(signing) => (
                key::encoding("auth.signing", signing)?,
                signing.kid.clone(),
                signing.algorithm,
            ),
            None => shared_key(settings)?,
        };
        Ok(Self {
            key,
            kid,
            algorithm,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
        })
    }

    /// A signed token, valid from `now` for the time asked for.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn issue(&self, request: &TokenRequest, now: Timestamp) -> Result<String, AuthError> {
        let issued_at = now.as_datetime().timestamp();
        let expires = issued_at.saturating_add(i64::try_from(request.ttl.as_secs()).unwrap_or(i64::MAX));
        let scopes: Vec<&str> = request.scopes.iter().map(|scope| scope.as_str()).collect();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: Audience::One(self.audience.clone()),
            sub: request.subject.0.clone(),
            exp: expires.into(),
            nbf: None,
            iat: Some(issued_at.into()),
            jti: Some(edge::fresh_id().to_string()),
            tenant: request.tenant.clone(),
            establishments: request.establishments.clone(),
            scope: scopes.join(" "),
        };
        let mut header = Header::new(key::algorithm(self.algorithm));
        header.kid.clone_from(&self.kid);
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(AuthError::Signing)
    }
}

fn shared_key(settings: &AuthSettings) -> Result<(EncodingKey, Option<String>, KeyAlgorithm), AuthError> {
    let mut keys = settings.keys.iter().enumerate();
    let Some((index, shared)) = keys.find(|(_, key)| key.algorithm == KeyAlgorithm::Hs256) else {
        return Err(AuthError::Key {
            setting: "auth.signing".to_owned(),
            problem: "is needed to sign tokens, since no key is HS256".to_owned(),
        });
    };
    let secret = key::shared_secret(&format!("auth.keys[{index}]"), shared)?;
    Ok((
        EncodingKey::from_secret(secret.as_bytes()),
        shared.kid.clone(),
        KeyAlgorithm::Hs256,
    ))
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
