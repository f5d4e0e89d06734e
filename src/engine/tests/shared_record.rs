//! What becomes of keys when another plugin writes to shared data, and when the clock steps.

use serde_json::json;

use super::{world::*, *};

/// The provider of [`configuration`] with these rotation settings.
fn with_rotation(rotation: serde_json::Value) -> World {
    let mut config = configuration(json!({"provider_name": "p"}));
    config["providers"]["p"]["remote_jwks"]["rotation"] = rotation;
    config["max_parked_requests"] = json!(20);
    world_of(&config)
}

/// Both workers' answers, 200 or not.
fn allowed(world: &mut World, kid: &str) -> [bool; 2] {
    [0, 1].map(|worker| world.request(worker, kid) == Some(200))
}

/// The issuer replaces key `a` with `b`, and both workers see that. Returns the record from before.
fn replaced(world: &mut World) -> Vec<u8> {
    let earlier = world.record.clone();
    world.pass(11 * SECOND);
    assert_eq!(world.request(0, "b"), None);
    world.fetched(Ok(jwks(&["b"])));
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (Some(200), Some(200)));
    earlier
}

#[test]
fn an_earlier_record_takes_no_worker_back() {
    for step in [0, 60, 86_400] {
        let mut world = world().started(&["a"]);
        let earlier = replaced(&mut world);
        world.now = world.now.minus(step * SECOND);
        world.record = earlier;
        assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [true; 2]), "{step} s back");
        world.wake();
        assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [true; 2]), "{step} s back");
        world.fetches.clear();
        // An issuer that fails confirms nothing: neither key outlives its lifetime and max_stale.
        for _ in 0..3_800 {
            world.pass(SECOND);
            if !world.fetches.is_empty() {
                world.fetched(Err(FetchError::Reset));
            }
        }
        assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [false; 2]), "{step} s back");
    }
}

#[test]
fn a_worker_that_knows_less_is_brought_up_to_date_by_a_worker_that_knows_more() {
    let mut world = world().started(&["a"]);
    let earlier = world.record.clone();
    world.pass(11 * SECOND);
    assert_eq!(world.request(1, "b"), None);
    let [(worker, fetch)] = world.fetches[..] else { panic!() };
    world.fetches.clear();
    let response = Response { status: 200, headers: Vec::new(), body: jwks(&["b"]) };
    // Only the worker that fetched knows the new document when the record is taken back.
    for action in world.engines[worker].on_fetched(ISSUER, fetch, Ok(response), 0, world.now) {
        let Action::Update(_, update) = action else { continue };
        let applied = update.apply(Some(&world.record), world.now);
        world.engines[worker].on_updated(ISSUER, update, applied, world.now);
    }
    world.record = earlier;
    world.wake();
    world.wake();
    assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [true; 2]));
}

#[test]
fn a_fetch_that_this_worker_learns_of_late_tells_nothing_of_a_request_that_came_after() {
    let terms = json!({"unknown_kid_max_wait": "10s", "second_look": "0s"});
    let mut world = with_rotation(terms.clone()).started(&["a"]);
    let earlier = world.record.clone();
    world.pass(11 * SECOND);
    assert_eq!(world.request(0, "x"), None);
    let [(0, fetch)] = world.fetches[..] else { panic!() };
    world.fetches.clear();
    let response = Response { status: 200, headers: Vec::new(), body: jwks(&["a"]) };
    for action in world.engines[0].on_fetched(ISSUER, fetch, Ok(response), 0, world.now) {
        let Action::Update(_, update) = action else { continue };
        let applied = update.apply(Some(&world.record), world.now);
        world.engines[0].on_updated(ISSUER, update, applied, world.now);
    }
    assert!(matches!(world.engines[0].on_wake(world.now)[..], [Action::Reply(..)]));
    // The other worker does not see the fetch before the request has come.
    [world.engines[1], _] = with_rotation(terms).engines;
    world.now = world.now.plus(SECOND);
    world.record = earlier;
    assert_eq!(world.request(1, "b"), None);
    assert!(world.statuses().is_empty());
    world.fetched(Ok(jwks(&["b"])));
    assert_eq!(world.statuses(), [200]);
}

/// A VM begins after a step of the clock and reads a record that another plugin wrote back. The VM learns of the step, and of a
/// fetch that ended before its request came, at the same moment.
#[test]
fn a_worker_that_learns_of_a_step_late_takes_no_earlier_fetch_for_a_later_one() {
    let terms = json!({"unknown_kid_max_wait": "10s", "second_look": "0s"});
    let mut world = with_rotation(terms.clone()).started(&["a"]);
    let earlier = world.record.clone();
    world.pass_waking(50 * SECOND);
    world.now = world.now.minus(86_400 * SECOND);
    assert_eq!(world.request(0, "x"), None);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [401]);
    world.pass_waking(11 * SECOND);
    [_, world.engines[1]] = with_rotation(terms).engines;
    world.record = earlier;
    assert_eq!(world.request(1, "b"), None);
    assert!(world.statuses().is_empty(), "nobody has asked the issuer since");
    world.fetched(Ok(jwks(&["b"])));
    assert_eq!(world.statuses(), [200]);
}

#[test]
fn an_unknown_key_waits_while_the_record_is_lost() {
    for garbage in [Vec::new(), b"<html>".to_vec(), Record::default().encode()] {
        let mut world = world().started(&["a"]);
        world.pass(11 * SECOND);
        world.record = garbage;
        assert_eq!(world.request(0, "b"), None);
        world.fetched(Ok(jwks(&["a", "b"])));
        assert_eq!(world.statuses(), [200]);
    }
}

#[test]
fn a_lost_record_loses_no_grace_and_begins_none_anew() {
    let mut world = with_rotation(json!({"retired_key_grace": "60s"})).started(&["a"]);
    replaced(&mut world);
    world.pass(20 * SECOND);
    assert_eq!(allowed(&mut world, "a"), [true; 2]);
    world.record = b"<html>".to_vec();
    world.wake();
    world.fetched(Ok(jwks(&["c"])));
    assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([true; 2], [true; 2]), "both in their grace");
    world.pass(41 * SECOND);
    assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [true; 2]), "one grace is over");
    world.pass(20 * SECOND);
    assert_eq!(allowed(&mut world, "b"), [false; 2], "both are");
}

/// The lifetime and `max_stale` pass while the issuer fails.
fn expire(world: &mut World) {
    for _ in 0..3_710 {
        world.pass(SECOND);
        if !world.fetches.is_empty() {
            world.fetched(Err(FetchError::Reset));
        }
    }
}

#[test]
fn an_expired_document_does_not_come_back_with_a_step_of_the_clock() {
    for step in [1, 20, 3_000, 86_400] {
        for is_woken in [false, true] {
            for is_lost in [false, true] {
                let mut world = world().started(&["a"]);
                expire(&mut world);
                assert_eq!(allowed(&mut world, "a"), [false; 2]);
                world.now = world.now.minus(step * SECOND);
                if is_lost {
                    world.record = Vec::new();
                }
                if is_woken {
                    world.wake();
                }
                let what = format!("{step} s back, woken: {is_woken}, lost: {is_lost}");
                assert_eq!(allowed(&mut world, "a"), [false; 2], "{what}");
                assert_eq!(allowed(&mut world, "a"), [false; 2], "{what}");
            }
        }
    }
}

#[test]
fn after_a_step_that_no_record_can_follow_the_workers_begin_anew() {
    for is_noticed in [false, true] {
        let mut world = world().started(&["a"]);
        if is_noticed {
            assert_eq!(allowed(&mut world, "a"), [true; 2]);
        }
        world.now = world.now.minus(12 * 365 * 86_400 * SECOND);
        world.wake();
        assert_eq!(world.fetches.len(), 1);
        world.fetched(Ok(jwks(&["b"])));
        assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [true; 2]));
        // The refresh for the token of "a".
        world.fetched(Ok(jwks(&["b", "c"])));
        assert_eq!(allowed(&mut world, "c"), [true; 2]);
    }
}

#[test]
fn a_step_of_the_clock_does_not_make_a_document_younger() {
    for step in [20, 3_000, 86_400] {
        let mut world = world().started(&["a"]);
        for second in 0..3_600 {
            world.pass(SECOND);
            if !world.fetches.is_empty() {
                world.fetched(Err(FetchError::Reset));
            }
            // A step back every ten minutes, and the time is put right again.
            match second % 600 {
                100 => world.now = world.now.minus(step * SECOND),
                101 => world.now = world.now.plus(step * SECOND),
                _ => {}
            }
            world.wake();
        }
        let mut left = 0;
        while allowed(&mut world, "a") == [true; 2] && left < 1_000 {
            left += 1;
            world.pass(SECOND);
            if !world.fetches.is_empty() {
                world.fetched(Err(FetchError::Reset));
            }
        }
        assert!(left <= 105, "{left} s are left after {step} s back");
    }
}

/// A grace of a minute, and a step that is shorter than what is over of the grace.
#[test]
fn a_grace_that_ended_stays_ended_after_a_short_step_back() {
    for (step, is_woken) in [(3, false), (10, false), (10, true), (50, true)] {
        let mut world = with_rotation(json!({"retired_key_grace": "60s"})).started(&["a"]);
        replaced(&mut world);
        world.pass(61 * SECOND);
        assert_eq!(allowed(&mut world, "a"), [false; 2]);
        world.now = world.now.minus(step * SECOND);
        if is_woken {
            world.wake();
        }
        for second in 0..10 {
            assert_eq!(allowed(&mut world, "a"), [false; 2], "{second} s after {step} s back");
            world.pass(SECOND);
            world.wake();
        }
    }
}

#[test]
fn a_clock_that_steps_forward_during_a_fetch_does_not_age_the_response() {
    let rotation = json!({"max_stale": "0s", "min_ttl": "1s", "unknown_kid_max_wait": "10s"});
    let mut world = with_rotation(rotation);
    assert_eq!(world.request(0, "a"), None);
    world.now = world.now.plus(86_400 * SECOND);
    let [(worker, fetch)] = world.fetches[..] else { panic!() };
    world.fetches.clear();
    let headers = vec![("cache-control".to_owned(), b"max-age=600".to_vec())];
    let response = Response { status: 200, headers, body: jwks(&["a"]) };
    let actions = world.engines[worker].on_fetched(ISSUER, fetch, Ok(response), 0, world.now);
    world.perform(worker, actions);
    assert_eq!(world.statuses(), [200]);
    world.pass(590 * SECOND);
    world.fetches.clear();
    assert_eq!(world.request(0, "a"), Some(200), "the lifetime is not over");
}

/// The fetches that run when the clock steps, and those that follow from the step, end one after the other.
#[test]
fn a_fetch_that_outlives_its_lease_counts_unless_another_was_started() {
    for wakes in 0..4 {
        for cold in [true, false] {
            let mut world = with_rotation(json!({"unknown_kid_max_wait": "10s"}));
            if !cold {
                world = world.started(&["a"]);
                world.pass(11 * SECOND);
            }
            assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
            world.now = world.now.plus(86_400 * SECOND);
            for _ in 0..wakes {
                world.wake();
                world.now = world.now.plus(Duration::from_millis(5));
            }
            let fetches = std::mem::take(&mut world.fetches);
            for fetch in fetches {
                world.fetches = vec![fetch];
                world.fetched(Ok(jwks(&["b"])));
            }
            assert_eq!(world.statuses(), [200, 200], "{wakes} wake-ups after the step, cold: {cold}");
            assert_eq!(allowed(&mut world, "b"), [true; 2]);
            world.wake();
            assert!(world.fetches.is_empty());
        }
    }
}

/// One request for each key in `kids` at each worker every 100 ms, and garbage in the record whenever a worker comes to use the
/// record, for a minute. A fetch takes 40 ms. Returns the number of fetches.
fn a_minute_of_garbage(world: &mut World, garbage: &'static [u8], issuer: impl Fn(u64) -> &'static str) -> usize {
    let mut count = 0;
    let mut running: Vec<(u64, (usize, u64))> = Vec::new();
    world.garbage = Some(garbage);
    for step in 0..12_000_u64 {
        world.now = world.now.plus(Duration::from_millis(5));
        world.wake();
        if step % 20 == 0 {
            for worker in [0, 1] {
                let answer = world.request(worker, issuer(step * 5));
                assert!(matches!(answer, None | Some(200)), "{answer:?} after {} ms", step * 5);
            }
        }
        count += world.fetches.len();
        running.extend(std::mem::take(&mut world.fetches).into_iter().map(|fetch| (step + 8, fetch)));
        for (_, fetch) in running.extract_if(.., |(end, _)| *end <= step).collect::<Vec<_>>() {
            world.fetches = vec![fetch];
            world.fetched(Ok(jwks(&[issuer(step * 5)])));
            count += world.fetches.len();
            running.extend(std::mem::take(&mut world.fetches).into_iter().map(|fetch| (step + 8, fetch)));
        }
        assert!(world.statuses().iter().all(|status| *status == 200));
    }
    world.garbage = None;
    count
}

#[test]
fn a_plugin_that_overwrites_the_record_in_a_loop_costs_few_fetches_and_no_good_token() {
    for garbage in [&b"<html>"[..], b""] {
        let mut world = with_rotation(json!({"unknown_kid_max_wait": "10s"})).started(&["a"]);
        world.pass(SECOND);
        let fetches = a_minute_of_garbage(&mut world, garbage, |_| "a");
        assert!((2..=14).contains(&fetches), "each worker fetches every ten seconds: {fetches}");
        // Each worker finds the new key by itself.
        let fetches = a_minute_of_garbage(&mut world, garbage, |millis| if millis < 25_000 { "a" } else { "b" });
        assert!(fetches <= 16, "{fetches}");
        world.wake();
        assert_eq!((allowed(&mut world, "a"), allowed(&mut world, "b")), ([false; 2], [true; 2]));
    }
}

#[test]
fn a_lost_record_is_logged_once_in_ten_seconds() {
    begin_log();
    let mut world = with_rotation(json!({"unknown_kid_max_wait": "10s"})).started(&["a"]);
    world.pass(SECOND);
    take_log();
    a_minute_of_garbage(&mut world, b"<html>", |_| "a");
    let losses = take_log().into_iter().filter(|line| line.contains("shared data lost the JWKS")).count();
    assert!((10..=14).contains(&losses), "two workers, {losses} warnings");
}
