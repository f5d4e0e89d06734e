//! Keys in other forms than a JWKS, and keys that are skipped. Which keys verify: `differential`.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
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

/// An EC key whose `x` begins with a zero byte that its issuer leaves out.
fn without_leading_zero() -> Value {
    loop {
        let mut jwk = SigningKey::generate(Alg::Es512, "short").public_jwk();
        let x = BASE64.decode(jwk["x"].as_str().unwrap()).unwrap();
        if let Some(short) = x.strip_prefix(&[0]) {
            jwk["x"] = BASE64.encode(short).into();
            return jwk;
        }
    }
}

/// The script of docs/rotation.md prints the names under which `revoked_keys` knows the keys, in whatever form their issuer wrote
/// the keys.
#[test]
fn the_script_of_the_runbook_prints_the_names_of_keys() {
    let runbook = crate::docs::read("docs/rotation.md");
    let (_, rest) = runbook.split_once("   ```\n   python3 -c '").unwrap();
    let (script, _) = rest.split_once("\n   ' < jwks.json\n").unwrap();
    let algs = [Alg::Rs256, Alg::Es256, Alg::Es384, Alg::Es512, Alg::EdDsa];
    let mut keys: Vec<Value> = algs.map(|alg| SigningKey::generate(alg, alg.name()).public_jwk()).into();
    let mut odd = keys.clone();
    for jwk in &mut odd {
        let member = if jwk["kty"] == "RSA" { "n" } else { "x" };
        let digits = jwk[member].as_str().unwrap();
        let padding = "=".repeat((4 - digits.len() % 4) % 4);
        jwk[member] = format!(" {}\n{}{padding}", &digits[..7], &digits[7..]).into();
        jwk["kid"] = json!(7);
        if jwk["kty"] == "EC" {
            jwk.as_object_mut().unwrap().remove("crv");
        }
    }
    keys.extend(odd);
    keys.push(without_leading_zero());
    keys.extend([json!(7), json!({"kty": "AKP"}), json!({"kty": "EC", "crv": "P-256", "x": 7}), json!({"kid": "x"})]);
    let document = json!({ "keys": keys }).to_string();

    let mut python = Command::new("python3");
    python.args(["-c", &script.replace("\n   ", "\n")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();

    let read = document::parse(document.as_bytes(), document::Limits::default()).unwrap().keys;
    let names = read.published().map(|key| format!("{} {}", key.kid().unwrap_or("-"), key.thumbprint()));
    let unusable = (0..4).map(|number| format!("{} not a key that jwks-gate reads", ["-", "-", "-", "x"][number]));
    assert_eq!(printed.lines().collect::<Vec<_>>(), names.chain(unusable).collect::<Vec<_>>());
    assert_eq!(read.len(), 11);
}
