//! Keys that change while the process runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use futures::FutureExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use service::auth::{AuthError, Verifier};
use service::health::Status;
use service::settings::AuthSettings;
use service::shutdown::Shutdown;

use crate::tokens::{self, Signer, claims_with, key_file, part};

pub(crate) fn jwk(kid: &str, file: &str) -> Value {
    let pem = std::fs::read(key_file(file)).unwrap();
    let (key, algorithm) = if file.contains("rsa") {
        (EncodingKey::from_rsa_pem(&pem).unwrap(), Algorithm::RS256)
    } else {
        (EncodingKey::from_ed_pem(&pem).unwrap(), Algorithm::EdDSA)
    };
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    jwk
}

pub(crate) fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

fn token(signer: &Signer, alg: &str, kid: &str) -> String {
    signer.token(
        &json!({"alg": alg, "kid": kid}),
        &claims_with(json!({"exp": 4_000_000_000_i64})),
    )
}

pub(crate) fn ed(kid: &str) -> String {
    token(&Signer::Ed("ed25519.pem"), "EdDSA", kid)
}

fn rsa(kid: &str) -> String {
    token(&Signer::Rsa("rsa.pem"), "RS256", kid)
}

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !condition().await {
        assert!(Instant::now() < give_up, "{what}");
        look.tick().await;
    }
}

pub(crate) struct Following(pub(crate) Arc<Verifier>, Shutdown);

impl Following {
    pub(crate) fn start(settings: AuthSettings) -> Self {
        let (verifier, shutdown) = (Arc::new(Verifier::new(&settings).unwrap()), Shutdown::new());
        verifier.follow_keys(&shutdown);
        Self(verifier, shutdown)
    }

    pub(crate) fn accepts(&self, token: &str) -> bool {
        self.0.verify(token).is_ok()
    }

    /// Waits until a reading has failed so.
    pub(crate) async fn until_trouble(&self, trouble: &str) {
        eventually(trouble, async || {
            let detail = self.0.keys_health().unwrap().detail;
            detail.is_some_and(|detail| detail.starts_with(trouble))
        })
        .await;
    }

    pub(crate) async fn until(&self, status: Status) {
        eventually("the part's state", async || {
            self.0.keys_health().unwrap().status == status
        })
        .await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.1.trigger();
    }
}

fn by_file(path: &Path) -> AuthSettings {
    AuthSettings {
        jwks_file: Some(path.to_owned()),
        jwks_refresh_ms: 20,
        ..tokens::settings()
    }
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn given_a_file_that_changes_then_keys_come_and_go_and_so_do_remembered_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    put(&path, &set(&[jwk("one", "ed25519.pem")]));
    let following = Following::start(by_file(&path));
    eventually("the first key", async || following.accepts(&ed("one"))).await;
    assert!(!following.accepts(&rsa("two")));
    assert!(
        following.accepts(&tokens::Signer::secret().token(
            &json!({"alg": "HS256"}),
            &claims_with(json!({"exp": 4_000_000_000_i64}))
        )),
        "auth.keys count beside the set"
    );

    put(&path, &set(&[jwk("one", "ed25519.pem"), jwk("two", "rsa.pem")]));
    eventually("the second key", async || following.accepts(&rsa("two"))).await;
    assert!(following.accepts(&ed("one")));

    put(&path, &set(&[jwk("two", "rsa.pem")]));
    eventually("the first key left", async || !following.accepts(&ed("one"))).await;
    assert!(following.accepts(&rsa("two")));

    put(&path, &set(&[jwk("two", "stranger-ed25519.pem")]));
    eventually("another key under the same name", async || {
        !following.accepts(&rsa("two"))
    })
    .await;
}

#[tokio::test]
async fn given_a_source_that_fails_then_the_last_good_set_stays_and_health_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let following = Following::start(by_file(&path));
    following.until(Status::Degraded).await;
    put(&path, &set(&[jwk("one", "ed25519.pem")]));
    following.until(Status::Ok).await;
    let big = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000));
    for broken in ["{", "[]", "{}", "{\"keys\":1}", &big] {
        put(&path, broken);
        following.until(Status::Degraded).await;
        assert!(following.accepts(&ed("one")), "{}", &broken[..broken.len().min(20)]);
        put(&path, &set(&[jwk("one", "ed25519.pem")]));
        following.until(Status::Ok).await;
    }
}

#[tokio::test]
async fn given_keys_that_cannot_be_an_issuers_then_they_are_left_out_and_honest_ones_stay() {
    let with = |name: &str, key: &str, value: Value| {
        let mut jwk = jwk(name, "rsa.pem");
        jwk[key] = value;
        jwk
    };
    let oct = |name: &str, secret: &[u8]| json!({"kty": "oct", "kid": name, "alg": "HS256", "k": part(std::str::from_utf8(secret).unwrap())});
    let pem = std::fs::read(key_file("rsa.pub.pem")).unwrap();
    let keys = [
        jwk("honest", "ed25519.pem"),
        oct("oct", &pem),
        with("none", "alg", "none".into()),
        with("hs", "alg", "HS256".into()),
        with("ps", "alg", "PS256".into()),
        with("enc", "use", "enc".into()),
        with("wrap", "key_ops", json!(["wrapKey"])),
        with("private", "d", "AQAB".into()),
        with("one", "e", "AQ".into()),
        with("short", "n", part(&"x".repeat(128)).into()),
        with("ec", "kty", "EC".into()),
        jwk("twice", "rsa.pem"),
        jwk("twice", "ed25519.pem"),
        jwk("rsa", "stranger-ed25519.pem"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    put(&path, &set(&keys));
    let following = Following::start(by_file(&path));
    following.until(Status::Ok).await;
    assert!(following.accepts(&ed("honest")));
    assert!(following.accepts(&rsa("rsa")), "a configured key is not replaced");
    for kid in [
        "none", "hs", "ps", "enc", "wrap", "private", "one", "short", "ec", "twice",
    ] {
        assert!(!following.accepts(&rsa(kid)), "{kid}");
    }
    let secret = Signer::Secret(pem);
    for (kid, alg) in [("oct", "HS256"), ("honest", "HS256"), ("hs", "HS256")] {
        assert!(!following.accepts(&token(&secret, alg, kid)), "{alg} {kid}");
    }
    assert!(!following.accepts(&ed("twice")));
    assert!(!following.accepts(&rsa("honest")));
    assert!(!following.accepts(&token(&Signer::Ed("stranger-ed25519.pem"), "EdDSA", "rsa")));
}

/// What the issuer answers, and how often it was asked.
#[derive(Clone, Default)]
struct Issuer(Arc<Mutex<String>>, Arc<AtomicUsize>);

impl Issuer {
    async fn start(&self) -> String {
        let (issuer, elsewhere, hanging) = (self.clone(), self.clone(), self.clone());
        let app = Router::new()
            .route("/jwks", get(async move || issuer.answer()))
            .route("/moved", get(async || Redirect::temporary("/jwks")))
            .route("/away", get(async move || elsewhere.away()))
            .route("/hang", get(async move || hanging.hang().await));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn answer(&self) -> Response {
        self.1.fetch_add(1, Ordering::Relaxed);
        match self.0.lock().unwrap().clone() {
            text if text.is_empty() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            text => text.into_response(),
        }
    }

    async fn hang(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }

    fn away(&self) -> Redirect {
        Redirect::temporary(&self.0.lock().unwrap())
    }

    fn says(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap());
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

pub(crate) fn by_url(url: String, jwks_refresh_ms: u64) -> AuthSettings {
    AuthSettings {
        jwks_url: Some(url),
        jwks_refresh_ms,
        ..AuthSettings::default()
    }
}

#[tokio::test]
async fn given_a_url_then_keys_rotate_and_an_outage_changes_nothing() {
    let issuer = Issuer::default();
    issuer.says(&set(&[jwk("one", "ed25519.pem")]));
    let following = Following::start(by_url(issuer.start().await + "/moved", 20));
    following.until(Status::Ok).await;
    assert!(following.accepts(&ed("one")));
    issuer.says("");
    following.until(Status::Degraded).await;
    assert!(following.accepts(&ed("one")));
    issuer.says(&set(&[jwk("two", "rsa.pem")]));
    eventually("rotation", async || {
        following.accepts(&rsa("two")) && !following.accepts(&ed("one"))
    })
    .await;
    issuer.says(&"x".repeat(300_000));
    following.until(Status::Degraded).await;
    assert!(following.accepts(&rsa("two")));
}

#[tokio::test]
async fn given_a_redirect_to_another_host_then_it_is_not_followed() {
    let (issuer, other) = (Issuer::default(), Issuer::default());
    other.says(&set(&[jwk("one", "ed25519.pem")]));
    issuer.says(&(other.start().await + "/jwks"));
    let following = Following::start(by_url(issuer.start().await + "/away", 20));
    following.until_trouble("the key set's server answered 307").await;
    following.until(Status::Down).await;
    assert_eq!((other.asked(), following.accepts(&ed("one"))), (0, false));
}

#[tokio::test]
async fn given_many_tokens_of_unknown_keys_then_the_set_is_read_once() {
    let issuer = Issuer::default();
    issuer.says(&set(&[]));
    let following = Following::start(by_url(issuer.start().await + "/jwks", 3_600_000));
    following.until(Status::Ok).await;
    for nth in 0..200 {
        assert!(following.0.authenticate(&ed(&format!("unknown-{nth}"))).await.is_err());
    }
    assert_eq!(issuer.asked(), 1, "the pause is not over");
}

#[tokio::test]
async fn given_a_token_of_a_new_key_when_the_pause_is_over_then_it_need_not_wait_for_the_interval() {
    let issuer = Issuer::default();
    issuer.says(&set(&[]));
    let following = Following::start(by_url(issuer.start().await + "/jwks", 3_600_000));
    following.until(Status::Ok).await;
    issuer.says(&set(&[jwk("new", "ed25519.pem")]));
    eventually("the new key", async || {
        following.0.authenticate(&ed("new")).await.is_ok()
    })
    .await;
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn given_an_issuer_that_hangs_and_many_tokens_of_unknown_keys_then_few_wait_and_the_rest_are_refused_at_once() {
    let issuer = Issuer::default();
    let following = Following::start(by_url(issuer.start().await + "/hang", 20));
    eventually("the reading began", async || issuer.asked() > 0).await;
    let token = ed("unknown");
    let ask = || Box::pin(following.0.authenticate(&token));
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for _ in 0..600 {
        let mut asked = ask();
        match futures::poll!(&mut asked) {
            Poll::Pending => waiting.push(asked),
            Poll::Ready(answer) => {
                assert!(matches!(answer, Err(AuthError::NotAccepted)), "{answer:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((waiting.len(), refused), (16, 584));

    // A client that goes away, and one whose time is over, each leave a place to the next.
    drop(waiting.pop());
    waiting.push(ask());
    assert!(futures::poll!(waiting.last_mut().unwrap()).is_pending());
    assert!(ask().now_or_never().is_some(), "no more than that");
    for asked in waiting {
        assert!(matches!(asked.await, Err(AuthError::NotAccepted)));
    }
    assert!(futures::poll!(ask()).is_pending());
}

#[test]
fn given_settings_that_name_no_usable_source_then_the_process_does_not_start() {
    let refusal = |settings: &AuthSettings| Verifier::new(settings).unwrap_err().to_string();
    for (url, why) in [
        ("nonsense", "is not a URL"),
        ("file:///etc/passwd", "must be an https URL"),
        ("ftp://id.test/jwks", "must be an https URL"),
        ("https://s3cret@id.test/jwks", "must not hold a user or a password"),
        ("https://:s3cret@id.test/jwks", "must not hold a user or a password"),
        ("http://s3cret@localhost/jwks", "must not hold a user or a password"),
        ("http://id.test/jwks", "must be an https URL"),
        ("http://10.0.0.1/jwks", "must be an https URL"),
        ("http://127.0.0.1.id.test/jwks", "must be an https URL"),
        ("http://[2001:db8::1]/jwks", "must be an https URL"),
    ] {
        let refusal = refusal(&by_url(url.to_owned(), 1));
        assert!(
            refusal.starts_with(&format!("auth.jwks_url: {why}")),
            "{url}: {refusal}"
        );
        assert!(!refusal.contains("s3cret"), "{refusal}");
    }
    for url in [
        "https://id.test/jwks",
        "http://localhost:1/jwks",
        "http://127.8.0.1/jwks",
        "http://[::1]/jwks",
    ] {
        assert!(Verifier::new(&by_url(url.to_owned(), 1)).is_ok(), "{url}");
    }
    let both = AuthSettings {
        jwks_file: Some("a".into()),
        ..by_url("https://id.test/jwks".to_owned(), 1)
    };
    assert!(Verifier::new(&both).is_err());
    let with_authority = |file: PathBuf, jwks_url: Option<&str>| AuthSettings {
        jwks_ca_file: Some(file),
        jwks_url: jwks_url.map(str::to_owned),
        ..AuthSettings::default()
    };
    for settings in [
        with_authority("/nowhere/authority.pem".into(), Some("https://id.test/jwks")),
        with_authority(key_file("ed25519.pub.pem"), Some("https://id.test/jwks")),
        with_authority("a".into(), None),
    ] {
        let refusal = refusal(&settings);
        assert!(refusal.contains("auth.jwks_ca_file"), "{refusal}");
    }
}
