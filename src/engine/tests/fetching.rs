//! What tokens may cost the issuer, and how long requests wait for an issuer that lags or fails.

use super::*;

fn looking_again(max_wait: &str) -> World {
    world_with_terms(json!({"unknown_kid_max_wait": max_wait}), json!(null)).started(&["a"])
}

#[test]
fn a_replica_that_lags_is_asked_once_more_while_a_request_waits() {
    let mut world = looking_again("10s");
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
    world.fetched(Ok(jwks(&["a"])));
    world.pass_waking(SECOND / 2);
    assert_eq!((world.statuses(), world.fetches.len()), (vec![], 0));
    world.pass_waking(SECOND / 2);
    world.fetched(Ok(jwks(&["a", "b"])));
    assert_eq!(world.statuses(), [200; 2]);
}

/// A configuration that ends says nothing of the issuer: another worker asks, and the requests wait on.
#[test]
fn a_fetch_whose_configuration_ends_denies_nothing() {
    // Before the first keys.
    let mut world = world();
    world.wake();
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (None, None));
    world.pass_waking(3 * SECOND / 2);
    world.abandoned();
    assert_eq!((world.statuses(), world.fetches.len()), (vec![], 1));
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [200; 2]);
    // For a new key, as the refresh and as the second look. The interval begins with the fetch that ends.
    let mut world = looking_again("10s");
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
    world.abandoned();
    world.fetched(Ok(jwks(&["a"])));
    world.pass_waking(SECOND);
    world.abandoned();
    assert_eq!((world.statuses(), world.fetches.len()), (vec![], 1));
    world.fetched(Ok(jwks(&["a", "b"])));
    assert_eq!(world.statuses(), [200; 2]);
}

#[test]
fn an_invented_kid_costs_two_fetches_per_interval() {
    let mut world = looking_again("5s");
    assert_eq!(world.request(0, "x"), None);
    world.fetched(Ok(jwks(&["a"])));
    // It comes in time for the second look.
    assert_eq!(world.request(1, "y"), None);
    world.pass_waking(SECOND);
    assert_eq!(world.request(1, "z"), None, "while it runs, it may still bring another key");
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [401; 3]);
    assert_eq!(world.request(0, "x"), Some(401), "the interval ends after the wait");
    world.pass_waking(4 * SECOND);
    assert_eq!(world.fetches.len(), 0);
}

#[test]
fn nobody_looks_again_for_a_key_that_was_found() {
    let mut world = looking_again("5s");
    assert_eq!(world.request(0, "b"), None);
    world.fetched(Ok(jwks(&["a", "b"])));
    assert_eq!(world.statuses(), [200]);
    world.pass_waking(4 * SECOND);
    assert_eq!(world.fetches.len(), 0);
    // The second look is left for a key that comes later.
    assert_eq!(world.request(1, "c"), None);
    world.fetched(Ok(jwks(&["b", "c"])));
    assert_eq!(world.statuses(), [200]);
}

#[test]
fn a_request_waits_for_a_second_look_within_its_patience_only() {
    let mut world = looking_again("0.5s");
    assert_eq!(world.request(0, "b"), None);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [401]);
    world.pass_waking(3 * SECOND);
    assert_eq!(world.fetches.len(), 0);
}

#[test]
fn a_second_look_that_fails_or_never_ends_leaves_the_token_at_fault() {
    for fails in [true, false] {
        let mut world = looking_again("5s");
        assert_eq!(world.request(0, "b"), None);
        world.fetched(Ok(jwks(&["a"])));
        world.pass_waking(SECOND);
        assert_eq!(world.fetches.len(), 1);
        if fails {
            world.fetched(Err(FetchError::Reset));
        } else {
            world.pass_waking(7 * SECOND);
        }
        assert_eq!(world.statuses(), [401]);
    }
}

/// Without a `retry_policy`, the first failure ends the wait; with Envoy's default, the second does.
#[test]
fn a_request_outlasts_the_retries_and_no_more() {
    for (retry_policy, expected) in [(json!(null), 1), (json!({}), 2)] {
        let mut world = world_with_terms(json!({}), retry_policy).started(&["a"]);
        assert_eq!(world.request(0, "b"), None);
        let mut failures = 0;
        while world.answers.is_empty() {
            world.fetched(Err(FetchError::Status(500)));
            failures += 1;
            world.pass_waking(SECOND * 11 / 10);
        }
        assert_eq!((world.statuses(), failures), (vec![503], expected));
    }
}

#[test]
fn a_retry_that_is_far_off_is_not_waited_for() {
    let mut world = world_with_terms(json!({}), json!(null));
    world.wake();
    let fail = |world: &mut World| {
        world.pass_until_fetch();
        world.fetched(Err(FetchError::Status(500)));
    };
    // The first pauses are short.
    fail(&mut world);
    assert_eq!(world.request(0, "a"), None);
    while world.fetches.is_empty() {
        world.pass_waking(SECOND / 10);
    }
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [200]);
    let mut world = world_with_terms(json!({}), json!(null));
    world.wake();
    (0..6).for_each(|_| fail(&mut world));
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (Some(503), Some(503)));
    // But for one that is near.
    while world.request(0, "a").is_some() {
        world.pass_waking(SECOND / 4);
        assert!(world.fetches.is_empty(), "nobody waited");
    }
    world.pass_until_fetch();
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [200]);
}

/// How often each outcome of `fetches` and each cause of `fetch_errors` was counted, and what was logged.
fn told(world: &mut World, worker: usize) -> (Vec<String>, Vec<String>) {
    let counts = world.engines[worker].take_counts(0);
    let names = counts.counters().map(|(series, times)| (series.name("", "p"), times));
    let fetches = names.filter(|(name, _)| name.contains(".fetch")).map(|(name, times)| format!("{name} {times}"));
    (fetches.collect(), take_log())
}

/// A worker whose JWKS has an entity tag asks about the JWKS. Returns the number of the fetch.
fn asking(world: &mut World) -> u64 {
    world.wake();
    let headers = vec![("etag".to_owned(), br#""1""#.to_vec())];
    end_fetch(world, Response { status: 200, headers, body: jwks(&["a"]) });
    world.pass(11 * SECOND);
    assert_eq!(world.request(0, "b"), None);
    let [(0, fetch)] = world.fetches[..] else { panic!() };
    told(world, 0);
    fetch
}

fn end_fetch(world: &mut World, response: Response) {
    let (worker, fetch) = world.fetches.remove(0);
    let actions = world.engines[worker].on_fetched(ISSUER, fetch, Ok(response), 0, world.now);
    world.perform(worker, actions);
}

const NOT_MODIFIED: fn() -> Response = || Response { status: 304, headers: Vec::new(), body: Vec::new() };

#[test]
fn a_304_about_another_jwks_is_a_failure_in_the_record_the_metrics_and_the_log() {
    begin_log();
    let mut world = world();
    asking(&mut world);
    // Another plugin puts another JWKS into the record.
    let mut record = Record::decode(&world.record).unwrap();
    record.document.as_mut().unwrap().body = jwks(&["c"]).into();
    world.record = record.encode();
    end_fetch(&mut world, NOT_MODIFIED());
    assert_eq!(Record::decode(&world.record).unwrap().failures, 1);
    let (counted, logged) = told(&mut world, 0);
    assert_eq!(counted, ["jwks_gate.provider.p.fetch_errors.status 1", "jwks_gate.provider.p.fetches.failed 1"]);
    assert!(
        matches!(&logged[..], [line] if line.contains("answered 304, but another JWKS is cached by now")),
        "{logged:?}"
    );
}

#[test]
fn a_superseded_fetch_is_counted_and_logged_as_such() {
    begin_log();
    let mut world = world();
    let fetch = asking(&mut world);
    let mut record = Record::decode(&world.record).unwrap();
    (record.started, record.version) = (fetch + 1, record.version + 1);
    world.record = record.encode();
    end_fetch(&mut world, NOT_MODIFIED());
    let (counted, logged) = told(&mut world, 0);
    assert_eq!(counted, ["jwks_gate.provider.p.fetches.superseded 1"]);
    assert_eq!(logged, [r#"provider "p": JWKS fetch superseded: another fetch was started before its end"#]);
}
