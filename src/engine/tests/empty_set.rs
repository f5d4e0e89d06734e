//! A JWKS without keys, and what an issuer suggests in its JWKS.

use super::{seed::fail_for, world::*, *};

fn world_of_set(rotation: serde_json::Value) -> World {
    let mut config = configuration(json!({"provider_name": "p"}));
    config["providers"]["p"]["remote_jwks"]["rotation"] = rotation;
    config["max_parked_requests"] = json!(20);
    world_of(&config)
}

fn revoking() -> World {
    let rotation =
        json!({"empty_set": "revoke", "second_look": "0s", "unknown_kid_max_wait": "5s", "retired_key_grace": "3600s"});
    world_of_set(rotation)
}

const EMPTY: &[u8] = br#"{"keys":[]}"#;

fn statuses(world: &mut World, kid: &str) -> [Option<u16>; 2] {
    [0, 1].map(|worker| world.request(worker, kid))
}

/// The next scheduled fetch brings this.
fn refreshed(world: &mut World, body: &[u8]) {
    world.pass_until_fetch();
    world.fetched(Ok(body.to_vec()));
}

#[test]
fn an_empty_jwks_revokes_all_keys_at_once_on_all_workers_without_grace() {
    let mut world = revoking().started(&["a"]);
    refreshed(&mut world, &jwks(&["b"]));
    assert_eq!(
        (statuses(&mut world, "a"), statuses(&mut world, "b")),
        ([Some(200); 2], [Some(200); 2]),
        "a: in its grace"
    );
    refreshed(&mut world, EMPTY);
    // After the usual refresh; then its budget is spent.
    assert_eq!(world.request(0, "b"), None);
    world.fetched(Ok(EMPTY.to_vec()));
    assert_eq!(world.statuses(), [401]);
    assert_eq!((statuses(&mut world, "a"), statuses(&mut world, "b")), ([Some(401); 2], [Some(401); 2]));
    // New VMs find the record, and no keys.
    let mut new = revoking();
    (new.record, new.now) = (world.record.clone(), world.now);
    assert_ne!(new.request(0, "b"), Some(200));
    // A later JWKS brings keys, old ones too.
    refreshed(&mut world, &jwks(&["b", "c"]));
    assert_eq!((statuses(&mut world, "b"), statuses(&mut world, "c")), ([Some(200); 2], [Some(200); 2]));
    assert_ne!(world.request(0, "a"), Some(200), "its grace does not come back");
}

#[test]
fn an_empty_jwks_is_a_failure_by_default_that_has_a_name() {
    begin_log();
    let mut world = world_of_set(json!({"max_stale": "60s"})).started(&["a"]);
    world.engines.iter_mut().for_each(|engine| drop(engine.take_counts(0)));
    refreshed(&mut world, EMPTY);
    assert_eq!(statuses(&mut world, "a"), [Some(200); 2]);
    let counts = [0, 1].map(|worker| world.engines[worker].take_counts(0));
    let errors = counts.iter().flat_map(|counts| counts.counters()).map(|(series, _)| series.name("", "p"));
    assert!(errors.into_iter().any(|name| name == "jwks_gate.provider.p.fetch_errors.empty_set"));
    assert!(take_log().iter().any(|line| line.contains("document rejected: an empty JWKS: no key in it")));
    fail_for(&mut world, 200 * SECOND);
    assert_ne!(world.request(0, "a"), Some(200), "max_stale bounds that");
}

#[test]
fn what_is_not_exactly_empty_revokes_nothing() {
    let mut world = revoking().started(&["a"]);
    let bodies: [&[u8]; 6] =
        [b"", b"{}", br#"{"keys":null}"#, br#"{"keys":[{}]}"#, br#"{"keys":[]"#, br#"{"keys":[],"keys":[]}"#];
    for body in bodies {
        refreshed(&mut world, body);
        assert_eq!(statuses(&mut world, "a"), [Some(200); 2], "{}", body.escape_ascii());
    }
    // Nor is another status than 200.
    world.pass_until_fetch();
    let (worker, fetch) = world.fetches.remove(0);
    let response = Response { status: 404, headers: Vec::new(), body: EMPTY.to_vec() };
    let actions = world.engines[worker].on_fetched(ISSUER, fetch, Ok(response), 0, world.now);
    world.perform(worker, actions);
    assert_eq!(statuses(&mut world, "a"), [Some(200); 2]);
}

/// A configuration that keeps takes over what another accepted: the keys are gone, and stay gone.
#[test]
fn a_configuration_that_keeps_reads_the_record_of_one_that_revokes() {
    let mut world = revoking().started(&["a"]);
    refreshed(&mut world, EMPTY);
    let mut keeping = world_of_set(json!({"second_look": "0s"}));
    (keeping.record, keeping.now) = (world.record.clone(), world.now);
    assert_eq!(keeping.request(0, "a"), None);
    let record = Record::decode(&keeping.record).unwrap();
    assert_eq!(record.document.map(|document| document.body.to_vec()), Some(EMPTY.to_vec()), "not discarded");
}

#[test]
fn an_empty_jwks_ends_a_seed_too() {
    let mut config = configuration(json!({"provider_name": "p"}));
    let remote = &mut config["providers"]["p"]["remote_jwks"];
    remote["rotation"] = json!({"empty_set": "revoke"});
    let keys = String::from_utf8(jwks(&["s"])).unwrap();
    remote["seed_jwks"] = json!({"inline_string": keys, "not_after": "2026-12-31T00:00:00Z"});
    let mut world = world_of(&config);
    assert_eq!(statuses(&mut world, "s"), [Some(200); 2]);
    world.wake();
    world.fetched(Ok(EMPTY.to_vec()));
    assert_ne!(world.request(0, "s"), Some(200));
    let mut new = world_of(&config);
    (new.record, new.now) = (world.record.clone(), world.now);
    assert_ne!(new.request(1, "s"), Some(200));
}

#[test]
fn a_refresh_hint_is_the_lifetime_where_headers_state_none() {
    let hinted = |seconds: u64| {
        let mut document: serde_json::Value = serde_json::from_slice(&jwks(&["a"])).unwrap();
        document["spiffe_refresh_hint"] = json!(seconds);
        document.to_string().into_bytes()
    };
    let lifetime = |rotation: serde_json::Value, headers: &[(&str, &str)], body: Vec<u8>| {
        let mut world = world_of_set(rotation);
        world.wake();
        let (worker, fetch) = world.fetches.remove(0);
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let response = Response { status: 200, headers, body };
        let actions = world.engines[worker].on_fetched(ISSUER, fetch, Ok(response), 0, world.now);
        world.perform(worker, actions);
        world.engines[worker].measure_all();
        let gauges = world.engines[worker].take_gauges();
        let expires = gauges.iter().find(|(series, _)| series.name("", "p").contains("expires")).unwrap().1;
        expires - world.now.as_millis() / 1000
    };
    let default = || json!({});
    assert_eq!(lifetime(default(), &[], jwks(&["a"])), 600);
    assert_eq!(lifetime(default(), &[], hinted(300)), 300);
    assert_eq!(lifetime(default(), &[("cache-control", "public"), ("etag", "\"1\"")], hinted(300)), 300);
    assert_eq!(lifetime(default(), &[("cache-control", "max-age=120")], hinted(300)), 120);
    assert_eq!(lifetime(default(), &[("cache-control", "no-cache")], hinted(1_000)), 300, "no_cache_ttl");
    assert_eq!((lifetime(default(), &[], hinted(1)), lifetime(default(), &[], hinted(u64::MAX))), (30, 86_400));
    assert_eq!(lifetime(json!({"honor_cache_headers": false}), &[], hinted(300)), 600);
    assert_eq!(lifetime(json!({"empty_set": "revoke"}), &[], br#"{"keys":[],"spiffe_refresh_hint":60}"#.to_vec()), 60);
}
