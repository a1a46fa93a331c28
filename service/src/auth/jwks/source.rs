//! Where a JWK set is read: a file or a URL, both bounded.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use tokio::io::AsyncReadExt;

use crate::auth::AuthError;
use crate::auth::key::wrong;
use crate::settings::{key_set_url, read_secret_file};

/// The largest set read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const FETCH_LIMIT: Duration = Duration::from_secs(5);

pub(super) enum Source {
    File(PathBuf),
    Url(reqwest::Client, reqwest::Url),
}

/// Why a set could not be read. For the log; it names no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the key set's file cannot be read")]
    File(#[from] std::io::Error),
    #[error("the key set cannot be fetched")]
    Fetch(#[source] reqwest::Error),
    #[error("the key set's server answered {0}")]
    Answer(reqwest::StatusCode),
    #[error("the key set is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the key set {0}")]
    Malformed(&'static str),
}

impl Source {
    /// A URL whose server is believed by the certificates in `authorities`, or by the system's.
    ///
    /// # Errors
    /// The setting, and what is wrong with it.
    pub(super) fn url(text: &str, authorities: Option<&Path>) -> Result<Self, AuthError> {
        let url = key_set_url(text).map_err(|problem| wrong("auth.jwks_url", problem))?;
        // Another host is not whom the settings trust, and http not how.
        let policy = Policy::custom(|attempt| {
            let from = attempt.previous().first().map(reqwest::Url::origin);
            if attempt.previous().len() > 3 || from != Some(attempt.url().origin()) {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let mut client = reqwest::Client::builder()
            .redirect(policy)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(FETCH_LIMIT);
        if let Some(path) = authorities {
            client = client.tls_certs_only(certificates(path)?);
        }
        let client = client.build();
        let client = client.map_err(|_| wrong("auth.jwks_url", "cannot be fetched: no TLS"))?;
        Ok(Self::Url(client, url))
    }

    pub(super) async fn read(&self) -> Result<Vec<u8>, ReadError> {
        match self {
            Self::File(path) => {
                let mut text = Vec::new();
                let file = tokio::fs::File::open(path).await?;
                file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).await?;
                bounded(text)
            }
            Self::Url(client, url) => fetch(client, url).await,
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, AuthError> {
    const SETTING: &str = "auth.jwks_ca_file";
    let pem = read_secret_file(SETTING, path)?;
    let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if certificates.is_empty() {
        return Err(wrong(SETTING, "holds no certificates in PEM"));
    }
    Ok(certificates)
}

async fn fetch(client: &reqwest::Client, url: &reqwest::Url) -> Result<Vec<u8>, ReadError> {
    let request = client
        .get(url.clone())
        .header(ACCEPT, "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(ReadError::Answer(response.status()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_BYTES {
            return Err(ReadError::TooLarge);
        }
    }
    Ok(text)
}

fn failed(error: reqwest::Error) -> ReadError {
    ReadError::Fetch(error.without_url())
}

fn bounded(text: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    if text.len() > MAX_BYTES {
        Err(ReadError::TooLarge)
    } else {
        Ok(text)
    }
}
