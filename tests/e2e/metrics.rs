//! The metrics that Prometheus scrapes, and the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jwks_gate_issuer::{Fault, Rotation, Times};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    Bootstrap, Envoy,
};
use serde_json::{json, Value};

use crate::setup::{Plan, Site};

/// Adds the stats configuration of `envoy/envoy.yaml`, which extracts labels.
pub fn with_labels(bootstrap: Bootstrap) -> Bootstrap {
    let example = crate::docs::read("envoy/envoy.yaml");
    let example: Value = serde_yaml_ng::from_str(&example).unwrap();
    bootstrap.top_level("stats_config", example["stats_config"].clone())
}

/// Every series of the filter by its name and sorted labels.
pub fn scrape(envoy: &Envoy) -> BTreeMap<String, f64> {
    let text = http::send(envoy.admin(), &Request::get("/stats/prometheus")).unwrap().text();
    let lines = text.lines().filter(|line| line.starts_with("jwks_gate"));
    let series = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
        let labels: BTreeSet<&str> = labels.split(',').collect();
        let labels: Vec<_> = labels.into_iter().collect();
        (format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap())
    });
    series.collect()
}

/// The time as the gauges state times.
pub fn unix_seconds() -> f64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

fn value(site: &Site, series: &str) -> f64 {
    scrape(&site.envoy).get(series).copied().unwrap_or(-1.0)
}

#[test]
fn requests_fetches_and_key_sets_have_their_series() {
    let site = Plan::new().bootstrap(with_labels).start_warm();
    let requests =
        |outcome: &str| value(&site, &format!("jwks_gate_provider_requests{{outcome=\"{outcome}\",provider=\"p\"}}"));
    let gauge = |name: &str| value(&site, &format!("jwks_gate_provider_{name}{{provider=\"p\"}}"));
    let assert_soon =
        |what: &dyn Fn() -> bool| assert!(eventually(Duration::from_secs(5), what), "{:#?}", scrape(&site.envoy));
    assert_soon(&|| requests("allowed") >= 16.0);
    assert_eq!((site.get("x").status, site.send(&Request::get("/api/x")).status), (401, 401));
    assert_eq!((requests("malformed"), requests("missing")), (1.0, 1.0));
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
    assert_eq!(requests("unknown_key"), 1.0);
    let refreshes =
        |kind: &str| value(&site, &format!("jwks_gate_provider_refreshes{{outcome=\"{kind}\",provider=\"p\"}}"));
    assert_eq!((refreshes("started"), refreshes("second_look")), (1.0, 1.0));
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
    assert_eq!(refreshes("suppressed"), 1.0, "the interval is one minute");
    let fetches =
        |kind: &str| value(&site, &format!("jwks_gate_provider_fetches{{outcome=\"{kind}\",provider=\"p\"}}"));
    assert_eq!((fetches("document") + fetches("not_modified").max(0.0), fetches("failed")), (3.0, -1.0));
    assert_soon(&|| gauge("cache_hits") >= 8.0 && gauge("key_set_generation") > 1.7e12);
    assert_soon(&|| gauge("keys") == 1.0 && gauge("in_configuration") == 1.0);
    let timestamps =
        || ["fetched", "expires", "unusable", "rotated"].map(|event| gauge(&format!("keys_{event}_timestamp_seconds")));
    // The last fetch confirmed the first JWKS. Lifetime and `max_stale` are the defaults, less the time that the fetch took.
    assert_soon(&|| {
        let [fetched, expires, unusable, rotated] = timestamps();
        let age = unix_seconds() - fetched;
        (0.0..20.0).contains(&age)
            && (598.0..=600.0).contains(&(expires - fetched))
            && (4198.0..=4200.0).contains(&(unusable - fetched))
            && (0.0..20.0).contains(&(fetched - rotated))
    });
    // The gauges may show the first fetch until they are set again.
    std::thread::sleep(Duration::from_millis(1500));
    let before = timestamps();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(timestamps(), before, "time alone changes no gauge");
    let text = http::send(site.envoy.admin(), &Request::get("/stats/prometheus")).unwrap().text();
    assert!(!text.contains("nobody") && !text.contains("alice"), "no label contains a kid or a claim");
    site.assert_no_vm_restarted();
}

#[test]
fn a_failing_issuer_shows_in_the_gauges() {
    let site = Plan::new().bootstrap(with_labels).fault(Fault::Status(500), Times::Always).start();
    assert_eq!(site.get(&site.issuer.token()).status, 503);
    let read = |series: &str| value(&site, series);
    assert!(eventually(Duration::from_secs(5), || {
        read("jwks_gate_provider_fetch_failures_in_a_row{provider=\"p\"}") >= 2.0
            && read("jwks_gate_provider_keys_unusable_timestamp_seconds{provider=\"p\"}") == 0.0
            && read("jwks_gate_provider_requests{outcome=\"keys_unavailable\",provider=\"p\"}") == 1.0
    }));
    site.issuer.heal();
    assert!(eventually(Duration::from_secs(10), || {
        read("jwks_gate_provider_fetch_failures_in_a_row{provider=\"p\"}") == 0.0
            && read("jwks_gate_provider_keys_unusable_timestamp_seconds{provider=\"p\"}") > unix_seconds()
    }));
    assert!(eventually(Duration::from_secs(10), || {
        scrape(&site.envoy).keys().any(|name| name.starts_with("jwks_gate_provider_fetch_ms_bucket"))
            && scrape(&site.envoy).keys().any(|name| name.starts_with("jwks_gate_provider_wait_ms_bucket"))
    }));
}

#[test]
fn parked_requests_are_counted_across_workers_until_they_end() {
    let site = Plan::new()
        .bootstrap(with_labels)
        .timeout("20s")
        .top("max_parked_requests", json!(3))
        .concurrency(2)
        .fault(Fault::Hang, Times::Always)
        .start();
    let series = |series: &str| value(&site, &format!("jwks_gate_provider_{series}"));
    let (waiting, denied) = ("parked_now{provider=\"p\"}", "requests{outcome=\"too_many_parked\",provider=\"p\"}");
    assert!(eventually(Duration::from_secs(5), || series(waiting) == 0.0));
    let token = site.issuer.token();
    std::thread::scope(|scope| {
        let answers: Vec<_> = (0..12).map(|_| scope.spawn(|| site.get(&token).status)).collect();
        // At most three of the twelve requests find room in each of the two workers.
        assert!(eventually(Duration::from_secs(10), || series(waiting) + series(denied).max(0.0) == 12.0));
        let waited = series(waiting);
        assert!((3.0..=6.0).contains(&waited), "{waited}");
        site.issuer.heal();
        let statuses: Vec<_> = answers.into_iter().map(|answer| answer.join().unwrap()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 503).count() as f64, 12.0 - waited);
    });
    assert!(eventually(Duration::from_secs(5), || series(waiting) == 0.0));
}

#[test]
fn the_log_reports_each_key_change_once_and_never_a_token() {
    let site = Plan::new()
        .rotation("unknown_kid_min_interval", json!("0.1s"))
        .rotation("retired_key_grace", json!("600s"))
        .concurrency(2)
        .start_warm();
    let old = site.issuer.current().public_jwk()["kid"].clone();
    let new = site.issuer.rotate(Rotation::Hard);
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    site.issuer.fault(Fault::Status(500), Times::Next(1));
    std::thread::sleep(Duration::from_millis(200));
    site.get(&site.token_of_unknown_key());
    let lines = [
        format!("provider \"p\": key {old} appeared in the JWKS"),
        format!("provider \"p\": key {new:?} appeared in the JWKS"),
        format!("provider \"p\": key {old} left the JWKS; it verifies for another 600 s"),
        "failed (1 in a row): answered 500; next attempt in".to_owned(),
    ];
    let logged = |line: &String| site.envoy.log().matches(line).count();
    assert!(eventually(Duration::from_secs(5), || lines.iter().all(|line| logged(line) == 1)), "{}", site.envoy.log());
    let log = site.envoy.log();
    let sub = site.issuer.claims()["sub"].as_str().unwrap().to_owned();
    assert!(!log.contains(&sub) && !token.split('.').any(|part| log.contains(part)));
}
