//! Requirements with more than one issuer, where some issuers are slow or down.

use std::time::{Duration, Instant};

use jwks_gate_issuer::{Alg, Fault, Issuer, Options, Times};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::{json, Value};

use crate::setup::{remote, Plan, Site};

/// Two issuers. With `apart`, tokens of `q` come in a separate header.
fn two(apart: bool, requires: Value) -> (Plan, Issuer) {
    let options =
        Options { issuer: "https://other.test".into(), alg: Alg::Rs256, max_age: Some(600), ..Options::default() };
    let other = Issuer::start(options).unwrap();
    let mut plan = Plan::new().cluster("other", other.addr());
    plan.config["providers"]["q"] = remote(&other, "other");
    if apart {
        plan.config["providers"]["q"]["from_headers"] = json!([{"name": "x-q"}]);
    }
    for provider in ["p", "q"] {
        plan.config["providers"][provider]["remote_jwks"]["http_uri"]["timeout"] = json!("20s");
    }
    plan.config["rules"] = json!([{"match": {"prefix": "/"}, "requires": requires}]);
    (plan, other)
}

fn either() -> Value {
    json!({"requires_any": {"requirements": [{"provider_name": "p"}, {"provider_name": "q"}]}})
}

fn timed(site: &Site, request: &Request) -> (u16, Duration) {
    let begin = Instant::now();
    (site.send(request).status, begin.elapsed())
}

#[test]
fn a_token_waits_only_for_its_issuer() {
    let (plan, other) = two(false, either());
    let site = plan.fault(Fault::Hang, Times::Always).start();
    let (status, time) = timed(&site, &Request::get("/x").bearer(&other.token()));
    assert!(status == 200 && time < Duration::from_secs(10), "{status} after {time:?}");
    let before = site.stat("parked");
    std::thread::scope(|scope| {
        let status = scope.spawn(|| site.send(&Request::get("/x").bearer(&site.issuer.token())).status);
        site.heal_when_parked(before + 1);
        assert_eq!(status.join().unwrap(), 200);
    });
    site.assert_no_vm_restarted();
}

#[test]
fn requires_all_waits_for_both_issuers() {
    let both = json!({"requires_all": {"requirements": [{"provider_name": "p"}, {"provider_name": "q"}]}});
    let (plan, other) = two(true, both);
    other.fault(Fault::Hang, Times::Always);
    let site = plan.fault(Fault::Hang, Times::Always).start();
    let (good, other_good) = (site.issuer.token(), other.token());
    let request = |p: &str, q: &str| Request::get("/x").bearer(p).header("x-q", q);
    std::thread::scope(|scope| {
        let response = scope.spawn(|| site.send(&request(&good, &other_good)));
        site.heal_when_parked(1);
        assert!(eventually(Duration::from_secs(10), || site.stat("jwks_fetch_success") == 1));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!response.is_finished(), "one token is not enough");
        other.heal();
        assert_eq!(response.join().unwrap().status, 200);
    });
    for (p, q, status) in [(&*good, "x", 401), ("x", &*other_good, 401), (&*good, &*good, 401)] {
        assert_eq!(site.send(&request(p, q)).status, status);
    }
    assert_eq!((site.gets(), other.stats().jwks_requests), (1, 1));
    site.assert_no_vm_restarted();
}

#[test]
fn a_denial_does_not_wait_for_another_issuer() {
    let both = json!({"requires_all": {"requirements": [{"provider_name": "p"}, {"provider_name": "q"}]}});
    let (plan, _other) = two(true, both);
    let site = plan.fault(Fault::Hang, Times::Always).start();
    let (status, time) = timed(&site, &Request::get("/x").bearer(&site.issuer.token()));
    assert!(status == 401 && time < Duration::from_secs(10), "{status} after {time:?}: q's token is missing");
    site.assert_no_vm_restarted();
}

#[test]
fn without_keys_allow_missing_or_failed_passes_and_allow_missing_does_not() {
    for (allowed, expected) in [("allow_missing_or_failed", 200), ("allow_missing", 503)] {
        let any = json!({"requires_any": {"requirements": [{"provider_name": "p"}, {allowed: {}}]}});
        let (plan, _other) = two(false, any);
        let site = plan.fault(Fault::Status(500), Times::Always).start();
        assert_eq!(site.send(&Request::get("/x").bearer(&site.issuer.token())).status, expected, "{allowed}");
        assert_eq!(site.send(&Request::get("/x")).status, 200, "{allowed}");
        site.assert_no_vm_restarted();
    }
}

#[test]
fn retries_hide_failures_of_the_issuer() {
    let mut plan = Plan::new();
    plan.config["providers"]["p"]["remote_jwks"]["retry_policy"] =
        json!({"num_retries": 3, "retry_back_off": {"base_interval": "0.05s"}});
    let site = plan.fault(Fault::Status(503), Times::Next(3)).start();
    assert_eq!(site.get(&site.issuer.token()).status, 200);
    assert_eq!(site.gets(), 4);
    let site = Plan::new().fault(Fault::Status(503), Times::Next(3)).start();
    assert_eq!(site.get(&site.issuer.token()).status, 503, "no retries");
}

#[test]
fn different_audiences_are_cached_separately() {
    let mut plan = Plan::new();
    plan.config["rules"] = json!([
        {"match": {"prefix": "/api"}, "requires": {"provider_name": "p"}},
        {"match": {"prefix": "/other"}, "requires": {"provider_and_audiences": {
            "provider_name": "p", "audiences": ["other"],
        }}},
    ]);
    let site = plan.concurrency(1).start();
    let mut claims = site.issuer.claims();
    claims["aud"] = json!("other");
    let (api, other) = (site.issuer.token(), site.issuer.current().mint(&claims));
    let status = |path: &str, token: &str| site.send(&Request::get(path).bearer(token)).status;
    for _ in 0..3 {
        assert_eq!((status("/api", &api), status("/other", &api)), (200, 403));
        assert_eq!((status("/api", &other), status("/other", &other)), (403, 200));
    }
    assert_eq!(site.settled("jwt_cache_hit"), 4);
}
