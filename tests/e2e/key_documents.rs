//! Keys in other forms than a JWKS, and keys that are skipped. Which keys verify: `differential`.

use std::time::Duration;

use jwks_gate::keys::document;
use jwks_gate_issuer::{Alg, Rotation, SigningKey};
use jwks_gate_testbed::eventually;
use serde_json::{json, Value};

use crate::setup::{issuer_with, Plan};

/// A map of `kid` to certificate, as Google and Firebase publish their keys.
fn certificates<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Vec<u8> {
    let members = keys.into_iter().map(|key| (key.kid.clone(), Value::from(key.certificate_pem())));
    Value::Object(members.collect()).to_string().into_bytes()
}

#[test]
fn certificates_rotate_as_jwks_do() {
    for alg in [Alg::Rs256, Alg::Es256] {
        let plan = Plan::with(issuer_with(alg, Some(600))).rotation("retired_key_grace", "60s");
        let (first, other) = (plan.issuer.current(), SigningKey::generate(Alg::Rs256, "other"));
        plan.issuer.publish(certificates([&*first, &other]));
        let site = plan.start_warm();
        let old = site.issuer.token();
        assert_eq!(site.get(&other.mint(&site.issuer.claims())).status, 200);

        site.issuer.rotate(Rotation::Hard);
        let second = site.issuer.current();
        site.issuer.publish(certificates([&*second]));
        let new = site.issuer.token();
        assert_eq!(site.get_at_once(20, |_| new.clone()), [(200, 20)]);
        assert_eq!(site.get_at_once(20, |_| old.clone()), [(200, 20)], "within the grace");
        assert_eq!(site.gets(), 2);
        let line = format!("key {:?} left the JWKS; it verifies for another 60 s", first.kid);
        assert!(eventually(Duration::from_secs(10), || site.envoy.log().contains(&line)), "{}", site.envoy.log());
        site.assert_healthy();
    }
}

#[test]
fn a_certificate_is_revoked_by_kid_and_by_thumbprint() {
    let by_kid: fn(&[u8]) -> String = |body| name(body, |key| key.kid().unwrap().to_owned());
    let by_thumbprint: fn(&[u8]) -> String = |body| name(body, |key| key.thumbprint().to_owned());
    for name in [by_kid, by_thumbprint] {
        let plan = Plan::with(issuer_with(Alg::Rs256, Some(600)));
        let (good, bad) = (plan.issuer.current(), SigningKey::generate(Alg::Rs256, "bad"));
        let body = certificates([&*good, &bad]);
        plan.issuer.publish(body.clone());
        let site = plan.rotation("revoked_keys", json!([name(&certificates([&bad]))])).start_warm();
        let response = site.get(&bad.mint(&site.issuer.claims()));
        assert_eq!(response.status, 401, "{}", response.text());
        site.assert_healthy();
    }
}

fn name(body: &[u8], of: impl Fn(&jwks_gate::keys::Key) -> String) -> String {
    of(document::parse(body, document::Limits::default()).unwrap().keys.published().next().unwrap())
}

#[test]
fn local_certificates_verify() {
    let mut plan = Plan::with(issuer_with(Alg::Rs256, None));
    let (rsa, ec) = (plan.issuer.current(), SigningKey::generate(Alg::Es384, "ec"));
    let map = json!({&rsa.kid: rsa.certificate_pem(), "ec": ec.public_key_pem()});
    plan.config["providers"]["p"] =
        json!({"issuer": plan.issuer.issuer(), "local_jwks": {"inline_string": map.to_string()}});
    let site = plan.start();
    for key in [&*rsa, &ec] {
        assert_eq!(site.get(&key.mint(&site.issuer.claims())).status, 200, "{}", key.kid);
    }
    site.assert_healthy();
}

/// Keycloak publishes a key for encryption; an operator pastes all keys.
#[test]
fn a_local_key_that_cannot_be_used_is_skipped_and_logged() {
    let mut plan = Plan::with(issuer_with(Alg::Rs256, None));
    let mut encryption = SigningKey::generate(Alg::Rs256, "enc").public_jwk();
    (encryption["use"], encryption["alg"]) = (json!("enc"), json!("RSA-OAEP"));
    let jwks = json!({"keys": [encryption, {"kty": "AKP"}, plan.issuer.current().public_jwk()]}).to_string();
    plan.config["providers"]["p"] = json!({"issuer": plan.issuer.issuer(), "local_jwks": {"inline_string": jwks}});
    let site = plan.start();
    let log = site.envoy.log();
    for line in ["keys[0] is skipped: not for verifying", "keys[1] is skipped: unsupported type"] {
        let line = format!("jwks-gate: providers.p.local_jwks.inline_string: {line}");
        assert!(log.contains(&line), "{log}");
    }
    site.assert_healthy();
}
