//! Keys in settings: which are usable, and that what is issued is accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ActorId;
use service::auth::{Issuer, Scope, TokenRequest, Verifier};
use service::settings::{AuthSettings, KeyAlgorithm, KeySettings, Secret, SigningSettings};

use crate::tokens::{NOW, at, key, key_file, now, settings};

fn request() -> TokenRequest {
    TokenRequest {
        tenant: "dev".parse().unwrap(),
        subject: ActorId("developer".to_owned()),
        scopes: BTreeSet::from([Scope::OrdersRead, Scope::CatalogWrite]),
        establishments: Some(BTreeSet::from(["main".parse().unwrap()])),
        ttl: Duration::from_secs(3_600),
    }
}

fn refusal(key: KeySettings) -> String {
    let settings = AuthSettings {
        keys: vec![key],
        ..AuthSettings::default()
    };
    Verifier::new(&settings)
        .expect_err("the key must be refused")
        .to_string()
}

#[test]
fn given_each_kind_of_signing_key_when_a_token_is_issued_then_the_verifier_accepts_it() {
    let signing = |kid: &str, algorithm, file: &str| {
        let private_key_file = Some(key_file(file));
        Some(SigningSettings {
            kid: Some(kid.to_owned()),
            algorithm,
            secret_file: None,
            private_key_file,
        })
    };
    let signers = [
        None,
        signing("ed", KeyAlgorithm::EdDsa, "ed25519.pem"),
        signing("rsa", KeyAlgorithm::Rs256, "rsa.pem"),
    ];
    for signing in signers {
        let settings = AuthSettings { signing, ..settings() };
        let token = Issuer::new(&settings).unwrap().issue(&request(), now()).unwrap();
        let principal = Verifier::new(&settings).unwrap().verify_at(&token, now()).unwrap();
        assert_eq!(principal.tenant().tenant().as_str(), "dev");
        assert_eq!(principal.only_establishment().unwrap().as_str(), "main");
        assert!(principal.has(Scope::CatalogWrite) && !principal.has(Scope::OrdersWrite));
        assert_eq!(principal.expires_at(), at(NOW + 3_600));
    }
}

#[test]
fn given_a_secret_in_a_file_when_read_then_its_line_break_is_not_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let by_file = KeySettings {
        secret: None,
        secret_file: Some(file),
        ..key(None, KeyAlgorithm::Hs256)
    };
    let issuing = AuthSettings {
        keys: vec![by_file],
        ..AuthSettings::default()
    };
    let token = Issuer::new(&issuing).unwrap().issue(&request(), now()).unwrap();

    let by_value = KeySettings {
        secret: Some(Secret::new("0123456789abcdef0123456789abcdef")),
        ..key(None, KeyAlgorithm::Hs256)
    };
    let verifying = AuthSettings {
        keys: vec![by_value],
        ..AuthSettings::default()
    };
    assert!(Verifier::new(&verifying).unwrap().verify_at(&token, now()).is_ok());
}

#[test]
fn given_unusable_keys_when_the_process_starts_then_it_says_which_and_why() {
    let hs = key(None, KeyAlgorithm::Hs256);
    let ed = key(None, KeyAlgorithm::EdDsa);
    let with_file = |algorithm, name: &str| KeySettings {
        public_key_file: Some(key_file(name)),
        ..key(None, algorithm)
    };

    assert!(
        refusal(KeySettings {
            secret: Some(Secret::new("short")),
            ..hs.clone()
        })
        .contains("32 bytes")
    );
    assert!(
        refusal(KeySettings {
            secret: None,
            ..hs.clone()
        })
        .contains("either secret or secret_file")
    );
    assert!(
        refusal(KeySettings {
            public_key_file: ed.public_key_file.clone(),
            ..hs
        })
        .contains("nothing else")
    );
    assert!(
        refusal(KeySettings {
            secret: Some(Secret::new("x".repeat(32))),
            ..ed.clone()
        })
        .contains("nothing else")
    );
    assert!(
        refusal(KeySettings {
            public_key_file: Some("/nowhere.pem".into()),
            ..ed
        })
        .contains("/nowhere.pem")
    );
    assert!(refusal(with_file(KeyAlgorithm::EdDsa, "ed25519.pem")).contains("private key"));
    assert!(refusal(with_file(KeyAlgorithm::EdDsa, "rsa.pub.pem")).contains("Ed25519 public key"));
    assert!(refusal(with_file(KeyAlgorithm::Rs256, "ed25519.pub.pem")).contains("RSA public key"));
    assert!(refusal(with_file(KeyAlgorithm::Rs256, "weak-rsa.pub.pem")).contains("2048 bits"));
    assert!(refusal(with_file(KeyAlgorithm::EdDsa, "README.md")).contains("Ed25519 public key"));
}

#[test]
fn given_two_keys_that_one_token_could_mean_when_the_process_starts_then_it_is_refused() {
    for kid in [None, Some("same")] {
        let keys = vec![key(kid, KeyAlgorithm::Hs256), key(kid, KeyAlgorithm::EdDsa)];
        assert!(
            Verifier::new(&AuthSettings {
                keys,
                ..AuthSettings::default()
            })
            .is_err()
        );
    }
}

#[test]
fn given_no_key_at_all_when_a_token_comes_then_it_is_refused_and_none_can_be_issued() {
    let token = Issuer::new(&settings()).unwrap().issue(&request(), now()).unwrap();
    let nothing = AuthSettings::default();
    assert!(Verifier::new(&nothing).unwrap().verify_at(&token, now()).is_err());
    assert!(Issuer::new(&nothing).is_err());
}
