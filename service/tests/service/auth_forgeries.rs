//! Tokens that must not count, and the honest neighbours of each that must.

use serde_json::{Value, json};
use service::auth::{AuthError, Principal, Scope, Verifier};
use service::problem::Problem;

use crate::tokens::{self, NOW, SECRET, Signer, at, claims, claims_with, honest, now, part};

fn verify(token: &str) -> Result<Principal, AuthError> {
    Verifier::new(&tokens::settings()).unwrap().verify_at(token, now())
}

fn refused(token: &str) -> AuthError {
    verify(token).expect_err("the token must be refused")
}

#[test]
fn given_honest_tokens_of_every_key_when_verified_then_accepted() {
    let ed = Signer::Ed("ed25519.pem").token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    let rsa = Signer::Rsa("rsa.pem").token(&json!({"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}), &claims());
    for token in [honest(&claims()), ed, rsa] {
        let principal = verify(&token).unwrap();
        assert_eq!(principal.tenant().tenant().as_str(), "trattoria");
        assert_eq!(principal.actor().0, "till-1");
        assert!(principal.has(Scope::OrdersWrite) && !principal.has(Scope::Ops));
        assert_eq!(principal.expires_at(), at(NOW + 60));
    }
}

/// Every token here gets the same answer, which teaches nothing about why.
#[test]
fn given_forged_tokens_when_verified_then_none_is_accepted() {
    let public_pem = |name| std::fs::read(tokens::key_file(name)).unwrap();
    let hs = json!({"alg": "HS256"});
    let signed = honest(&claims());
    let (body, signature) = signed.rsplit_once('.').unwrap();
    let by = |header: Value| Signer::secret().token(&header, &claims());
    let stranger = Signer::Ed("stranger-ed25519.pem");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"});
    let unsigned = |alg: &str| {
        format!(
            "{}.{}.",
            part(&json!({"alg": alg}).to_string()),
            part(&claims().to_string())
        )
    };

    let forgeries = [
        ("no algorithm", by(json!({"typ": "JWT"}))),
        ("alg none, unsigned", unsigned("none")),
        ("alg None, unsigned", unsigned("None")),
        ("alg nOnE, unsigned", unsigned("nOnE")),
        ("alg none, signed", by(json!({"alg": "none"}))),
        ("HS256, unsigned", unsigned("HS256")),
        ("alg hs256", by(json!({"alg": "hs256"}))),
        ("alg HS512", by(json!({"alg": "HS512"}))),
        ("alg a list", by(json!({"alg": ["HS256"]}))),
        ("another secret", Signer::Secret(vec![7; 32]).token(&hs, &claims())),
        ("an empty secret", Signer::Secret(Vec::new()).token(&hs, &claims())),
        (
            "HS256 by the RSA public key",
            Signer::Secret(public_pem("rsa.pub.pem")).token(&json!({"alg": "HS256", "kid": "rsa"}), &claims()),
        ),
        (
            "RS256 claimed for it",
            Signer::Secret(public_pem("rsa.pub.pem")).token(&json!({"alg": "RS256", "kid": "rsa"}), &claims()),
        ),
        (
            "HS256 by the Ed25519 public key",
            Signer::Secret(public_pem("ed25519.pub.pem")).token(&json!({"alg": "HS256", "kid": "ed"}), &claims()),
        ),
        (
            "the secret under an asymmetric kid",
            by(json!({"alg": "HS256", "kid": "ed"})),
        ),
        (
            "the RSA key under the Ed25519 kid",
            Signer::Rsa("rsa.pem").token(&json!({"alg": "RS256", "kid": "ed"}), &claims()),
        ),
        (
            "the Ed25519 key without kid",
            Signer::Ed("ed25519.pem").token(&json!({"alg": "EdDSA"}), &claims()),
        ),
        (
            "a stranger's key",
            stranger.token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims()),
        ),
        (
            "a key brought along",
            stranger.token(&json!({"alg": "EdDSA", "kid": "ed", "jwk": jwk}), &claims()),
        ),
        (
            "a key by URL",
            stranger.token(
                &json!({"alg": "EdDSA", "kid": "ed", "jku": "https://evil.test/k"}),
                &claims(),
            ),
        ),
        (
            "a certificate by URL",
            stranger.token(
                &json!({"alg": "EdDSA", "kid": "ed", "x5u": "https://evil.test/c"}),
                &claims(),
            ),
        ),
        ("an unknown kid", by(json!({"alg": "HS256", "kid": "other"}))),
        ("an empty kid", by(json!({"alg": "HS256", "kid": ""}))),
        (
            "a kid that is a path",
            by(json!({"alg": "HS256", "kid": "../../dev/null"})),
        ),
        (
            "a kid that is SQL",
            by(json!({"alg": "HS256", "kid": "' UNION SELECT 'x"})),
        ),
        ("a kid that is no text", by(json!({"alg": "HS256", "kid": 0}))),
        ("crit", by(json!({"alg": "HS256", "crit": ["b64"], "b64": false}))),
        ("empty crit", by(json!({"alg": "HS256", "crit": []}))),
        (
            "null crit",
            Signer::secret().sign(r#"{"alg":"HS256","crit":null}"#, &claims().to_string()),
        ),
        ("an ID token's type", by(json!({"alg": "HS256", "typ": "logout+jwt"}))),
        (
            "alg twice",
            Signer::secret().sign(r#"{"alg":"none","alg":"HS256"}"#, &claims().to_string()),
        ),
        (
            "kid twice",
            Signer::secret().sign(r#"{"alg":"HS256","kid":"ed","kid":null}"#, &claims().to_string()),
        ),
        (
            "a header that is no object",
            Signer::secret().sign("[]", &claims().to_string()),
        ),
        (
            "claims exchanged",
            format!(
                "{}.{}.{signature}",
                part(&hs.to_string()),
                part(&claims_with(json!({"tenant": "rival"})).to_string())
            ),
        ),
        ("no signature", format!("{body}.")),
        ("half a signature", format!("{body}.{}", &signature[..20])),
        ("padded signature", format!("{signed}=")),
        ("two parts", body.to_owned()),
        ("four parts", format!("{signed}.{signature}")),
        ("five parts, as encrypted tokens have", format!("{signed}.a.b")),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("no base64", format!("{signed}*")),
        ("white space", format!("{signed} ")),
        ("oversize", honest(&claims_with(json!({"padding": "x".repeat(9_000)})))),
    ];
    for (name, token) in forgeries {
        let error = verify(&token).err().unwrap_or_else(|| panic!("accepted: {name}"));
        assert!(matches!(error, AuthError::NotAccepted), "{name}: {error:?}");
    }
}

#[test]
fn given_signed_tokens_with_bad_claims_when_verified_then_each_is_refused() {
    let signed_but_wrong = [
        ("no exp", json!({"exp": null})),
        ("exp is text", json!({"exp": (NOW + 60).to_string()})),
        ("exp is negative", json!({"exp": -1})),
        ("exp is a list", json!({"exp": [NOW + 60]})),
        ("nbf is text", json!({"nbf": "0"})),
        ("no iss", json!({"iss": null})),
        ("iss is a list", json!({"iss": ["comanda"]})),
        ("no aud", json!({"aud": null})),
        ("no sub", json!({"sub": null})),
        ("empty sub", json!({"sub": ""})),
        ("sub with NUL", json!({"sub": "till\u{0}1"})),
        ("sub with a line break", json!({"sub": "till\n1"})),
        ("long sub", json!({"sub": "x".repeat(257)})),
        ("no tenant", json!({"tenant": null})),
        ("empty tenant", json!({"tenant": ""})),
        ("tenant with a slash", json!({"tenant": "a/b"})),
        ("tenant with NUL", json!({"tenant": "a\u{0}"})),
        ("two tenants", json!({"tenant": ["a", "b"]})),
        ("long tenant", json!({"tenant": "x".repeat(65)})),
        ("establishments is text", json!({"establishments": "centro"})),
        ("invalid establishment", json!({"establishments": ["a/b"]})),
        ("scope is a list", json!({"scope": ["ops"]})),
    ];
    for (name, change) in signed_but_wrong {
        let error = refused(&honest(&claims_with(change)));
        assert!(matches!(error, AuthError::Claims(_)), "{name}: {error:?}");
    }
    for (name, text) in [
        (
            "establishments is null",
            claims().to_string().replacen('{', r#"{"establishments":null,"#, 1),
        ),
        (
            "tenant twice",
            claims().to_string().replacen('{', r#"{"tenant":"rival","#, 1),
        ),
        (
            "exp twice",
            claims().to_string().replacen('{', r#"{"exp":9999999999,"#, 1),
        ),
        (
            "exp beyond numbers",
            claims().to_string().replace(&(NOW + 60).to_string(), "1e999"),
        ),
        ("no object", "[]".to_owned()),
        ("no JSON", "claims".to_owned()),
    ] {
        let error = refused(&Signer::secret().sign(r#"{"alg":"HS256"}"#, &text));
        assert!(matches!(error, AuthError::Claims(_)), "{name}: {error:?}");
    }
    assert!(matches!(
        refused(&honest(&claims_with(json!({"iss": "else"})))),
        AuthError::WrongIssuer
    ));
    assert!(matches!(
        refused(&honest(&claims_with(json!({"aud": "else"})))),
        AuthError::WrongAudience
    ));
    assert!(matches!(
        refused(&honest(&claims_with(json!({"aud": []})))),
        AuthError::WrongAudience
    ));
    assert!(verify(&honest(&claims_with(json!({"aud": ["else", "comanda"]})))).is_ok());
}

#[test]
fn given_a_leeway_of_five_seconds_when_time_passes_then_it_bounds_exp_and_nbf_exactly() {
    let verifier = Verifier::new(&tokens::settings()).unwrap();
    let expiring = honest(&claims_with(json!({"exp": NOW})));
    assert!(verifier.verify_at(&expiring, at(NOW + 4)).is_ok());
    assert!(matches!(
        verifier.verify_at(&expiring, at(NOW + 5)),
        Err(AuthError::Expired)
    ));
    let early = honest(&claims_with(json!({"nbf": NOW})));
    assert!(matches!(
        verifier.verify_at(&early, at(NOW - 6)),
        Err(AuthError::NotYetValid)
    ));
    assert!(verifier.verify_at(&early, at(NOW - 5)).is_ok());
    let fractional = honest(&claims_with(json!({"exp": NOW as f64 - 0.5})));
    assert!(verifier.verify_at(&fractional, at(NOW + 4)).is_ok());
    assert!(matches!(
        verifier.verify_at(&fractional, at(NOW + 5)),
        Err(AuthError::Expired)
    ));
}

#[test]
fn given_a_remembered_token_when_it_expires_then_it_is_refused() {
    let mut settings = tokens::settings();
    settings.leeway_seconds = 0;
    let verifier = Verifier::new(&settings).unwrap();
    let token = honest(&claims_with(json!({"nbf": NOW - 10})));
    for second in [0, 30, 59] {
        assert!(verifier.verify_at(&token, at(NOW + second)).is_ok());
    }
    assert!(matches!(
        verifier.verify_at(&token, at(NOW + 60)),
        Err(AuthError::Expired)
    ));
    assert!(
        matches!(verifier.verify_at(&token, at(NOW - 11)), Err(AuthError::NotYetValid)),
        "the clock went back"
    );
}

#[test]
fn given_a_remembered_token_when_one_character_changes_then_it_is_refused() {
    let verifier = Verifier::new(&tokens::settings()).unwrap();
    let token = honest(&claims());
    verifier.verify_at(&token, now()).unwrap();
    for at in (0..token.len()).filter(|at| token.as_bytes()[*at] != b'.') {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verifier.verify_at(&changed, now()).is_err(), "byte {at}");
    }
}

#[test]
fn given_scopes_of_other_systems_when_verified_then_only_ours_count() {
    let principal = verify(&honest(&claims_with(
        json!({"scope": "openid ops ORDERS:READ orders:read,orders:write"}),
    )))
    .unwrap();
    assert!(principal.has(Scope::Ops));
    assert!(!principal.has(Scope::OrdersRead) && !principal.has(Scope::OrdersWrite));
    let none = verify(&honest(&claims_with(json!({"scope": null})))).unwrap();
    assert!(Scope::ALL.into_iter().all(|scope| !none.has(scope)));
}

#[test]
fn given_establishments_when_one_is_required_then_only_those_named_pass() {
    let id = |text: &str| text.parse().unwrap();
    let all = verify(&honest(&claims())).unwrap();
    assert!(all.establishments().is_none() && all.only_establishment().is_none());
    assert!(all.require_establishment(&id("anywhere")).is_ok());

    let one = verify(&honest(&claims_with(json!({"establishments": ["centro"]})))).unwrap();
    assert_eq!(one.only_establishment(), Some(&id("centro")));
    assert!(one.require_establishment(&id("centro")).is_ok());
    let problem = one.require_establishment(&id("porto")).unwrap_err();
    assert_eq!(
        (problem.status().as_u16(), problem.code()),
        (403, "establishment_forbidden")
    );

    let none = verify(&honest(&claims_with(json!({"establishments": []})))).unwrap();
    assert!(none.require_establishment(&id("centro")).is_err() && none.only_establishment().is_none());
}

#[test]
fn given_a_missing_scope_when_required_then_403_names_it() {
    let principal = verify(&honest(&claims())).unwrap();
    assert!(principal.require(Scope::OrdersRead).is_ok());
    let problem = principal.require(Scope::Ops).unwrap_err();
    assert_eq!((problem.status().as_u16(), problem.code()), (403, "missing_scope"));
    assert_eq!(serde_json::to_value(&problem).unwrap()["scope"], "ops");
}

#[test]
fn given_any_refusal_when_answered_then_401_and_nothing_of_key_or_secret() {
    let forged = Signer::Secret(vec![7; 32]).token(&json!({"alg": "HS256"}), &claims());
    for error in [
        refused(&forged),
        refused(&honest(&claims_with(json!({"exp": 1})))),
        refused("x"),
    ] {
        let problem = Problem::from(error);
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!((problem.status().as_u16(), problem.code()), (401, "invalid_token"));
        assert!(
            !text.contains(SECRET) && !text.contains("kid") && !text.contains("HS256"),
            "{text}"
        );
    }
}
