//! Two workers and one issuer: what each does when keys come, go and cannot be had.

mod demands;
mod empty_set;
mod fairness;
mod fetch_sources;
mod fetching;
mod key_changes;
mod memory;
mod mirrors;
mod readiness;
mod revocation;
mod seed;
mod shared_record;
mod world;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

use serde_json::json;

use self::world::*;
use super::*;
use crate::{keys::document::DocumentError, rotation::record::Record};

#[test]
fn waiting_requests_take_a_bounded_amount_of_memory() {
    let mut world = world().started(&["a"]);
    let large = || [b"/".to_vec(), vec![b'x'; 50 << 20]].concat();
    for kid in ["b", "c"] {
        let statuses = [(); 6].map(|()| world.request_to(0, large(), &token(kid)));
        assert_eq!(statuses, [None, None, None, None, None, Some(503)]);
        world.pass(20 * SECOND);
        world.fetches.clear();
        assert_eq!(world.statuses().len(), 5, "all were answered, and gave their room back");
    }
}

#[test]
fn a_cold_start_parks_everything_and_asks_once() {
    let mut world = world();
    for worker in [0, 1, 0, 1] {
        assert_eq!(world.request(worker, "a"), None);
    }
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [200; 4]);
    assert_eq!(world.engines.iter().map(Engine::waiting).sum::<usize>(), 0);
}

#[test]
fn a_new_key_is_found_by_one_refresh_on_both_workers() {
    let mut world = world().started(&["a"]);
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (Some(200), Some(200)));
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
    world.fetched(Ok(jwks(&["b"])));
    assert_eq!(world.statuses(), [200; 2]);
    assert_eq!(world.request(1, "b"), Some(200));
}

#[test]
fn an_unknown_kid_is_refused_after_one_refresh_and_then_at_once() {
    let mut world = world().started(&["a"]);
    assert_eq!(world.request(0, "x"), None);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [401]);
    assert_eq!((world.request(1, "y"), world.request(0, "a")), (Some(401), Some(200)));
    assert_eq!(world.fetches.len(), 0, "the budget is spent");
}

#[test]
fn a_kid_refused_within_the_interval_has_the_issuer_asked_at_its_end() {
    let mut world = world().started(&["a"]);
    assert_eq!(world.request(0, "x"), None);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.request(1, "b"), Some(401));
    world.pass(9 * SECOND);
    assert_eq!(world.fetches.len(), 0);
    world.pass(2 * SECOND);
    world.fetched(Ok(jwks(&["b"])));
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (Some(200), Some(200)));
}

#[test]
fn a_refresh_that_is_due_within_the_wait_is_waited_for() {
    let mut world = world().started(&["a"]);
    assert_eq!(world.request(0, "x"), None);
    world.fetched(Ok(jwks(&["a"])));
    world.statuses();
    world.pass(6 * SECOND);
    assert_eq!(world.request(1, "b"), None);
    assert_eq!(world.fetches.len(), 0);
    world.pass(4 * SECOND);
    world.fetched(Ok(jwks(&["a", "b"])));
    assert_eq!(world.statuses(), [200]);
}

/// The request's deadline and the next refresh fall together; the event loop comes to both too late.
#[test]
fn a_refresh_that_was_promised_is_waited_for_however_late_it_begins() {
    for late in [0, 1, 30, 1_900] {
        let mut world = world_with(10).started(&["a"]);
        assert_eq!(world.request(0, "x"), None);
        world.fetched(Ok(jwks(&["a"])));
        assert_eq!(world.statuses(), [401]);
        assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
        world.pass_waking(9 * SECOND);
        world.now = world.now.plus(SECOND).plus(Duration::from_millis(late));
        world.wake();
        assert_eq!((world.fetches.len(), world.statuses()), (1, vec![]), "{late} ms late");
        world.fetched(Ok(jwks(&["b"])));
        assert_eq!(world.statuses(), [200; 2], "{late} ms late");
    }
}

#[test]
fn a_promised_refresh_that_never_ends_keeps_nobody_for_longer_than_its_timeout() {
    let mut world = world_with(10).started(&["a"]);
    assert_eq!(world.request(0, "x"), None);
    world.fetched(Ok(jwks(&["a"])));
    world.statuses();
    assert_eq!(world.request(1, "b"), None);
    world.pass_waking(11 * SECOND);
    assert_eq!((world.fetches.len(), world.statuses()), (1, vec![]));
    world.pass_waking(SECOND);
    assert_eq!(world.statuses(), [503]);
}

#[test]
fn a_failed_refresh_is_our_fault_and_costs_no_known_key() {
    let failures = [
        FetchError::NotStarted,
        FetchError::Reset,
        FetchError::Status(500),
        FetchError::Document(DocumentError::Malformed),
    ];
    for failure in failures {
        let mut world = world().started(&["a"]);
        assert_eq!(world.request(0, "b"), None);
        world.fetched(Err(failure.clone()));
        assert_eq!(world.statuses(), [503], "{failure}");
        assert_eq!((world.request(0, "a"), world.request(1, "a")), (Some(200), Some(200)));
    }
}

#[test]
fn a_document_without_a_usable_key_replaces_nothing() {
    let mut world = world().started(&["a"]);
    assert_eq!(world.request(0, "b"), None);
    world.fetched(Ok(br#"{"keys":[]}"#.to_vec()));
    assert_eq!(world.statuses(), [503]);
    assert_eq!(world.request(1, "a"), Some(200));
}

#[test]
fn a_fetch_that_never_ends_keeps_nobody_waiting_beyond_the_deadline() {
    let mut world = world();
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (None, None));
    world.pass(5 * SECOND);
    assert_eq!(world.statuses(), [503; 2]);
    world.fetches.clear();
    assert_eq!(world.request(0, "a"), None);
    // The worker still waits for its fetch, and renews the lease up to twice its length.
    world.pass(2 * SECOND);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [200]);
}

#[test]
fn keys_outlive_their_lifetime_while_the_issuer_fails_and_not_for_ever() {
    let mut world = world().started(&["a"]);
    let fail_for = |world: &mut World, seconds| {
        for _ in 0..seconds {
            world.pass(SECOND);
            if !world.fetches.is_empty() {
                world.fetched(Err(FetchError::Status(503)));
            }
        }
    };
    fail_for(&mut world, 3690);
    assert_eq!(world.request(0, "a"), Some(200));
    fail_for(&mut world, 10);
    assert_ne!(world.request(0, "a"), Some(200));
    while world.fetches.is_empty() {
        world.pass(SECOND);
    }
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.request(1, "a"), Some(200));
}

#[test]
fn bytes_that_are_no_record_count_as_none() {
    let mut world = world();
    world.engines[0].on_record(ISSUER, b"\xff\xffnonsense", world.now);
    assert_eq!(world.engines[0].version(ISSUER), 0);
    let mut world = world.started(&["a"]);
    let version = world.engines[0].version(ISSUER);
    world.engines[0].on_record(ISSUER, b"\xff\xffnonsense", world.now);
    assert_eq!(world.engines[0].version(ISSUER), version, "what the worker knows stays");
    assert_eq!(world.engines[0].next_timeout(world.now), Some(world.now), "and is written back");
}

/// Another plugin overwrites the record: the keys at hand stay, and one fetch writes the record anew.
#[test]
fn an_overwritten_record_costs_a_fetch_and_no_known_key() {
    let immortal = Record { version: u64::MAX, ..Record::default() };
    for garbage in [Vec::new(), b"<html>".to_vec(), Record::default().encode(), immortal.encode()] {
        let mut world = world().started(&["a"]);
        assert_eq!((world.request(0, "a"), world.request(1, "a")), (Some(200), Some(200)));
        world.record = garbage;
        world.wake();
        assert_eq!(world.fetches.len(), 1, "one fetch");
        assert_eq!((world.request(0, "a"), world.request(1, "a")), (Some(200), Some(200)));
        world.fetched(Ok(jwks(&["b"])));
        assert_eq!((world.request(0, "b"), world.request(1, "b")), (Some(200), Some(200)));
        assert_ne!(world.request(0, "a"), Some(200), "a key that the issuer withdrew");
    }
}

#[test]
fn keys_that_shared_data_lost_end_when_they_would_have_ended() {
    let mut world = world().started(&["a"]);
    world.record = Vec::new();
    // The lifetime and max_stale, while the issuer fails.
    for second in 0..3_800 {
        world.pass(SECOND);
        if !world.fetches.is_empty() {
            world.fetched(Err(FetchError::Reset));
        }
        if second == 3_690 {
            assert_eq!(world.request(0, "a"), Some(200));
        }
    }
    assert_eq!(world.request(0, "a"), Some(503));
}

/// A grace of a minute; the key left after a rotation. Both workers have seen the time before the clock steps back.
#[test]
fn a_grace_neither_comes_back_nor_ends_when_the_clock_steps_back() {
    let mut config = configuration(json!({"provider_name": "p"}));
    config["providers"]["p"]["remote_jwks"]["rotation"] = json!({"retired_key_grace": "60s"});
    for step in [100, 86_400] {
        for (age, status) in [(10, Some(200)), (65, None)] {
            let mut world = world_of(&config).started(&["a"]);
            world.pass(11 * SECOND);
            assert_eq!(world.request(0, "b"), None);
            world.fetched(Ok(jwks(&["b"])));
            world.pass(age * SECOND);
            world.wake();
            let before = [0, 1].map(|worker| world.request(worker, "b"));
            assert_eq!(before, [Some(200); 2]);
            world.now = world.now.minus(step * SECOND);
            world.wake();
            let after = [0, 1].map(|worker| world.request(worker, "a").filter(|status| *status == 200));
            assert_eq!(after, [status; 2], "{age} s into the grace, {step} s back");
        }
    }
}

#[test]
fn a_step_of_the_clock_takes_no_time_from_who_waits_and_gives_none() {
    let day = Duration::from_secs(86_400);
    for step in [UnixTime::plus, UnixTime::minus] {
        let mut world = world();
        assert_eq!(world.request(0, "a"), None);
        world.pass(SECOND);
        world.wake();
        world.now = step(world.now, day);
        world.wake();
        assert!(world.statuses().is_empty());
        world.pass(3 * SECOND);
        assert!(world.statuses().is_empty());
        world.pass(SECOND);
        assert_eq!(world.statuses(), [503]);
    }
}

#[test]
fn a_lease_is_no_reason_to_check_signatures_again() {
    let mut world = world();
    world.request(0, "a");
    world.fetched(Ok(jwks(&["a", "b"])));
    world.pass(Duration::from_secs(20));
    // It names no key, so that each key is tried.
    let named = token("x");
    let (_, rest) = named.split_once('.').unwrap();
    let nobodys = format!("{}.{rest}", BASE64.encode(r#"{"alg":"RS256"}"#));
    let parked = (0..10).filter(|_| world.request_with(1, &nobodys).is_none()).count();
    let before = world.engines[1].check.checks.get();
    assert!(parked == 10 && world.fetches.len() == 1);
    world.wake();
    world.wake();
    assert_eq!(world.engines[1].check.checks.get(), before);
    assert_eq!(before, 10 * 2, "two keys, once each");
}

fn world_with_a_key() -> World {
    let mut world = world();
    world.request(0, "a");
    world.fetched(Ok(jwks(&["a"])));
    world
}

/// How many signatures the first worker has checked.
fn checks(world: &World) -> u32 {
    world.engines[0].check.checks.get()
}

#[test]
fn a_token_that_was_verified_is_not_verified_again_while_its_key_is_there() {
    let mut world = world_with_a_key();
    assert_eq!(world.request(0, "a"), Some(200));
    let before = checks(&world);
    assert_eq!(world.request(0, "a"), Some(200));
    assert_eq!(checks(&world), before, "remembered");
    world.pass_until_fetch();
    world.fetched(Ok(jwks(&["a", "b"])));
    assert_eq!(world.request(0, "a"), Some(200));
    assert_eq!(checks(&world), before + 1, "other keys, another question");
    world.pass_until_fetch();
    world.fetched(Ok(jwks(&["b"])));
    assert_eq!(world.request(0, "a"), None, "its key is gone");
}

#[test]
fn a_token_that_was_verified_ends_with_its_keys() {
    let mut world = world_with_a_key();
    assert_eq!(world.request(0, "a"), Some(200));
    // The lifetime and max_stale.
    for _ in 0..4000 {
        world.pass(Duration::from_secs(1));
        if !world.fetches.is_empty() {
            world.fetched(Err(FetchError::Reset));
        }
    }
    let before = checks(&world);
    assert_eq!(world.request(0, "a"), Some(503));
    assert_eq!(checks(&world), before);
}

fn configuration(requires: serde_json::Value) -> serde_json::Value {
    json!({
        "providers": {"p": {
            "issuer": "i",
            "claim_to_headers": [{"header_name": "x-issuer", "claim_name": "iss"}],
            "remote_jwks": {"http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"}},
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": requires}],
        "max_parked_requests": 1,
    })
}

/// Where the requirement is satisfied whatever becomes of the token, waiting buys nothing.
#[test]
fn a_request_that_nothing_can_deny_never_waits_nor_needs_room() {
    let provider = json!({"provider_name": "p"});
    for requires in [
        json!({"allow_missing_or_failed": {}}),
        json!({"extract_only_without_validation": {}}),
        json!({"requires_any": {"requirements": [provider, {"allow_missing_or_failed": {}}]}}),
    ] {
        // No keys yet, an issuer that does not answer, more requests than room.
        let mut world = world_of(&configuration(requires.clone()));
        for _ in 0..3 {
            assert_eq!(world.request(0, "a"), Some(200), "{requires}");
        }
        world.wake();
        world.fetched(Ok(jwks(&["a"])));
        // An unknown key: let through at once, and the issuer is asked.
        assert_eq!((world.request(0, "b"), world.engines[0].waiting()), (Some(200), 0), "{requires}");
        world.wake();
        assert_eq!(world.fetches.len(), 1, "{requires}");
        world.fetched(Ok(jwks(&["a", "b"])));
        assert_eq!(world.request(1, "b"), Some(200));
    }
    // What can be denied waits, or is denied for want of room.
    let mut world =
        world_of(&configuration(json!({"requires_any": {"requirements": [provider, {"allow_missing": {}}]}})));
    assert_eq!((world.request(0, "a"), world.request(0, "a")), (None, Some(503)));
}

#[test]
fn report_mode_changes_nothing_but_filter_state() {
    let mut config = configuration(json!({"provider_name": "p"}));
    config["mode"] = json!("report");
    let mut world = world_of(&config).started(&["a"]);
    for kid in ["a", "x"] {
        let bearer = format!("Bearer {}", token(kid));
        let list = [(":path", &b"/"[..]), ("authorization", bearer.as_bytes()), ("x-issuer", b"earlier")];
        let headers = Headers::new(&list);
        let resolved = world.engines[0].resolve(headers);
        let decision = world.engines[0].on_request(StreamId(900), resolved, headers, ClientId::default, world.now);
        let (Decision::Continue(edits, _) | Decision::ContinueAndWake(edits, _)) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(edits, Edits { state: edits.state.clone(), ..Edits::default() }, "{kid}");
    }
}
