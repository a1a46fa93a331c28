//! Keys that change while the process runs.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use service::auth::Verifier;
use service::health::Status;
use service::settings::AuthSettings;
use service::shutdown::Shutdown;

use crate::tokens::{self, Signer, claims_with, key_file, part};

fn jwk(kid: &str, file: &str) -> Value {
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

fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

fn token(signer: &Signer, alg: &str, kid: &str) -> String {
    signer.token(
        &json!({"alg": alg, "kid": kid}),
        &claims_with(json!({"exp": 4_000_000_000_i64})),
    )
}

fn ed(kid: &str) -> String {
    token(&Signer::Ed("ed25519.pem"), "EdDSA", kid)
}

fn rsa(kid: &str) -> String {
    token(&Signer::Rsa("rsa.pem"), "RS256", kid)
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !condition().await {
        assert!(Instant::now() < give_up, "{what}");
        look.tick().await;
    }
}

struct Following(Arc<Verifier>, Shutdown);

impl Following {
    fn start(settings: AuthSettings) -> Self {
        let (verifier, shutdown) = (Arc::new(Verifier::new(&settings).unwrap()), Shutdown::new());
        verifier.follow_keys(&shutdown);
        Self(verifier, shutdown)
    }

    fn accepts(&self, token: &str) -> bool {
        self.0.verify(token).is_ok()
    }

    async fn until(&self, status: Status) {
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
        let (issuer, elsewhere) = (self.clone(), self.clone());
        let app = Router::new()
            .route("/jwks", get(async move || issuer.answer()))
            .route("/moved", get(async || Redirect::temporary("/jwks")))
            .route("/away", get(async move || elsewhere.away()));
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

fn by_url(url: String, jwks_refresh_ms: u64) -> AuthSettings {
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

#[test]
fn given_settings_that_name_no_usable_source_then_the_process_does_not_start() {
    for url in ["nonsense", "file:///etc/passwd", "ftp://id.test/jwks"] {
        assert!(Verifier::new(&by_url(url.to_owned(), 1)).is_err(), "{url}");
    }
    let both = AuthSettings {
        jwks_file: Some("a".into()),
        ..by_url("https://id.test/jwks".to_owned(), 1)
    };
    assert!(Verifier::new(&both).is_err());
}
