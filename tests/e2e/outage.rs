//! Failures of the issuer.

use std::{
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Alg, Fault, Issuer, Options, Rotation, Times};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::json;

use crate::setup::{issuer_with, remote, Plan, Site, NO_KEYS};

fn assert_unavailable(site: &Site, token: &str) {
    let response = site.get(token);
    assert_eq!((response.status, response.text().as_str()), (503, NO_KEYS));
    let retry_after: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(response.header("www-authenticate"), None, "the token is not at fault");
}

#[test]
fn known_keys_still_verify_and_unknown_kids_get_503() {
    let site = Plan::new().start_warm();
    let (good, unknown) = (site.issuer.token(), site.token_of_unknown_key());
    site.issuer.stop();
    assert_eq!(site.get_at_once(20, |_| good.clone()), [(200, 20)]);
    assert_unavailable(&site, &unknown);
    assert_eq!(site.get_at_once(20, |_| good.clone()), [(200, 20)]);
    site.issuer.resume();
    site.assert_healthy();
}

#[test]
fn a_cold_start_without_an_issuer_is_503_until_the_issuer_is_up() {
    let plan = Plan::new().rotation("unknown_kid_max_wait", "1s").timeout("1s");
    plan.issuer.stop();
    let site = plan.start();
    let token = site.issuer.token();
    assert_unavailable(&site, &token);
    assert_eq!(site.echo.requests(), 0);
    site.issuer.resume();
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200));
    site.assert_healthy();
}

#[test]
fn a_hanging_issuer_delays_requests_no_longer_than_the_wait() {
    let site =
        Plan::new().rotation("unknown_kid_max_wait", "1s").timeout("1s").fault(Fault::Hang, Times::Always).start();
    let token = site.issuer.token();
    let began = Instant::now();
    assert_eq!(site.get_at_once(100, |_| token.clone()), [(503, 100)]);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(site.echo.requests(), 0);
    site.issuer.heal();
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200));
    site.assert_healthy();
}

#[test]
fn the_old_keys_stay_after_any_failed_refresh() {
    let faults = [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Status(302),
        Fault::Reset,
        Fault::Garbage,
        Fault::Empty,
        Fault::Truncated,
        Fault::Hang,
    ];
    for fault in faults {
        let site = Plan::new().timeout("1s").rotation("unknown_kid_min_interval", "0.1s").start_warm();
        let good = site.issuer.token();
        site.issuer.fault(fault.clone(), Times::Always);
        assert_unavailable(&site, &site.token_of_unknown_key());
        assert_eq!(site.get_at_once(10, |_| good.clone()), [(200, 10)], "{fault:?}");
        site.issuer.heal();
        site.issuer.rotate(Rotation::Hard);
        let new = site.issuer.token();
        assert!(eventually(Duration::from_secs(5), || site.get(&new).status == 200), "{fault:?}");
        site.assert_healthy();
    }
}

#[test]
fn stale_keys_verify_for_max_stale_only_and_recovery_is_immediate() {
    let site = Plan::with(issuer_with(Alg::Es256, Some(1)))
        .rotation("min_ttl", "1s")
        .rotation("max_stale", "5s")
        .rotation("unknown_kid_max_wait", "0.2s")
        .timeout("1s")
        .start_warm();
    let token = site.issuer.token();
    site.issuer.stop();
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_millis(2700) {
        assert_eq!(site.get(&token).status, 200, "{:?}", stopped.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    // One second of lifetime and five seconds of `max_stale`, from the last fetch.
    assert!(eventually(Duration::from_secs(6), || site.get(&token).status == 503));
    assert_unavailable(&site, &token);
    site.issuer.resume();
    assert!(eventually(Duration::from_secs(12), || site.get(&token).status == 200));
    site.assert_healthy();
}

#[test]
fn envoy_starts_with_an_unknown_cluster() {
    let mut plan = Plan::new().rotation("unknown_kid_max_wait", "0.5s").timeout("0.5s");
    plan.config["providers"]["p"]["remote_jwks"]["http_uri"]["cluster"] = json!("nowhere");
    let site = plan.start();
    assert_unavailable(&site, &site.issuer.token());
    assert_eq!((site.gets(), site.echo.requests()), (0, 0));
    assert!(site.envoy.log().contains("the cluster is unknown or not ready"));
    assert!(!site.envoy.log().contains("panicked"));
}

#[test]
fn an_outage_of_one_issuer_does_not_affect_another() {
    let other =
        Issuer::start(Options { issuer: "https://other.test".into(), alg: Alg::Es256, ..Options::default() }).unwrap();
    other.fault(Fault::Hang, Times::Always);
    let mut plan = Plan::new().cluster("other", other.addr());
    plan.config["providers"]["q"] = remote(&other, "other");
    plan.config["providers"]["q"]["remote_jwks"]["http_uri"]["timeout"] = json!("6s");
    plan.config["rules"] = json!([
        {"match": {"prefix": "/api/other/"}, "requires": {"provider_name": "q"}},
        {"match": {"prefix": "/api/"}, "requires": {"provider_name": "p"}},
    ]);
    let site = plan.start_warm();
    let (mine, theirs) = (site.issuer.token(), other.token());
    let request = Request::get("/api/other/").bearer(&theirs);
    thread::scope(|scope| {
        let hanging: Vec<_> = (0..20).map(|_| scope.spawn(|| site.send(&request).status)).collect();
        let began = Instant::now();
        assert_eq!(site.get_at_once(40, |_| mine.clone()), [(200, 40)]);
        site.issuer.rotate(Rotation::Hard);
        let new = site.issuer.token();
        assert_eq!(site.get_at_once(40, |_| new.clone()), [(200, 40)]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(hanging.into_iter().all(|thread| thread.join().unwrap() == 503));
    });
    // A token of one issuer is denied under the other's rule.
    let crossed = Request::get("/api/x").bearer(&theirs);
    assert_eq!(
        (site.send(&crossed).status, site.send(&crossed).text().as_str()),
        (401, "Jwt issuer is not configured")
    );
}
