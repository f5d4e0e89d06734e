//! Which requests are allowed, and how the others are answered.

use std::time::{SystemTime, UNIX_EPOCH};

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::Request;
use serde_json::{json, Value};

use crate::setup::{issuer_with, tampered, Plan, Site, BAD_SIGNATURE, MISSING, UNKNOWN_KEY};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn with(site: &Site, claim: &str, value: Value) -> String {
    let mut claims = site.issuer.claims();
    claims[claim] = value;
    site.issuer.current().mint(&claims)
}

#[test]
fn each_token_gets_its_documented_answer() {
    for alg in [Alg::Es256, Alg::Rs256] {
        let site = Plan::with(issuer_with(alg, Some(600))).start_warm();
        let good = site.issuer.token();
        let header = |header: Value| site.issuer.current().mint_with_header(&header, &site.issuer.claims());
        let unsigned = good.rsplit_once('.').unwrap().0;
        let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
        let hmac = SigningKey::generate(Alg::Hs256, &site.issuer.current().kid).mint(&site.issuer.claims());
        let malformed = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
        let cases = [
            (good.clone(), 200, ""),
            (with(&site, "aud", json!(["x", "api"])), 200, ""),
            (with(&site, "exp", json!(now() - 30)), 200, ""),
            (with(&site, "nbf", json!(now() + 30)), 200, ""),
            (with(&site, "exp", json!(now() - 90)), 401, "Jwt is expired"),
            (with(&site, "nbf", json!(now() + 90)), 401, "Jwt not yet valid"),
            (with(&site, "iss", json!("https://other.test")), 401, "Jwt issuer is not configured"),
            (with(&site, "aud", json!("other")), 403, "Audiences in Jwt are not allowed"),
            (tampered(&good, 2), 401, BAD_SIGNATURE),
            (unsigned.to_owned(), 401, malformed),
            (format!("{unsigned}."), 401, malformed),
            (none, 401, malformed),
            (hmac, 401, "Jwt header [alg] is not supported"),
            (header(json!({"alg": alg.name(), "crit": ["x"], "x": 1})), 401, "Jwt header [crit] is not supported"),
            ("a.b.c".to_owned(), 401, "Jwt header is an invalid Base64url encoded"),
        ];
        for (token, status, body) in cases {
            let response = site.get(&token);
            assert_eq!(response.status, status, "{alg:?} {token}: {}", response.text());
            if status == 200 {
                continue;
            }
            assert_eq!(response.text(), body, "{alg:?} {token}");
            let challenge = response.header("www-authenticate").unwrap();
            let realm = format!("Bearer realm=\"http://{}/api/x\"", site.envoy.addr());
            assert!(challenge.starts_with(&realm), "{challenge}");
            assert!(challenge.contains("error=\"invalid_token\", error_description=\""), "{challenge}");
        }
        assert_eq!(site.gets(), 1, "no bad token causes a fetch");
        site.assert_healthy();
    }
}

#[test]
fn a_payload_of_another_token_is_denied() {
    let site = Plan::new().start_warm();
    let (alice, mallory) = (site.issuer.token(), with(&site, "sub", json!("mallory")));
    let sections: Vec<_> = alice.split('.').collect();
    let forged = format!("{}.{}.{}", sections[0], mallory.split('.').nth(1).unwrap(), sections[2]);
    assert_eq!((site.get(&forged).status, site.get(&forged).text().as_str()), (401, BAD_SIGNATURE));
    site.assert_healthy();
}

#[test]
fn the_challenge_for_a_missing_token_names_no_error() {
    let site = Plan::new().start_warm();
    for request in [Request::get("/api/x"), Request::get("/api/x").header("authorization", "Basic YTpi")] {
        let response = site.send(&request);
        assert_eq!((response.status, response.text().as_str()), (401, MISSING));
        let realm = format!("Bearer realm=\"http://{}/api/x\"", site.envoy.addr());
        assert_eq!(response.header("www-authenticate"), Some(realm.as_str()));
    }
}

#[test]
fn the_token_is_removed_unless_forward_is_set() {
    for forward in [false, true] {
        let site = Plan::new().provider("forward", forward).start_warm();
        let token = site.issuer.token();
        let seen = site.get(&token).json();
        let expected = if forward { json!([format!("Bearer {token}")]) } else { Value::Null };
        assert_eq!(seen["headers"]["authorization"], expected);
    }
}

#[test]
fn tokens_are_found_in_the_configured_locations_only() {
    let location = json!([{"name": "X-Token", "value_prefix": "T "}]);
    let site = Plan::new().provider("from_headers", location).start();
    let token = site.issuer.token();
    let response = site.send(&Request::get("/api/x").header("x-token", format!("T {token}")));
    assert_eq!((response.status, &response.json()["headers"]["x-token"]), (200, &Value::Null));
    assert_eq!(site.send(&Request::get("/api/x").header("x-token", token.clone())).text(), MISSING);
    assert_eq!(site.get(&token).text(), MISSING);
}

#[test]
fn the_first_matching_rule_applies_and_without_a_match_no_token_is_needed() {
    let mut plan = Plan::new();
    plan.config["rules"] = json!([
        {"match": {"path": "/api/health"}},
        {"match": {"prefix": "/api/"}, "requires": {"provider_name": "p"}},
        {"match": {"prefix": "/api/open/"}},
    ]);
    let site = plan.start_warm();
    for (path, status) in [
        ("/api/health", 200),
        ("/api/health?x=1", 200),
        ("/api/healthy", 401),
        ("/api/open/x", 401),
        ("/other", 200),
        ("/", 200),
    ] {
        assert_eq!(site.send(&Request::get(path)).status, status, "{path}");
    }
    let seen = site.send(&Request::get("/other").bearer("nonsense")).json();
    assert_eq!(seen["headers"]["authorization"], json!(["Bearer nonsense"]), "a request without a rule is not changed");
}

#[test]
fn local_keys_need_no_issuer() {
    let key = SigningKey::generate(Alg::Rs256, "local");
    let mut plan = Plan::new();
    plan.config["providers"]["p"] = json!({
        "issuer": plan.issuer.issuer(),
        "local_jwks": {"inline_string": json!({"keys": [key.public_jwk()]}).to_string()},
    });
    let site = plan.start();
    assert_eq!(site.get(&key.mint(&site.issuer.claims())).status, 200);
    assert_eq!(site.get(&site.issuer.token()).text(), UNKNOWN_KEY);
    assert_eq!(site.gets(), 0);
}
