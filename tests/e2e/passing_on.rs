//! Claims reach upstreams, RBAC and access logs. Headers that a client forges do not.

use std::time::Duration;

use jwks_gate_issuer::{Fault, Times};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::{json, Value};

use crate::setup::{Plan, Site};

#[test]
fn headers_of_the_filter_are_removed_from_requests() {
    let mut plan = Plan::new()
        .provider("forward_payload_header", "X-Payload")
        .provider("claim_to_headers", json!([{"header_name": "X-User", "claim_name": "sub"}]));
    plan.config["rules"] = json!([
        {"match": {"prefix": "/api/"}, "requires": {"provider_name": "p"}},
        {"match": {"prefix": "/maybe/"}, "requires": {"requires_any": {"requirements": [
            {"provider_name": "p"}, {"allow_missing_or_failed": {}},
        ]}}},
        {"match": {"prefix": "/listed-without-requirement"}},
    ]);
    let site = plan.start_warm();
    let forged = |path: &str| {
        let forged = Request::get(path).header("x-user", "mallory").header("X-USER", "eve").header("x-payload", "e30");
        forged.header("x-user-id", "stays")
    };
    let seen = |request: &Request| site.send(request).json()["headers"].clone();
    for path in ["/other", "/listed-without-requirement", "/maybe/x"] {
        let seen = seen(&forged(path));
        assert_eq!((&seen["x-user"], &seen["x-payload"]), (&Value::Null, &Value::Null), "{path}");
        assert_eq!(seen["x-user-id"], json!(["stays"]), "{path}");
    }
    let bad = seen(&forged("/maybe/x").bearer(&site.token_of_unknown_key()));
    assert_eq!((&bad["x-user"], &bad["x-payload"]), (&Value::Null, &Value::Null));
    let token = site.issuer.token();
    let good = seen(&forged("/api/x").bearer(&token));
    assert_eq!(good["x-user"], json!([site.issuer.claims()["sub"]]));
    assert_eq!(good["x-payload"], json!([token.split('.').nth(1).unwrap()]));
    site.assert_healthy();
}

#[test]
fn a_claim_cannot_inject_a_header() {
    let site =
        Plan::new().provider("claim_to_headers", json!([{"header_name": "x-user", "claim_name": "sub"}])).start_warm();
    for sub in ["a\r\nx-admin: yes", "a\nb", "a\0b", "\u{7f}"] {
        let mut claims = site.issuer.claims();
        claims["sub"] = json!(sub);
        let seen = site.get(&site.issuer.current().mint(&claims)).json()["headers"].clone();
        assert_eq!((&seen["x-user"], &seen["x-admin"]), (&Value::Null, &Value::Null), "{sub:?}");
    }
    let mut claims = site.issuer.claims();
    claims["sub"] = json!("Zoë\tZ");
    let seen = site.get(&site.issuer.current().mint(&claims));
    assert_eq!(seen.json()["headers"]["x-user"], json!(["Zoë\tZ"]));
    site.assert_healthy();
}

/// A parked request gets its header changes when it continues.
#[test]
fn a_parked_request_gets_its_headers() {
    let mut plan = Plan::new()
        .provider("claim_to_headers", json!([{"header_name": "x-user", "claim_name": "sub"}]))
        .provider("from_params", json!(["t"]));
    plan.config["rules"] = json!([{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]);
    let site = plan.timeout("20s").fault(Fault::Hang, Times::Always).start();
    let request = Request::get(&format!("/api?a=1&t={}&b=%2F", site.issuer.token())).header("x-user", "mallory");
    let seen = std::thread::scope(|scope| {
        let response = scope.spawn(|| site.send(&request));
        site.heal_when_parked(1);
        response.join().unwrap().json()
    });
    assert_eq!(seen["headers"]["x-user"], json!([site.issuer.claims()["sub"]]));
    assert_eq!(seen["path"], "/api?a=1&b=%2F");
    site.assert_no_vm_restarted();
}

fn lines(site: &Site) -> String {
    site.envoy.log().lines().filter(|line| line.contains("LINE")).collect::<Vec<_>>().join("\n")
}

#[test]
fn filter_state_reaches_the_access_log() {
    let mut plan = Plan::new()
        .provider("payload_in_metadata", "claims")
        .provider("header_in_metadata", "header")
        .provider("failed_status_in_metadata", "failed")
        .provider("normalize_payload_in_metadata", json!({"space_delimited_claims": ["scope"]}))
        .bootstrap(|bootstrap| {
            let state = [
                "claims.sub",
                "claims.scope",
                "header",
                "failed.code",
                "jwks_gate.decision",
                "jwks_gate.reason",
                "jwks_gate.provider",
            ]
            .map(|name| format!(" [%FILTER_STATE(wasm.{name}:PLAIN)%]"));
            bootstrap.access_log(&format!("LINE %RESPONSE_CODE%{}", state.concat()))
        });
    plan.config["rules"] = json!([
        {"match": {"prefix": "/strict/"}, "requires": {"requires_any": {"requirements": [
            {"provider_name": "p"}, {"allow_missing": {}},
        ]}}},
        {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
            {"provider_name": "p"}, {"allow_missing_or_failed": {}},
        ]}}},
    ]);
    let site = plan.start_warm();
    let mut claims = site.issuer.claims();
    claims["scope"] = json!("read write");
    claims["sub"] = json!("alice");
    let key = site.issuer.current();
    let header = format!("{{\"alg\":\"ES256\",\"kid\":\"{}\",\"typ\":\"JWT\"}}", key.kid);
    assert_eq!(site.get(&key.mint(&claims)).status, 200);
    let line = format!("LINE 200 [alice] [[\"read\",\"write\"]] [{header}] [-]");
    assert!(eventually(Duration::from_secs(15), || site.envoy.log().contains(&line)), "{line}\n{}", lines(&site));
    claims["exp"] = json!(1);
    assert_eq!(site.get(&key.mint(&claims)).status, 200);
    // The access log of a denied request shows the decision.
    let denied = site.send(&Request::get("/strict/x").bearer(&key.mint(&claims)));
    assert_eq!(denied.status, 401);
    let line = "LINE 401 [-] [-] [-] [expired] [denied] [expired] [p]";
    assert!(eventually(Duration::from_secs(15), || site.envoy.log().contains(line)), "{line}\n{}", lines(&site));
    let line = "LINE 200 [-] [-] [-] [expired]";
    assert!(eventually(Duration::from_secs(15), || site.envoy.log().contains(line)), "{line}\n{}", lines(&site));
    site.assert_healthy();
}
