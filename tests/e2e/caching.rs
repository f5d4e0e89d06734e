//! The lifetime of a key set, as set by the issuer's cache headers.

use std::time::Duration;

use jwks_gate_issuer::{Alg, Rotation};
use jwks_gate_testbed::eventually;

use crate::setup::{issuer_with, Plan};

#[test]
fn keys_are_refreshed_before_they_expire_without_a_request() {
    let site = Plan::with(issuer_with(Alg::Es256, Some(2))).rotation("min_ttl", "1s").start_warm();
    site.issuer.rotate(Rotation::Overlap);
    let before = site.gets();
    // The refresh is due within the last fifth of two seconds.
    assert!(eventually(Duration::from_secs(5), || site.gets() > before));
    assert!(eventually(Duration::from_secs(5), || site.stat("jwks_fetch_success") > before));
    let parked = site.stat("parked");
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert_eq!(site.stat("parked"), parked, "no request waits for the new key");
}

#[test]
fn an_unchanged_jwks_is_not_sent_again() {
    let site = Plan::with(issuer_with(Alg::Es256, Some(1))).rotation("min_ttl", "1s").start_warm();
    assert!(eventually(Duration::from_secs(5), || site.issuer.stats().not_modified >= 2));
    let one_document_was_sent = || {
        let stats = site.issuer.stats();
        stats.jwks_requests == stats.not_modified + 1
    };
    assert!(eventually(Duration::from_secs(5), one_document_was_sent), "{:?}", site.issuer.stats());
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
}

#[test]
fn max_age_is_clamped_to_min_ttl_and_max_ttl() {
    // A `min_ttl` above a `max-age` of one second, and a `max_ttl` below a `max-age` of one hour.
    for (max_age, field, value, gets) in [(1, "min_ttl", "60s", 1), (3600, "max_ttl", "1s", 3)] {
        let plan = Plan::with(issuer_with(Alg::Es256, Some(max_age))).rotation(field, value);
        let plan = if field == "max_ttl" { plan.rotation("min_ttl", "1s") } else { plan };
        let site = plan.start_warm();
        let most = if gets > 1 { 15_000 } else { 3_500 };
        let reached = eventually(Duration::from_millis(most), || site.gets() > gets);
        assert_eq!((reached, site.gets() > 1), (gets > 1, gets > 1), "{field}: {} GETs", site.gets());
    }
}

#[test]
fn without_cache_headers_cache_duration_applies() {
    let mut plan = Plan::with(issuer_with(Alg::Es256, None));
    plan.config["providers"]["p"]["remote_jwks"]["cache_duration"] = "1s".into();
    let site = plan.start_warm();
    assert!(eventually(Duration::from_secs(15), || site.gets() >= 3));
}

#[test]
fn an_issuer_that_forbids_caching_is_not_asked_all_the_time() {
    let issuer = issuer_with(Alg::Es256, None);
    issuer.set_cache_control(Some("no-cache, no-store, max-age=0, must-revalidate".to_owned()));
    let site = Plan::with(issuer).rotation("min_ttl", "1s").start_warm();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.gets(), 1);
}
