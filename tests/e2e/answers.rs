//! The format of denials, and report mode, which denies nothing.

use std::time::Duration;

use jwks_gate_issuer::{Fault, Times};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::json;

use crate::setup::{Plan, UNKNOWN_KEY};

#[test]
fn a_denial_has_problem_details_and_names_the_resource_metadata() {
    let metadata = "https://api.test/.well-known/oauth-protected-resource";
    let site = Plan::new()
        .provider("required_scopes", json!(["read", "write"]))
        .top("error_format", "json")
        .top("resource_metadata", metadata)
        .start();
    let missing = site.send(&Request::get("/api/x"));
    assert_eq!(missing.header("content-type"), Some("application/problem+json"));
    let problem = json!({"title": "Unauthorized", "status": 401, "detail": "Jwt is missing", "reason": "missing"});
    assert_eq!((missing.status, missing.json()), (401, problem));
    let challenge = missing.header("www-authenticate").unwrap();
    assert!(challenge.ends_with(&format!(", resource_metadata=\"{metadata}\"")), "{challenge}");
    let denied = site.get(&site.issuer.token());
    assert_eq!((denied.status, &denied.json()["reason"]), (403, &json!("insufficient_scope")));
    let challenge = denied.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains(", scope=\"read write\""));
}

#[test]
fn report_mode_counts_and_marks_and_denies_nothing() {
    let site = Plan::new()
        .top("mode", "report")
        .provider("claim_to_headers", json!([{"header_name": "x-user", "claim_name": "sub"}]))
        .bootstrap(|bootstrap| bootstrap.access_log("LINE %REQ(:PATH)% [%FILTER_STATE(wasm.jwks_gate.reason:PLAIN)%]"))
        .start_warm();
    // An enforcing filter before this one may have set the header: report mode neither sets nor removes it.
    let good = site.send(&Request::get("/api/good").bearer(&site.issuer.token()));
    assert_eq!(good.json()["headers"]["x-user"], json!(null));
    assert_ne!(good.json()["headers"]["authorization"], json!(null));
    let bad = site.send(&Request::get("/api/bad").bearer("x.y.z").header("x-user", "set before"));
    assert_eq!((bad.status, &bad.json()["headers"]["x-user"]), (200, &json!(["set before"])));
    assert_eq!(site.send(&Request::get("/api/none")).status, 200);
    // The request does not wait. Two fetches in the background show whether the request would be denied.
    let unknown = site.send(&Request::get("/api/unknown").bearer(&site.token_of_unknown_key()));
    assert_eq!(unknown.status, 200);
    assert!(eventually(Duration::from_secs(5), || site.stat("would_deny.unknown_key") == 1));
    let count = |name: &str| site.settled(name);
    assert_eq!((count("would_deny"), count("would_deny.missing"), count("denied")), (3, 1, 0));
    assert_eq!(site.gets(), 3);
    for line in ["LINE /api/good [-]", "LINE /api/bad [header_encoding]", "LINE /api/none [missing]"] {
        assert!(
            eventually(Duration::from_secs(15), || site.envoy.log().contains(line)),
            "{line}\n{}",
            site.envoy.log()
        );
    }
    site.assert_no_vm_restarted();
}

#[test]
fn report_mode_holds_nothing_back_while_an_issuer_hangs() {
    let site = Plan::new().top("mode", "report").timeout("4s").fault(Fault::Hang, Times::Always).start();
    let begin = std::time::Instant::now();
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(eventually(Duration::from_secs(10), || site.stat("would_be_unavailable") == 20));
    site.issuer.heal();
    assert!(eventually(Duration::from_secs(10), || { site.get(&token).status == 200 && site.stat("allowed") > 0 }));
    site.assert_no_vm_restarted();
}

#[test]
fn an_enforced_configuration_denies() {
    let site = Plan::new().start_warm();
    let denied = site.get(&site.token_of_unknown_key());
    assert_eq!((denied.status, denied.text().as_str()), (401, UNKNOWN_KEY));
    assert_eq!(site.settled("would_deny"), 0);
}
