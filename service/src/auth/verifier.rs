//! Deciding whether a token counts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;
use jsonwebtoken::DecodingKey;
use quick_cache::sync::Cache;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::claims::{Claims, Expected};
use super::{AuthError, Principal, key};
use crate::edge;
use crate::settings::{AuthSettings, KeyAlgorithm};

/// The longest token looked at, in bytes: well above what any issuer makes.
const MAX_TOKEN_BYTES: usize = 8_192;

/// Types of token that are meant for an API (RFC 8725, RFC 9068). An ID or logout token of the
/// same issuer is signed by the same key, but says something else.
const ACCEPTED_TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Verifies bearer tokens against the configured keys.
///
/// Accepted tokens are remembered, in bounded number, by their hash; a signature is then not
/// checked again, the times are.
pub struct Verifier {
    keys: Vec<Key>,
    expected: Expected,
    accepted: Option<Cache<[u8; 32], Principal>>,
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
        self.verify_at(token, edge::now())
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
            return self.verify_in_full(token, now);
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(principal) = accepted.get(&hash) {
            return match self.expected.judge_time(principal.validity(), now) {
                Ok(()) => Ok(principal),
                Err(error) => {
                    accepted.remove(&hash);
                    Err(error)
                }
            };
        }
        let principal = self.verify_in_full(token, now)?;
        accepted.insert(hash, principal.clone());
        Ok(principal)
    }

    fn verify_in_full(&self, token: &str, now: Timestamp) -> Result<Principal, AuthError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(AuthError::NotAccepted)?;
        let (header, payload) = signed.split_once('.').ok_or(AuthError::NotAccepted)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| AuthError::NotAccepted)?;
        let key = self.key_for(&header)?;
        // The library is asked about the signature only. It would also parse the whole header and
        // judge claims by a clock of its own; here both are done once, also for remembered tokens.
        let algorithm = key::algorithm(key.algorithm);
        match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.decoding, algorithm) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(AuthError::NotAccepted),
        }
        let claims: Claims = serde_json::from_slice(&decode(payload)?).map_err(|error| unreadable(&error))?;
        self.expected.judge(claims, now)
    }

    /// The key that a token names, provided that it also names the key's algorithm.
    fn key_for(&self, header: &Header) -> Result<&Key, AuthError> {
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
        self.keys
            .iter()
            .find(|key| key.kid == header.kid)
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
