//! Deciding whether a token counts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;
use jsonwebtoken::DecodingKey;
use quick_cache::sync::Cache;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use std::sync::Arc;

use super::claims::{Claims, Expected};
use super::jwks::{Jwks, KeySet, Thumbprint};
use super::{AuthError, Principal, key};
use crate::edge;
use crate::health::{Health, Part};
use crate::settings::{AuthSettings, KeyAlgorithm};
use crate::shutdown::Shutdown;

/// The longest token looked at, in bytes: well above what any issuer makes.
const MAX_TOKEN_BYTES: usize = 8_192;

/// Types of token that are meant for an API (RFC 8725, RFC 9068). An ID or logout token of the
/// same issuer is signed by the same key, but says something else.
const ACCEPTED_TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Verifies bearer tokens against the configured keys, and against those of a JWK set where the
/// settings name one and [`Verifier::follow_keys`] was called.
///
/// Accepted tokens are remembered, in bounded number, by their hash; a signature is then not
/// checked again, the times are.
pub struct Verifier {
    keys: Vec<Key>,
    expected: Expected,
    accepted: Option<Cache<[u8; 32], Remembered>>,
    jwks: Option<Jwks>,
}

/// An accepted token: whom it speaks for, and the key of the set that signed it.
#[derive(Clone)]
struct Remembered {
    principal: Principal,
    signed_by: Option<Thumbprint>,
}

/// The key that a token is checked by.
struct Chosen<'a> {
    algorithm: KeyAlgorithm,
    decoding: &'a DecodingKey,
    thumbprint: Option<Thumbprint>,
}

struct Key {
    kid: Option<String>,
    algorithm: KeyAlgorithm,
    decoding: DecodingKey,
}

/// The parts of a token's header that matter. All others are never looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<()>,
}

/// Whatever stands there, `null` too: it is there.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<()>, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| Some(()))
}

impl Verifier {
    /// # Errors
    /// Where a key cannot be read or used, or two keys could be meant by one token.
    pub fn new(settings: &AuthSettings) -> Result<Self, AuthError> {
        let mut keys: Vec<Key> = Vec::with_capacity(settings.keys.len());
        for (index, key_settings) in settings.keys.iter().enumerate() {
            let setting = format!("auth.keys[{index}]");
            if keys.iter().any(|key| key.kid == key_settings.kid) {
                let problem = "another key has the same kid, or also has none".to_owned();
                return Err(AuthError::Key { setting, problem });
            }
            keys.push(Key {
                kid: key_settings.kid.clone(),
                algorithm: key_settings.algorithm,
                decoding: key::decoding(&setting, key_settings)?,
            });
        }
        Ok(Self {
            keys,
            jwks: Jwks::new(settings)?,
            expected: Expected {
                issuer: settings.issuer.clone(),
                audience: settings.audience.clone(),
                leeway_seconds: settings.leeway_seconds as f64,
            },
            accepted: (settings.cached_tokens > 0).then(|| Cache::new(settings.cached_tokens)),
        })
    }

    /// Verifies a token as of now.
    ///
    /// # Errors
    /// Where the token does not count, for whatever reason.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let verdict = self.verify_at(token, edge::now());
        if let (Err(AuthError::NotAccepted), Some(jwks)) = (&verdict, &self.jwks)
            && self.names_unknown_key(token)
        {
            jwks.want();
        }
        verdict
    }

    /// Like [`Self::verify`]; a token that names an unknown key waits, for a second at most, until
    /// the JWK set was read again. Few may wait at once; the others are refused at once.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn authenticate(&self, token: &str) -> Result<Principal, AuthError> {
        let verdict = self.verify_at(token, edge::now());
        if let (Err(AuthError::NotAccepted), Some(jwks)) = (&verdict, &self.jwks)
            && self.names_unknown_key(token)
            && jwks.look_again().await
        {
            return self.verify_at(token, edge::now());
        }
        verdict
    }

    /// Keeps the JWK set up to date until the shutdown. Does nothing where the settings name none.
    pub fn follow_keys(self: &Arc<Self>, shutdown: &Shutdown) {
        if self.jwks.is_some() {
            let (verifier, stop) = (Arc::clone(self), shutdown.clone());
            shutdown.spawn("key set", async move {
                if let Some(jwks) = &verifier.jwks {
                    jwks.follow(stop).await;
                }
            });
        }
    }

    /// How the JWK set is doing; `None` where the settings name none.
    pub fn keys_health(&self) -> Option<Part> {
        self.jwks.as_ref().map(|jwks| jwks.health(!self.keys.is_empty()))
    }

    /// Shows [`Self::keys_health`] as the part `key_set`.
    pub fn register_health(self: &Arc<Self>, health: &Health) {
        if self.jwks.is_some() {
            let verifier = Arc::clone(self);
            health.register("key_set", move || {
                let part = verifier.keys_health().unwrap_or_else(Part::ok);
                async move { part }
            });
        }
    }

    fn names_unknown_key(&self, token: &str) -> bool {
        let header = token.split('.').next().filter(|_| token.len() <= MAX_TOKEN_BYTES);
        let header = header.and_then(|part| decode(part).ok());
        let header = header.and_then(|text| serde_json::from_slice::<Header>(&text).ok());
        header.and_then(|header| header.kid).is_some_and(|kid| {
            let configured = self.keys.iter().any(|key| key.kid.as_ref() == Some(&kid));
            !configured && self.jwks.as_ref().is_some_and(|jwks| jwks.keys().get(&kid).is_none())
        })
    }

    /// Verifies a token as of a given time.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_at(&self, token: &str, now: Timestamp) -> Result<Principal, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::NotAccepted);
        }
        let Some(accepted) = &self.accepted else {
            return self.verify_in_full(token, now).map(|accepted| accepted.principal);
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // A key that left the set takes its tokens with it, whenever they were remembered.
        if let Some(remembered) = accepted.get(&hash).filter(|it| self.still_holds(it)) {
            return match self.expected.judge_time(remembered.principal.validity(), now) {
                Ok(()) => Ok(remembered.principal),
                Err(error) => {
                    accepted.remove(&hash);
                    Err(error)
                }
            };
        }
        let remembered = self.verify_in_full(token, now)?;
        accepted.insert(hash, remembered.clone());
        Ok(remembered.principal)
    }

    fn still_holds(&self, remembered: &Remembered) -> bool {
        remembered
            .signed_by
            .is_none_or(|key| self.jwks.as_ref().is_some_and(|jwks| jwks.keys().holds(&key)))
    }

    fn verify_in_full(&self, token: &str, now: Timestamp) -> Result<Remembered, AuthError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(AuthError::NotAccepted)?;
        let (header, payload) = signed.split_once('.').ok_or(AuthError::NotAccepted)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| AuthError::NotAccepted)?;
        let set = self.jwks.as_ref().map(Jwks::keys);
        let key = self.key_for(&header, set.as_deref())?;
        // The library is asked about the signature only. It would also parse the whole header and
        // judge claims by a clock of its own; here both are done once, also for remembered tokens.
        let algorithm = key::algorithm(key.algorithm);
        match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key.decoding, algorithm) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(AuthError::NotAccepted),
        }
        let claims: Claims = serde_json::from_slice(&decode(payload)?).map_err(|error| unreadable(&error))?;
        Ok(Remembered {
            principal: self.expected.judge(claims, now)?,
            signed_by: key.thumbprint,
        })
    }

    /// The key that a token names, provided that it also names the key's algorithm.
    fn key_for<'a>(&'a self, header: &Header, set: Option<&'a KeySet>) -> Result<Chosen<'a>, AuthError> {
        if header.crit.is_some() {
            return Err(AuthError::NotAccepted);
        }
        if let Some(kind) = &header.typ {
            let kind = kind.to_ascii_lowercase();
            let kind = kind.strip_prefix("application/").unwrap_or(&kind);
            if !ACCEPTED_TYPES.contains(&kind) {
                return Err(AuthError::NotAccepted);
            }
        }
        let configured = self.keys.iter().find(|key| key.kid == header.kid).map(|key| Chosen {
            algorithm: key.algorithm,
            decoding: &key.decoding,
            thumbprint: None,
        });
        let followed = || {
            let key = set?.get(header.kid.as_deref()?)?;
            Some(Chosen {
                algorithm: key.algorithm,
                decoding: &key.decoding,
                thumbprint: Some(key.thumbprint),
            })
        };
        configured
            .or_else(followed)
            .filter(|key| key::header_name(key.algorithm) == header.alg)
            .ok_or(AuthError::NotAccepted)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, AuthError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::NotAccepted)
}

/// Our issuer signed this, so what is wrong with it is worth telling: somebody configured that
/// issuer.
fn unreadable(error: &serde_json::Error) -> AuthError {
    let text = error.to_string();
    AuthError::Claims(text.split(" at line ").next().unwrap_or_default().to_owned())
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|key| (&key.kid, key.algorithm)).collect();
        f.debug_struct("Verifier")
            .field("keys", &keys)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
