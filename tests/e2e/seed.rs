//! The time before the first JWKS: a seed, and the ready path. And a JWKS without keys.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jwks_gate_issuer::{Alg, Fault, SigningKey, Times};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request, Response},
};
use serde_json::{json, Value};

use crate::{
    metrics::{scrape, with_labels},
    setup::{count, issuer_with, Plan, Site, NO_KEYS, UNKNOWN_KEY},
};

const LONG: Duration = Duration::from_secs(10);

/// A time this many seconds from now.
fn utc_in(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let date = format!("@{}", now + seconds);
    let output = Command::new("date").args(["-u", "-d", &date, "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A key of the issuer that its JWKS does not have.
fn other_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(Alg::Es256, "seed"))
}

fn jwks(key: &SigningKey) -> Value {
    json!({"keys": [key.public_jwk()]})
}

/// The issuer is down, and this key is the seed. Requests do not wait long.
fn seeded(key: &SigningKey, not_after: &str) -> Plan {
    let mut plan = Plan::new().bootstrap(with_labels).timeout("1s").rotation("unknown_kid_max_wait", "1s");
    plan.config["providers"]["p"]["remote_jwks"]["seed_jwks"] =
        json!({"inline_string": jwks(key).to_string(), "not_after": not_after});
    plan.issuer.stop();
    plan
}

/// The answers of all workers: each of these connections has a worker of its own, or shares one.
fn ask_all(site: &Site, request: impl Fn() -> Request + Sync) -> Vec<Response> {
    let responses = http::concurrently(site.envoy.addr(), 16, |_| request());
    responses.into_iter().map(Result::unwrap).collect()
}

fn statuses(site: &Site, token: &str) -> Vec<(u16, usize)> {
    count(ask_all(site, || Request::get("/api/x").bearer(token)).iter().map(|response| response.status))
}

fn seed_gauge(site: &Site) -> f64 {
    scrape(&site.envoy).get("jwks_gate_provider_seed_ends_timestamp_seconds{provider=\"p\"}").copied().unwrap_or(-1.0)
}

#[test]
fn a_seed_verifies_while_the_issuer_is_down_and_ends_with_the_first_jwks() {
    let seed = other_key();
    let site = seeded(&seed, &utc_in(3600)).rotation("retired_key_grace", "3600s").start();
    let (of_seed, other) = (seed.mint(&site.issuer.claims()), site.issuer.token());
    let begin = Instant::now();
    assert_eq!(statuses(&site, &of_seed), [(200, 16)]);
    assert!(begin.elapsed() < Duration::from_secs(1), "no request waits");
    let denied = site.get(&other);
    assert_eq!((denied.status, denied.text().as_str()), (503, NO_KEYS));
    assert!(eventually(LONG, || seed_gauge(&site) > 0.0));
    assert!(eventually(LONG, || site.envoy.log().contains("no JWKS yet; seed_jwks verifies tokens until ")));
    assert_eq!(statuses(&site, &of_seed), [(200, 16)], "from the token cache");
    site.issuer.resume();
    assert!(eventually(LONG, || site.get(&other).status == 200));
    assert!(eventually(LONG, || statuses(&site, &of_seed) == [(401, 16)]));
    assert_eq!(site.get(&of_seed).text(), UNKNOWN_KEY);
    assert!(eventually(LONG, || seed_gauge(&site) == 0.0));
    let line = "seed_jwks verifies nothing any more: the key set has a JWKS";
    assert!(eventually(LONG, || site.envoy.log().matches(line).count() == 1));
    // An outage that follows does not bring the seed back.
    site.issuer.stop();
    assert!(statuses(&site, &of_seed).iter().all(|(status, _)| *status != 200));
    site.issuer.resume();
    site.assert_healthy();
}

#[test]
fn a_seed_ends_at_its_time_or_is_over_at_the_start() {
    let seed = other_key();
    let site = seeded(&seed, &utc_in(12)).start();
    let token = seed.mint(&site.issuer.claims());
    assert_eq!(statuses(&site, &token), [(200, 16)]);
    assert!(eventually(LONG, || statuses(&site, &token) == [(503, 16)]));
    assert!(eventually(LONG, || site.envoy.log().contains("seed_jwks verifies nothing any more: not_after was ")));
    let site = seeded(&seed, "2020-01-01T00:00:00Z").start();
    assert_eq!(statuses(&site, &token), [(503, 16)]);
    site.issuer.resume();
    assert!(eventually(LONG, || site.get(&site.issuer.token()).status == 200));
}

#[test]
fn a_revoked_key_verifies_nothing_in_a_seed_either() {
    let seed = other_key();
    let site = seeded(&seed, &utc_in(3600)).rotation("revoked_keys", json!(["seed"])).start();
    assert_eq!(statuses(&site, &seed.mint(&site.issuer.claims())), [(401, 16)]);
}

#[test]
fn a_wrong_seed_rejects_the_configuration() {
    let key = other_key();
    let log = seeded(&key, "2026-12-31").rejected();
    assert!(log.contains("providers.p.remote_jwks.seed_jwks.not_after: must be a time in UTC"), "{log}");
}

fn ready(site: &Site, path: &str) -> Vec<(u16, usize)> {
    count(ask_all(site, || Request::get(path)).iter().map(|response| response.status))
}

#[test]
fn the_ready_path_answers_200_from_the_first_keys_on_and_for_ever() {
    for mode in ["enforce", "report"] {
        let plan = Plan::with(issuer_with(Alg::Es256, Some(1))).top("ready_path", "/ready").top("mode", mode);
        let plan = plan.rotation("min_ttl", "1s").rotation("max_stale", "0s").rotation("unknown_kid_max_wait", "0.5s");
        plan.issuer.stop();
        let site = plan.timeout("1s").start();
        assert_eq!(ready(&site, "/ready"), [(503, 16)]);
        site.issuer.resume();
        assert!(eventually(LONG, || ready(&site, "/ready?verbose") == [(200, 16)]));
        assert_eq!((ready(&site, "/ready"), site.echo.requests()), (vec![(200, 16)], 0), "nothing goes upstream");
        // The issuer goes, and the keys expire.
        let token = site.issuer.token();
        site.issuer.stop();
        if mode == "enforce" {
            assert!(eventually(LONG, || site.get(&token).status == 503));
        } else {
            std::thread::sleep(Duration::from_secs(3));
        }
        assert_eq!((ready(&site, "/ready"), ready(&site, "/ready?x")), (vec![(200, 16)], vec![(200, 16)]));
        let listed = site.send(&Request::get("/ready?verbose")).text();
        assert!(listed.starts_with("ready\n\"p\": expired, age "), "{listed}");
        site.assert_no_vm_restarted();
    }
}

#[test]
fn the_ready_path_repeats_nothing_and_counts_as_no_denial() {
    let plan = Plan::new().top("ready_path", "/api/ready");
    plan.issuer.stop();
    let site = plan.timeout("1s").start();
    let request = || Request::get("/api/ready?verbose&s3cret").header("x-s3cret", "s3cret").bearer("s3cret");
    let log = || site.envoy.log().contains("(3 in a row)");
    assert!(eventually(LONG, log));
    for response in ask_all(&site, request) {
        let (headers, body) = (format!("{:?}", response.headers), response.text());
        assert_eq!((response.status, response.header("cache-control")), (503, Some("no-store")));
        assert!(!headers.contains("s3cret") && !body.contains("s3cret") && !body.contains("http"), "{headers} {body}");
        assert!(body.starts_with("no keys yet\n\"p\": no keys, failed fetches in a row: "), "{body}");
    }
    let head = site.send(&Request::new("HEAD", "/api/ready"));
    assert_eq!((head.status, head.body.len()), (503, 0));
    // Other methods and paths need a token as before.
    for (method, path) in [("POST", "/api/ready"), ("GET", "/api/ready/"), ("GET", "/api/ready/../x")] {
        assert_eq!(site.send(&Request::new(method, path)).status, 401, "{method} {path}");
    }
    assert_eq!((site.settled("denied"), site.stat("unavailable"), site.echo.requests()), (3, 0, 0));
    site.assert_no_vm_restarted();
}

/// A client that floods the path costs others no room, and no fetch.
#[test]
fn a_flood_of_the_ready_path_changes_nothing_for_others() {
    let site = Plan::new().top("ready_path", "/ready").timeout("20s").fault(Fault::Hang, Times::Always).start();
    let token = site.issuer.token();
    let good = std::thread::scope(|scope| {
        let good = scope.spawn(|| site.get_at_once(20, |_| token.clone()));
        for _ in 0..20 {
            let answers = http::concurrently(site.envoy.addr(), 50, |_| Request::get("/ready?verbose"));
            assert!(answers.into_iter().all(|answer| answer.unwrap().status == 503));
        }
        site.heal_when_parked(20);
        good.join().unwrap()
    });
    assert_eq!((good, site.gets()), (vec![(200, 20)], 1));
    site.assert_healthy();
}

fn with_empty_set(empty_set: &str) -> Site {
    let plan = Plan::with(issuer_with(Alg::Es256, Some(1))).bootstrap(with_labels).rotation("empty_set", empty_set);
    let plan = plan.rotation("min_ttl", "1s").rotation("retired_key_grace", "3600s");
    plan.rotation("unknown_kid_max_wait", "1s").rotation("unknown_kid_min_interval", "1s").start_warm()
}

#[test]
fn an_empty_jwks_keeps_the_keys_by_default_and_has_a_name() {
    let site = with_empty_set("keep");
    let token = site.issuer.token();
    site.issuer.fault(Fault::Empty, Times::Always);
    let errors =
        || scrape(&site.envoy).get("jwks_gate_provider_fetch_errors{outcome=\"empty_set\",provider=\"p\"}").copied();
    assert!(eventually(LONG, || errors() > Some(1.0)), "{:?}", scrape(&site.envoy));
    assert_eq!(statuses(&site, &token), [(200, 16)]);
    assert!(site.envoy.log().contains("document rejected: an empty JWKS: no key in it"));
}

#[test]
fn an_empty_jwks_revokes_all_keys_if_configured_and_later_ones_bring_keys_back() {
    let site = with_empty_set("revoke");
    let token = site.issuer.token();
    site.issuer.fault(Fault::Empty, Times::Always);
    assert!(eventually(LONG, || statuses(&site, &token) == [(401, 16)]));
    assert_eq!(site.get(&token).text(), UNKNOWN_KEY);
    site.issuer.heal();
    assert!(eventually(LONG, || statuses(&site, &token) == [(200, 16)]));
    site.assert_healthy();
}

#[test]
fn a_spiffe_refresh_hint_is_the_lifetime_without_cache_headers() {
    let issuer = issuer_with(Alg::Es256, None);
    let mut bundle: Value = serde_json::from_slice(&issuer.jwks()).unwrap();
    bundle["spiffe_refresh_hint"] = json!(1);
    issuer.publish(bundle.to_string().into_bytes());
    let site = Plan::with(issuer).rotation("min_ttl", "1s").start_warm();
    assert!(eventually(Duration::from_secs(15), || site.gets() >= 3), "{}", site.gets());
    site.assert_healthy();
}
