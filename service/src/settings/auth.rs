//! Tokens: whose are accepted, and how they are signed.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Whose tokens are accepted, and how `comanda token` signs.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// The `iss` that a token must carry.
    pub issuer: String,
    /// The `aud` that a token must carry, alone or among others.
    pub audience: String,
    /// Clock difference tolerated on `exp` and `nbf`; at most 300.
    pub leeway_seconds: u64,
    /// Verified tokens remembered until they expire; 0 remembers none.
    pub cached_tokens: usize,
    /// Keys whose signatures are accepted.
    pub keys: Vec<KeySettings>,
    /// A JWK set with more keys, read again while the process runs.
    pub jwks_file: Option<PathBuf>,
    /// The same, fetched from the issuer: over https, or from this machine.
    pub jwks_url: Option<String>,
    /// A PEM file with the authorities believed on the way there, instead of the system's.
    pub jwks_ca_file: Option<PathBuf>,
    /// How often the set is read again. An unknown `kid` has it read sooner.
    pub jwks_refresh_ms: u64,
    /// The key that `comanda token` signs with. Without it, the first HS256 key signs.
    pub signing: Option<SigningSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuer: "comanda".to_owned(),
            audience: "comanda".to_owned(),
            leeway_seconds: 5,
            cached_tokens: 10_000,
            keys: Vec::new(),
            jwks_file: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_refresh_ms: 60_000,
            signing: None,
        }
    }
}

/// `auth.jwks_url`, provided that a key set may be fetched from there.
///
/// # Errors
/// What is wrong with it, in words that repeat nothing of it.
pub(crate) fn key_set_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    let host = url.host_str().unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err("must be an https URL");
    }
    // Settings are printed, and so is what they hold.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password");
    }
    if url.scheme() == "http" && !is_this_machine(host) {
        return Err("must be an https URL: over http, anybody on the way could put in keys of their own");
    }
    Ok(url)
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A signature algorithm. A key has exactly one, so that no token can choose how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256, one shared secret; for development.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256, at least 2,048 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A key whose signatures are accepted.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The `kid` of tokens signed with it. A key without one serves tokens without one.
    #[serde(default)]
    pub kid: Option<String>,
    pub algorithm: KeyAlgorithm,
    /// HS256: the secret, at least 32 bytes.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// HS256: a file that holds the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// RS256, EdDSA: a PEM file that holds the public key.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
}

/// A key to sign tokens with.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SigningSettings {
    #[serde(default)]
    pub kid: Option<String>,
    pub algorithm: KeyAlgorithm,
    /// HS256: a file that holds the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// RS256, EdDSA: a PEM file that holds the private key (PKCS#8).
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
}
