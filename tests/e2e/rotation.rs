//! The issuer rotates its keys.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        Arc, RwLock,
    },
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Alg, Rotation, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{Connection, Request},
};
use serde_json::json;

use crate::setup::{issuer_with, Plan, BAD_SIGNATURE, UNKNOWN_KEY};

#[test]
fn a_new_key_used_at_once_costs_one_get_and_no_denial() {
    let site = Plan::new().start_warm();
    let old = site.issuer.token();
    site.issuer.rotate(Rotation::Hard);
    let new = site.issuer.token();
    assert_eq!(site.get_at_once(50, |_| new.clone()), [(200, 50)]);
    assert_eq!(site.gets(), 2);

    let response = site.get(&old);
    assert_eq!((response.status, response.text().as_str()), (401, UNKNOWN_KEY));
    assert_eq!(site.gets(), 3, "the second look");
    assert_eq!((site.get(&old).status, site.gets()), (401, 3), "the budget is spent");
    site.assert_healthy();
}

#[test]
fn with_an_overlap_both_keys_verify() {
    let site = Plan::new().start_warm();
    let old = site.issuer.token();
    site.issuer.rotate(Rotation::Overlap);
    let new = site.issuer.token();
    assert_eq!(site.get_at_once(40, |i| if i % 2 == 0 { &old } else { &new }.clone()), [(200, 40)]);
    assert_eq!(site.gets(), 2);
}

#[test]
fn a_retired_key_verifies_for_its_grace_only() {
    let site = Plan::new().rotation("retired_key_grace", "5s").start_warm();
    let old = site.issuer.token();
    site.issuer.rotate(Rotation::Hard);
    let rotated = Instant::now();
    let new = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| new.clone()), [(200, 20)]);
    assert_eq!(site.get_at_once(20, |_| old.clone()), [(200, 20)]);
    assert!(eventually(Duration::from_secs(10), || site.get(&old).status == 401));
    assert!(rotated.elapsed() >= Duration::from_secs(5), "{:?}", rotated.elapsed());
    assert_eq!(site.get_at_once(20, |_| old.clone()), [(401, 20)]);
    assert_eq!(site.get_at_once(20, |_| new.clone()), [(200, 20)]);
}

#[test]
fn a_revoked_key_verifies_nothing_although_it_is_published() {
    let issuer = issuer_with(Alg::Es256, Some(600));
    let kid = issuer.current().kid.clone();
    let site = Plan::with(issuer).rotation("revoked_keys", json!([kid])).start();
    assert!(eventually(Duration::from_secs(5), || site.stat("jwks_fetch_success") == 1));
    let response = site.get(&site.issuer.token());
    assert_eq!((response.status, response.text().as_str()), (401, UNKNOWN_KEY));
    assert_eq!(site.gets(), 1, "a revoked key needs no fetch");
    site.issuer.rotate(Rotation::Overlap);
    assert_eq!(site.get(&site.issuer.token()).status, 200);
}

#[test]
fn a_key_revoked_by_kid_verifies_nothing_under_a_later_name() {
    let issuer = issuer_with(Alg::Es256, Some(600));
    let (bad, good) = (issuer.current(), SigningKey::generate(Alg::Es256, "good"));
    let site = Plan::with(issuer)
        .rotation("revoked_keys", json!([bad.kid]))
        .rotation("unknown_kid_min_interval", "0.2s")
        .start();
    assert!(eventually(Duration::from_secs(5), || site.stat("jwks_fetch_success") == 1));
    let token = site.issuer.token();
    for name in ["renamed", "renamed again"] {
        let mut renamed = bad.public_jwk();
        renamed["kid"] = json!(name);
        site.issuer.publish(json!({"keys": [renamed, good.public_jwk()]}).to_string().into_bytes());
        // A token of a new key makes the proxy fetch the JWKS.
        assert!(eventually(Duration::from_secs(5), || site.get(&good.mint(&site.issuer.claims())).status == 200));
        let response = site.get(&token);
        assert_eq!((response.status, response.text().as_str()), (401, UNKNOWN_KEY));
    }
    let is_logged = || site.envoy.log().contains("is revoked; it verifies nothing");
    assert!(eventually(Duration::from_secs(10), is_logged), "{}", site.envoy.log());
}

#[test]
fn a_new_key_under_a_known_kid_is_found_by_one_refresh() {
    let site = Plan::new().rotation("min_ttl", "1s").start_warm();
    let old = site.issuer.token();
    let kid = site.issuer.current().kid.clone();
    let replacement = SigningKey::generate(Alg::Es256, &kid);
    site.issuer.publish(json!({"keys": [replacement.public_jwk()]}).to_string().into_bytes());
    // A bad signature causes no refresh within `min_ttl` of the last fetch.
    thread::sleep(Duration::from_millis(1100));
    let new = replacement.mint(&site.issuer.claims());
    assert_eq!(site.get_at_once(20, |_| new.clone()), [(200, 20)]);
    assert_eq!(site.gets(), 2);
    let response = site.get(&old);
    assert_eq!((response.status, response.text().as_str()), (401, BAD_SIGNATURE));
}

#[test]
fn eight_hard_rotations_under_load_deny_nobody() {
    const ROTATIONS: u32 = 8;
    const CLIENTS: usize = 8;
    const ENOUGH: usize = 10_500;
    let site = Plan::with(issuer_with(Alg::Rs256, Some(5)))
        .rotation("min_ttl", "5s")
        .rotation("unknown_kid_min_interval", "0.2s")
        .rotation("retired_key_grace", "30s")
        .start_warm();
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let tokens = Arc::new(RwLock::new((site.issuer.token(), site.issuer.token())));
    let gets_before = site.gets();
    let began = Instant::now();
    let denied: Vec<(u16, String)> = thread::scope(|scope| {
        let client = |number: usize| {
            let (tokens, sent, stop, addr) = (tokens.clone(), &sent, &stop, site.envoy.addr());
            move || {
                let mut connection = Connection::open(addr).unwrap();
                let mut denied = Vec::new();
                for round in number.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    // Every fourth request uses a token from before the last rotation.
                    let token = {
                        let tokens = tokens.read().unwrap();
                        if round % 4 == 0 {
                            tokens.0.clone()
                        } else {
                            tokens.1.clone()
                        }
                    };
                    let response = connection.send(&Request::get("/api/x").bearer(&token)).unwrap();
                    sent.fetch_add(1, SeqCst);
                    if response.status != 200 {
                        denied.push((response.status, response.text()));
                    }
                }
                denied
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        for rotation in 1..=ROTATIONS {
            while sent.load(SeqCst) < ENOUGH * rotation as usize / (ROTATIONS as usize + 1) {
                thread::sleep(Duration::from_millis(5));
            }
            // A key that comes and goes between two refreshes is never seen: the last key has been fetched first.
            assert_eq!(site.get(&site.issuer.token()).status, 200);
            site.issuer.rotate(Rotation::Hard);
            let mut tokens = tokens.write().unwrap();
            *tokens = (tokens.1.clone(), site.issuer.token());
        }
        while sent.load(SeqCst) < ENOUGH {
            thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let (sent, gets) = (sent.load(SeqCst), site.gets() - gets_before);
    println!(
        "{sent} requests, {ROTATIONS} hard rotations, {:?}: {} denied, {gets} GETs",
        began.elapsed(),
        denied.len()
    );
    assert_eq!(denied, []);
    // One fetch per rotation, and the refreshes for the lifetime of five seconds.
    let lifetimes = u32::try_from(began.elapsed().as_secs()).unwrap() / 4 + 1;
    assert!(gets <= u64::from(ROTATIONS + lifetimes), "{gets} GETs, {lifetimes} lifetimes");
}
