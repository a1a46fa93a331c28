//! A JWK set (RFC 7517) as keys, each bound to one algorithm. What cannot be a key of an issuer's
//! signature is left out, with a warning: one odd key must not take the others away.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::settings::KeyAlgorithm;

/// 2,048 bits.
const MIN_MODULUS_BYTES: usize = 256;
/// Issuers have a handful.
const MAX_KEYS: usize = 100;

/// Which key it was that accepted a token: name, algorithm and the key itself.
pub(in crate::auth) type Thumbprint = [u8; 32];

pub(in crate::auth) struct Key {
    pub(in crate::auth) algorithm: KeyAlgorithm,
    pub(in crate::auth) decoding: DecodingKey,
    pub(in crate::auth) thumbprint: Thumbprint,
}

/// The usable keys of a set, by their `kid`.
#[derive(Default)]
pub(in crate::auth) struct KeySet(HashMap<String, Key>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    /// Reads a set. `taken` are the names of configured keys, which no set can replace.
    ///
    /// # Errors
    /// Where the text is not a JWK set at all.
    pub(super) fn parse(text: &[u8], taken: &[String]) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(text).map_err(|_| "is not a JWK set")?;
        if document.keys.len() > MAX_KEYS {
            return Err("holds more keys than an issuer has");
        }
        let mut times: HashMap<&str, usize> = HashMap::new();
        for jwk in &document.keys {
            *times.entry(field(jwk, "kid").unwrap_or_default()).or_default() += 1;
        }
        let mut keys = HashMap::new();
        for jwk in &document.keys {
            let kid = field(jwk, "kid").unwrap_or_default();
            let read = match kid {
                "" => Err("it has no kid"),
                // Which of them a token means would be the token's choice.
                _ if times[kid] > 1 => Err("another key of the set has the same kid"),
                _ if taken.iter().any(|name| name == kid) => Err("a key in auth.keys has the same kid"),
                _ => key(kid, jwk),
            };
            match read {
                Ok(key) => drop(keys.insert(kid.to_owned(), key)),
                Err(reason) => tracing::warn!(auth.kid = kid, reason, "a key of the JWK set is left out"),
            }
        }
        Ok(Self(keys))
    }

    pub(in crate::auth) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }

    pub(in crate::auth) fn holds(&self, thumbprint: &Thumbprint) -> bool {
        self.0.values().any(|key| key.thumbprint == *thumbprint)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn field<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name).and_then(Value::as_str)
}

fn key(kid: &str, jwk: &Map<String, Value>) -> Result<Key, &'static str> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("its use is not sig");
    }
    let verifies = |operations: &Value| {
        operations
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it == "verify"))
    };
    if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
        return Err("its key_ops do not include verify");
    }
    if jwk.contains_key("d") || jwk.contains_key("k") {
        return Err("it is a secret, which nobody else may see");
    }
    let alg = match jwk.get("alg") {
        Some(alg) => Some(alg.as_str().ok_or("its alg is no text")?),
        None => None,
    };
    let (algorithm, decoding, material) = match (field(jwk, "kty"), alg) {
        (Some("RSA"), None | Some("RS256")) => rsa(jwk)?,
        (Some("OKP"), None | Some("EdDSA" | "Ed25519")) => ed25519(jwk)?,
        _ => return Err("its kty and alg are not RSA with RS256 or OKP with EdDSA"),
    };
    let thumbprint = Sha256::new()
        .chain_update(kid.as_bytes())
        .chain_update([0, algorithm as u8])
        .chain_update(&material)
        .finalize()
        .into();
    Ok(Key {
        algorithm,
        decoding,
        thumbprint,
    })
}

fn rsa(jwk: &Map<String, Value>) -> Result<(KeyAlgorithm, DecodingKey, Vec<u8>), &'static str> {
    let (mut modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let significant = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    modulus.drain(..significant);
    if modulus.len() < MIN_MODULUS_BYTES {
        return Err("it is an RSA key of fewer than 2048 bits");
    }
    // With an exponent of 1 anybody's signature is valid.
    let value = exponent
        .iter()
        .try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    if value.is_none_or(|value| value < 3 || value % 2 == 0) {
        return Err("its exponent is not that of an RSA key");
    }
    let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    let material = [modulus, vec![0], exponent].concat();
    Ok((KeyAlgorithm::Rs256, key, material))
}

fn ed25519(jwk: &Map<String, Value>) -> Result<(KeyAlgorithm, DecodingKey, Vec<u8>), &'static str> {
    const UNUSABLE: &str = "it is not an Ed25519 key";
    let point = bytes(jwk, "x")?;
    if field(jwk, "crv") != Some("Ed25519") || point.len() != 32 {
        return Err(UNUSABLE);
    }
    let key = DecodingKey::from_ed_der(&point);
    jsonwebtoken::crypto::verify("", b"", &key, Algorithm::EdDSA).map_err(|_| UNUSABLE)?;
    Ok((KeyAlgorithm::EdDsa, key, point))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = field(jwk, name).ok_or("a part of it is missing")?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| "a part of it is not base64url")
}
