//! Tokens that name an unknown key, and the fetches that these tokens may cause.

use std::time::{Duration, Instant};

use jwks_gate_issuer::{Alg, Issuer, Rotation, SigningKey};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::json;

use crate::setup::{issuer_with, remote, Plan, UNKNOWN_KEY};

#[test]
fn an_unknown_kid_causes_one_refresh_a_second_look_and_then_a_denial() {
    let site = Plan::new().start_warm();
    let response = site.get(&site.token_of_unknown_key());
    assert_eq!((response.status, response.text().as_str()), (401, UNKNOWN_KEY));
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=") && challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(site.gets(), 3);
    site.assert_healthy();
}

#[test]
fn a_flood_within_the_interval_causes_no_further_fetch() {
    let site = Plan::new().start_warm();
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
    let good = site.issuer.token();
    let bad: Vec<_> = (0..100).map(|i| random_kid(&site.issuer.claims(), i)).collect();
    let counts = site.get_at_once(200, |i| if i % 2 == 0 { good.clone() } else { bad[i / 2].clone() });
    assert_eq!(counts, [(200, 100), (401, 100)]);
    assert_eq!(site.gets(), 3);
    site.assert_healthy();
}

#[test]
fn a_request_waits_for_a_refresh_that_is_due_within_its_wait() {
    let site = Plan::new().rotation("unknown_kid_min_interval", "2s").rotation("second_look", "0s").start_warm();
    let began = Instant::now();
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
    site.issuer.rotate(Rotation::Hard);
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert!(began.elapsed() > Duration::from_secs(2), "the budget was spent");
    assert_eq!(site.gets(), 3);
}

/// The next refresh is due in the same millisecond as the request's deadline. `SEQUENCES=1000` runs more sequences.
#[test]
fn a_new_keys_token_right_after_an_invented_kid_is_allowed() {
    const ISSUERS: usize = 16;
    let sequences = std::env::var("SEQUENCES").map_or(3 * ISSUERS, |text| text.parse().unwrap());
    let issuers: Vec<_> = (0..ISSUERS).map(|_| issuer_with(Alg::Es256, Some(600))).collect();
    let mut plan = Plan::new();
    let mut rules = Vec::new();
    for (number, issuer) in issuers.iter().enumerate() {
        let name = format!("p{number}");
        let mut provider = remote(issuer, &name);
        // As in the default configuration, the wait is as long as the interval.
        provider["remote_jwks"]["rotation"] = json!({"unknown_kid_min_interval": "1s", "unknown_kid_max_wait": "1s"});
        plan.config["providers"][&name] = provider;
        rules.push(json!({"match": {"prefix": format!("/{number}/")}, "requires": {"provider_name": name}}));
        plan = plan.cluster(&name, issuer.addr());
    }
    let site = plan.top("rules", rules).start();
    let denied: Vec<_> = std::thread::scope(|scope| {
        let site = &site;
        let client = move |number: usize, issuer: &Issuer| {
            let path = format!("/{number}/x");
            let mut denied = Vec::new();
            for round in 0..sequences.div_ceil(ISSUERS) {
                let invented = random_kid(&issuer.claims(), round);
                assert_eq!(site.send(&Request::get(&path).bearer(&invented)).status, 401);
                issuer.rotate(Rotation::Hard);
                let response = site.send(&Request::get(&path).bearer(&issuer.token()));
                if response.status != 200 {
                    denied.push((number, round, response.status, response.text()));
                }
            }
            denied
        };
        let threads: Vec<_> =
            issuers.iter().enumerate().map(|(number, issuer)| scope.spawn(move || client(number, issuer))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(denied.is_empty(), "{} of {sequences}: {denied:?}", denied.len());
    site.assert_no_vm_restarted();
}

#[test]
fn a_refresh_that_is_due_after_the_wait_still_starts() {
    let plan = Plan::new().rotation("second_look", "0s").rotation("unknown_kid_max_wait", "0.5s");
    let site = plan.rotation("unknown_kid_min_interval", "3s").start_warm();
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
    site.issuer.rotate(Rotation::Hard);
    let token = site.issuer.token();
    assert_eq!(site.get(&token).status, 401, "the wait is shorter than three seconds");
    assert!(eventually(Duration::from_secs(5), || site.gets() == 3), "fetched without another request");
    assert!(eventually(Duration::from_secs(1), || site.stat("jwks_fetch_success") == 3));
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert_eq!(site.gets(), 3);
}

#[test]
fn a_new_key_is_found_in_a_flood_and_good_tokens_stay_allowed() {
    let site =
        Plan::new().rotation("unknown_kid_min_interval", "2s").rotation("unknown_kid_max_wait", "4s").start_warm();
    let old = site.issuer.token();
    let claims = site.issuer.claims();
    let bad: Vec<_> = (0..150).map(|i| random_kid(&claims, i)).collect();
    let began = Instant::now();
    let flood = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut counts = Vec::new();
            for _ in 0..10 {
                counts.push(site.get_at_once(150, |i| bad[i].clone()));
            }
            counts
        });
        let good = scope.spawn(|| site.get_at_once(100, |_| old.clone()));
        assert_eq!(good.join().unwrap(), [(200, 100)]);
        site.issuer.rotate(Rotation::Overlap);
        let new = site.issuer.token();
        assert_eq!(site.get_at_once(20, |_| new.clone()), [(200, 20)]);
        flood.join().unwrap()
    });
    assert!(flood.iter().all(|counts| counts == &[(401, 150)]), "{flood:?}");
    let intervals = began.elapsed().as_millis().div_ceil(2000) as u64;
    assert!(site.gets() <= 2 + 2 * intervals, "{} GETs in {intervals} intervals", site.gets());
    site.assert_healthy();
}

fn random_kid(claims: &serde_json::Value, number: usize) -> String {
    SigningKey::generate(Alg::Es256, &format!("random-{number}")).mint(claims)
}
