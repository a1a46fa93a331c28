//! Keys from settings. Each is tried once at start, so that a wrong file is found there and not
//! by every client.

use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::AuthError;
use crate::settings::{KeyAlgorithm, KeySettings, SigningSettings, read_secret_file};

/// RFC 7518 demands a secret at least as long as the hash.
const MIN_SECRET_BYTES: usize = 32;

/// DER length of the smallest acceptable RSA public key (2,048 bits, PKCS#1); one of 1,024 bits
/// takes about 140 bytes.
const MIN_RSA_DER_BYTES: usize = 256;

const ED25519_KEY_BYTES: usize = 32;

pub(super) fn algorithm(algorithm: KeyAlgorithm) -> Algorithm {
    match algorithm {
        KeyAlgorithm::Hs256 => Algorithm::HS256,
        KeyAlgorithm::Rs256 => Algorithm::RS256,
        KeyAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

pub(super) fn header_name(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::Hs256 => "HS256",
        KeyAlgorithm::Rs256 => "RS256",
        KeyAlgorithm::EdDsa => "EdDSA",
    }
}

/// The key that checks signatures.
pub(super) fn decoding(setting: &str, key: &KeySettings) -> Result<DecodingKey, AuthError> {
    match key.algorithm {
        KeyAlgorithm::Hs256 => Ok(DecodingKey::from_secret(shared_secret(setting, key)?.as_bytes())),
        KeyAlgorithm::Rs256 => {
            let pem = public_pem(setting, key)?;
            let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| not_a_key(setting, "RSA public key"))?;
            let long_enough = key.try_get_as_bytes().is_ok_and(|der| der.len() >= MIN_RSA_DER_BYTES);
            if long_enough {
                Ok(key)
            } else {
                Err(wrong(setting, "must be an RSA key of at least 2048 bits"))
            }
        }
        KeyAlgorithm::EdDsa => {
            let pem = public_pem(setting, key)?;
            let key = DecodingKey::from_ed_pem(pem.as_bytes()).map_err(|_| not_a_key(setting, "Ed25519 public key"))?;
            let usable = key
                .try_get_as_bytes()
                .is_ok_and(|bytes| bytes.len() == ED25519_KEY_BYTES)
                && jsonwebtoken::crypto::verify("", b"", &key, Algorithm::EdDSA).is_ok();
            if usable {
                Ok(key)
            } else {
                Err(not_a_key(setting, "Ed25519 public key"))
            }
        }
    }
}

/// The key that signs.
pub(super) fn encoding(setting: &str, key: &SigningSettings) -> Result<EncodingKey, AuthError> {
    let encoded = match (key.algorithm, &key.secret_file, &key.private_key_file) {
        (KeyAlgorithm::Hs256, Some(path), None) => {
            let secret = long_enough(setting, read_secret_file(setting, path)?)?;
            EncodingKey::from_secret(secret.as_bytes())
        }
        (KeyAlgorithm::Rs256, None, Some(path)) => {
            EncodingKey::from_rsa_pem(read_secret_file(setting, path)?.as_bytes())
                .map_err(|_| not_a_key(setting, "RSA private key"))?
        }
        (KeyAlgorithm::EdDsa, None, Some(path)) => {
            EncodingKey::from_ed_pem(read_secret_file(setting, path)?.as_bytes())
                .map_err(|_| not_a_key(setting, "Ed25519 private key (PKCS#8)"))?
        }
        (KeyAlgorithm::Hs256, _, _) => return Err(wrong(setting, "HS256 takes secret_file and nothing else")),
        (KeyAlgorithm::Rs256 | KeyAlgorithm::EdDsa, _, _) => {
            return Err(wrong(setting, "RS256 and EdDSA take private_key_file and nothing else"));
        }
    };
    jsonwebtoken::crypto::sign(b"", &encoded, algorithm(key.algorithm))
        .map_err(|_| not_a_key(setting, "private key of this algorithm"))?;
    Ok(encoded)
}

/// The secret of an HS256 key, from the settings or from its file.
pub(super) fn shared_secret(setting: &str, key: &KeySettings) -> Result<String, AuthError> {
    let secret = match (&key.secret, &key.secret_file, &key.public_key_file) {
        (Some(secret), None, None) => secret.expose().to_owned(),
        (None, Some(path), None) => read_secret_file(&format!("{setting}.secret_file"), path)?,
        _ => {
            return Err(wrong(
                setting,
                "HS256 takes either secret or secret_file and nothing else",
            ));
        }
    };
    long_enough(setting, secret)
}

fn long_enough(setting: &str, secret: String) -> Result<String, AuthError> {
    if secret.len() >= MIN_SECRET_BYTES {
        Ok(secret)
    } else {
        Err(wrong(setting, "the secret must be at least 32 bytes long"))
    }
}

fn public_pem(setting: &str, key: &KeySettings) -> Result<String, AuthError> {
    let path: &Path = match (&key.public_key_file, &key.secret, &key.secret_file) {
        (Some(path), None, None) => path,
        _ => return Err(wrong(setting, "RS256 and EdDSA take public_key_file and nothing else")),
    };
    let pem = read_secret_file(&format!("{setting}.public_key_file"), path)?;
    if pem.contains("PRIVATE KEY") {
        return Err(wrong(
            setting,
            "public_key_file holds a private key; keep that with the issuer",
        ));
    }
    Ok(pem)
}

fn not_a_key(setting: &str, what: &str) -> AuthError {
    wrong(setting, &format!("the file does not hold a usable {what} in PEM"))
}

pub(super) fn wrong(setting: &str, problem: &str) -> AuthError {
    AuthError::Key {
        setting: setting.to_owned(),
        problem: problem.to_owned(),
    }
}
