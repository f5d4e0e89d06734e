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

fn rule(prefix: &str, requires: &Value) -> Value {
    json!({"match": {"prefix": prefix}, "requires": requires})
}

fn any(requirements: Value) -> Value {
    json!({"requires_any": {"requirements": requirements}})
}

fn all(requirements: Value) -> Value {
    json!({"requires_all": {"requirements": requirements}})
}

/// Requirements that `p`'s token, which waits for keys, cannot change; `q`'s token is good. Each with the good tokens that the
/// upstream hears of.
fn decided() -> Vec<(&'static str, Value, bool)> {
    let (p, q, whatever) =
        (json!({"provider_name": "p"}), json!({"provider_name": "q"}), json!({"allow_missing_or_failed": {}}));
    vec![
        ("/alone", whatever.clone(), true),
        ("/or-failed", any(json!([p, whatever])), false),
        ("/first", any(json!([whatever, p])), false),
        ("/nested", any(json!([any(json!([p, whatever])), q])), true),
        ("/other-good", any(json!([p, q])), true),
        ("/both-or-failed", any(json!([all(json!([p, q])), whatever])), false),
        ("/all", all(json!([any(json!([p, whatever])), q])), true),
        ("/all-alone", all(json!([whatever, q])), true),
        ("/any-alone", any(json!([all(json!([p, q])), all(json!([whatever, q]))])), true),
        ("/extract", json!({"extract_only_without_validation": {}}), true),
        ("/extract-and-q", all(json!([{"extract_only_without_validation": {}}, q])), true),
    ]
}

/// Two issuers, of which `p`'s never answers, and the rules of [`decided`].
fn decided_site(mode: &str) -> (Site, Issuer) {
    let (mut plan, other) = two(true, json!({}));
    plan.config["providers"]["q"]["claim_to_headers"] = json!([{"header_name": "x-user", "claim_name": "sub"}]);
    let mut rules: Vec<_> = decided().iter().map(|(path, requires, _)| rule(path, requires)).collect();
    rules.push(rule("/p", &json!({"provider_name": "p"})));
    rules.push(rule("/missing", &any(json!([{"provider_name": "p"}, {"allow_missing": {}}]))));
    rules.push(rule("/every", &all(json!([{"provider_name": "p"}, {"provider_name": "q"}]))));
    plan.config["rules"] = json!(rules);
    let site = plan.top("mode", mode).fault(Fault::Hang, Times::Always).start();
    assert!(eventually(Duration::from_secs(5), || site.stat("jwks_fetch_success") == 1));
    let warm = || site.send(&Request::get("/other-good").header("x-q", other.token())).status;
    assert!(eventually(Duration::from_secs(5), || (0..8).all(|_| warm() == 200)));
    (site, other)
}

/// The best of three: the machine may be busy.
fn at_once(site: &Site, name: &str, request: &Request) -> Value {
    let mut times = Vec::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let response = site.send(request);
        times.push(begin.elapsed());
        assert_eq!(response.status, 200, "{name}");
        if times.last().unwrap() < &Duration::from_millis(100) {
            return response.json();
        }
    }
    panic!("{name}: {times:?}");
}

#[test]
fn a_request_for_which_waiting_buys_nothing_does_not_wait() {
    let (site, other) = decided_site("enforce");
    let unknown = [site.issuer.token(), site.token_of_unknown_key()];
    for (path, _, tells) in decided() {
        for token in &unknown {
            let seen = at_once(&site, path, &Request::get(path).bearer(token).header("x-q", other.token()));
            assert_eq!(seen["headers"]["x-user"].is_null(), !tells, "{path}: {seen}");
            let is_invalid = !seen["headers"]["x-jwt-signature-verified"].is_null();
            assert_eq!(is_invalid, path.starts_with("/extract"), "{path}: {seen}");
        }
    }
    assert_eq!(site.settled("parked"), 0);
    // These requests wait: the key decides.
    std::thread::scope(|scope| {
        let waiting = ["/p", "/missing", "/every"].map(|path| {
            let request = Request::get(path).bearer(&unknown[0]).header("x-q", other.token());
            let site = &site;
            scope.spawn(move || site.send(&request).status)
        });
        site.heal_when_parked(3);
        assert_eq!(waiting.map(|status| status.join().unwrap()), [200; 3]);
    });
    site.assert_no_vm_restarted();
}

#[test]
fn report_mode_never_waits() {
    let (site, other) = decided_site("report");
    let paths = decided().into_iter().map(|(path, ..)| path).chain(["/p", "/missing", "/every"]);
    for path in paths {
        at_once(&site, path, &Request::get(path).bearer(&site.issuer.token()).header("x-q", other.token()));
    }
    site.assert_no_vm_restarted();
}

/// `p` may fail, so a request that waits for `q` goes on as soon as `q` is known.
#[test]
fn a_request_stops_waiting_once_only_tokens_are_left_that_do_not_matter() {
    let may_fail = any(json!([{"provider_name": "p"}, {"allow_missing_or_failed": {}}]));
    let (plan, other) = two(true, all(json!([may_fail, {"provider_name": "q"}])));
    other.fault(Fault::Hang, Times::Always);
    let site = plan.fault(Fault::Hang, Times::Always).start();
    let request = Request::get("/x").bearer(&site.issuer.token()).header("x-q", other.token());
    std::thread::scope(|scope| {
        let response = scope.spawn(|| (site.send(&request).status, Instant::now()));
        assert!(eventually(Duration::from_secs(10), || site.stat("parked") == 1));
        let healed = Instant::now();
        other.heal();
        let (status, end) = response.join().unwrap();
        let waited = end.saturating_duration_since(healed);
        assert!(status == 200 && waited < Duration::from_secs(3), "{status} after {waited:?}");
    });
    site.assert_no_vm_restarted();
}

/// An invented `kid`, while the issuer has good keys and then hangs.
#[test]
fn an_invented_kid_costs_no_time_where_tokens_may_fail() {
    let mut plan = Plan::new();
    plan.config["rules"] = json!([
        rule("/api", &json!({"provider_name": "p"})),
        rule("/or-failed", &any(json!([{"provider_name": "p"}, {"allow_missing_or_failed": {}}]))),
        rule("/alone", &json!({"allow_missing_or_failed": {}})),
    ]);
    let site = plan.start_warm();
    site.issuer.fault(Fault::Hang, Times::Always);
    for path in ["/or-failed", "/alone"] {
        for _ in 0..3 {
            at_once(&site, path, &Request::get(path).bearer(&site.token_of_unknown_key()));
        }
        at_once(&site, path, &Request::get(path).bearer(&site.issuer.token()));
    }
    assert_eq!(site.settled("parked"), 0);
    site.assert_no_vm_restarted();
}
