//! Makes tokens, honest and forged, for the tests.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use service::settings::{AuthSettings, KeyAlgorithm, KeySettings, Secret};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

/// The moment at which the tests judge tokens: 2026-01-31T12:00:00Z.
pub(crate) const NOW: i64 = 1_769_860_800;

pub(crate) fn now() -> Timestamp {
    at(NOW)
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::new(chrono::DateTime::from_timestamp(seconds, 0).unwrap())
}

pub(crate) fn key_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/service/keys")
        .join(name)
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(key_file(name)).unwrap()
}

pub(crate) fn key(kid: Option<&str>, algorithm: KeyAlgorithm) -> KeySettings {
    let public_key_file = match algorithm {
        KeyAlgorithm::Hs256 => None,
        KeyAlgorithm::Rs256 => Some(key_file("rsa.pub.pem")),
        KeyAlgorithm::EdDsa => Some(key_file("ed25519.pub.pem")),
    };
    let secret = (algorithm == KeyAlgorithm::Hs256).then(|| Secret::new(SECRET));
    KeySettings {
        kid: kid.map(str::to_owned),
        algorithm,
        secret,
        secret_file: None,
        public_key_file,
    }
}

/// Three keys: HS256 without a name, `ed` and `rsa`.
pub(crate) fn settings() -> AuthSettings {
    AuthSettings {
        keys: vec![
            key(None, KeyAlgorithm::Hs256),
            key(Some("ed"), KeyAlgorithm::EdDsa),
            key(Some("rsa"), KeyAlgorithm::Rs256),
        ],
        ..AuthSettings::default()
    }
}

/// Claims of an honest token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": "comanda", "aud": "comanda", "sub": "till-1", "exp": NOW + 60,
        "tenant": "trattoria", "scope": "orders:read orders:write",
    })
}

/// Honest claims with some replaced; `null` removes one.
pub(crate) fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    merge(&mut claims, changes);
    claims
}

pub(crate) fn merge(base: &mut Value, changes: Value) {
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            base[key] = value.clone();
        }
    }
}

pub(crate) fn part(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

/// What a token is signed with.
pub(crate) enum Signer {
    Secret(Vec<u8>),
    Ed(&'static str),
    Rsa(&'static str),
}

impl Signer {
    pub(crate) fn secret() -> Self {
        Self::Secret(SECRET.as_bytes().to_vec())
    }

    /// Signs two parts as they are, whatever they say.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = match self {
            Self::Secret(secret) => {
                jsonwebtoken::crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256)
            }
            Self::Ed(file) => jsonwebtoken::crypto::sign(
                signed.as_bytes(),
                &EncodingKey::from_ed_pem(&pem(file)).unwrap(),
                Algorithm::EdDSA,
            ),
            Self::Rsa(file) => jsonwebtoken::crypto::sign(
                signed.as_bytes(),
                &EncodingKey::from_rsa_pem(&pem(file)).unwrap(),
                Algorithm::RS256,
            ),
        };
        format!("{signed}.{}", signature.unwrap())
    }

    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// An honest HS256 token with these claims.
pub(crate) fn honest(claims: &Value) -> String {
    Signer::secret().token(&json!({"alg": "HS256", "typ": "JWT"}), claims)
}
