//! Key documents: a JWKS, or a map of `kid` to PEM. An input whose first byte is small is the DER of a key or certificate.

use jwks_gate::{
    keys::{
        document::{self, Limits},
        revoked::RevokedKeys,
        Algorithm, Key, KeySet,
    },
    time::UnixTime,
};
use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::json;

use super::jwk;

const LIMITS: Limits = Limits { max_document_bytes: 1 << 16, max_keys: 20 };
const LABELS: [&str; 3] = ["CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY"];

pub fn seeds() -> Vec<Vec<u8>> {
    let key = SigningKey::generate(Alg::Es256, "k");
    let content = |pem: &str| {
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).expect("PEM")
    };
    let jwks = |keys: &[&str]| format!(r#"{{"keys":[{}],"spiffe_refresh_hint":60}}"#, keys.join(",")).into_bytes();
    vec![
        jwks(&jwk::KEYS),
        jwks(&jwk::KEYS[1..4]),
        jwks(&[jwk::KEYS[1], jwk::KEYS[5]]),
        jwks(&[]),
        json!({ "a": key.public_key_pem(), "b": key.certificate_pem() }).to_string().into_bytes(),
        [vec![0], content(&key.certificate_pem())].concat(),
        [vec![1], content(&key.public_key_pem())].concat(),
        vec![2, 0x30, 6, 2, 1, 0x7f, 2, 1, 3],
    ]
}

pub fn run(data: &[u8]) {
    match data.split_first().and_then(|(label, der)| Some((LABELS.get(usize::from(*label))?, der))) {
        Some((label, der)) => check(json!({ "k": jwk::pem(label, der) }).to_string().as_bytes()),
        None => check(data),
    }
}

fn check(body: &[u8]) {
    let document = document::parse(body, LIMITS);
    let local = document::parse_local(body);
    let Ok(document) = document else { return };
    assert!(local.is_ok() && document::parse_cached(body, LIMITS).is_ok());
    assert!(document.keys.len() + document.skipped.len() <= LIMITS.max_keys && body.len() <= LIMITS.max_document_bytes);
    assert!(!document.keys.contains_secrets() && document.refresh_hint.is_none_or(|hint| hint.as_secs() > 0));

    let entries = document::entries(body);
    let published: Vec<_> = document.keys.published().collect();
    assert_eq!(published.len(), entries.len());
    for (published, (key, jwk)) in published.iter().zip(&entries) {
        assert!(published.is_same_entry(key));
        // A retired key is kept as its JWK alone.
        let again = document::parse_key(jwk).expect("a JWK of an entry");
        assert!(again.is_same_entry(key) && again.thumbprint() == key.thumbprint());
    }
    check_selection(&document.keys, &published);

    // The usable keys alone are the same set.
    let jwks: Vec<_> = entries.iter().map(|(_, jwk)| String::from_utf8_lossy(jwk)).collect();
    let again = document::parse(format!(r#"{{"keys":[{}]}}"#, jwks.join(",")).as_bytes(), Limits::default());
    let again = again.expect("usable keys");
    assert!(again.skipped.is_empty() && again.keys.len() == published.len());
}

/// A `kid` selects its own keys and those without `kid`; a revoked key is selected by nothing.
fn check_selection(keys: &KeySet, published: &[&Key]) {
    let now = UnixTime::from_millis(0);
    for algorithm in Algorithm::ASYMMETRIC {
        let fitting = published.iter().filter(|key| key.fits(algorithm)).count();
        assert_eq!(keys.candidates(None, algorithm, now).count(), fitting);
    }
    for key in published {
        let named = |algorithm| keys.candidates(key.kid(), algorithm, now).any(|(candidate, _)| candidate.is_same(key));
        assert!(Algorithm::ASYMMETRIC.into_iter().any(named), "{key:?} verifies nothing");
        for name in [Some(key.thumbprint()), key.kid()].into_iter().flatten() {
            let left = keys.clone().without_revoked(&RevokedKeys::new([name.to_owned()]));
            assert!(!left.published().any(|other| other.thumbprint() == key.thumbprint()), "{name} is revoked");
        }
    }
}
