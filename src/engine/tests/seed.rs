//! Keys of the configuration: they verify until the first JWKS, and never again.

use super::{world::*, *};

/// A seed with this key, which ends a hundred seconds after the start.
fn seeded_with(kid: &str, rotation: serde_json::Value) -> World {
    let mut config = configuration(json!({"provider_name": "p"}));
    config["providers"]["p"]["remote_jwks"]["rotation"] = rotation;
    config["providers"]["p"]["remote_jwks"]["seed_jwks"] = json!({
        "inline_string": String::from_utf8(jwks(&[kid])).unwrap(),
        "not_after": "2023-11-14T22:15:00Z",
    });
    config["max_parked_requests"] = json!(20);
    world_of(&config)
}

fn seeded() -> World {
    seeded_with("s", json!({"second_look": "0s", "unknown_kid_max_wait": "5s"}))
}

fn statuses(world: &mut World, kid: &str) -> [Option<u16>; 2] {
    [0, 1].map(|worker| world.request(worker, kid))
}

/// The fetch that runs fails, and so do those that follow within this time.
pub(super) fn fail_for(world: &mut World, time: Duration) {
    let end = world.now.plus(time);
    while world.now < end {
        if !world.fetches.is_empty() {
            world.fetched(Err(FetchError::Status(500)));
        }
        world.pass_waking(SECOND);
    }
}

/// No worker knows anything: the VMs are new.
fn restarted(world: &World) -> World {
    let mut new = seeded();
    (new.record, new.now) = (world.record.clone(), world.now);
    new.wake();
    new
}

#[test]
fn a_seed_verifies_at_once_and_other_tokens_wait_for_the_first_fetch() {
    let mut world = seeded();
    assert_eq!((statuses(&mut world, "s"), statuses(&mut world, "a")), ([Some(200); 2], [None; 2]));
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!((world.statuses(), statuses(&mut world, "a")), (vec![200; 2], [Some(200); 2]));
    // The issuer does not have the seed's key. The token was in the cache.
    assert_eq!(statuses(&mut world, "s"), [None; 2]);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!((world.statuses(), statuses(&mut world, "s")), (vec![401; 2], [Some(401); 2]));
}

#[test]
fn a_token_of_the_seed_waits_for_nothing_while_fetches_fail_and_others_get_503() {
    let mut world = seeded();
    world.wake();
    fail_for(&mut world, 20 * SECOND);
    assert_eq!((statuses(&mut world, "s"), world.engines[0].waiting()), ([Some(200); 2], 0));
    assert_eq!(statuses(&mut world, "a"), [Some(503); 2]);
    // The key that the token names may be another at the issuer.
    let forged = token("s").rsplit_once('.').unwrap().0.to_owned() + "." + &BASE64.encode("x");
    assert_eq!(world.request_with(0, &forged), Some(503));
}

#[test]
fn a_seed_ends_at_its_time_and_no_step_of_the_clock_brings_the_seed_back() {
    for step in [0, 60, 86_400, 6 * 365 * 86_400] {
        let mut world = seeded();
        world.wake();
        fail_for(&mut world, 99 * SECOND);
        assert_eq!(statuses(&mut world, "s"), [Some(200); 2]);
        fail_for(&mut world, 2 * SECOND);
        assert_eq!(world.request(0, "s").unwrap_or(503), 503, "{step}");
        world.answers.clear();
        world.now = world.now.minus(step * SECOND);
        assert_ne!(statuses(&mut world, "s"), [Some(200); 2], "{step}");
        fail_for(&mut world, 20 * SECOND);
        assert!(world.statuses().iter().all(|status| *status == 503), "{step}");
        assert_eq!(statuses(&mut world, "s"), [Some(503); 2], "{step}");
        // Nor for a worker that is new.
        let mut new = restarted(&world);
        assert!(step > 86_400 || new.request(0, "s") != Some(200), "{step}");
    }
}

#[test]
fn a_jwks_that_was_lost_leaves_no_room_for_the_seed() {
    let end = |world: &mut World| {
        world.wake();
        world.fetched(Ok(jwks(&["a"])));
        world.wake();
    };
    // Another plugin overwrites the record in a loop.
    let mut world = seeded();
    end(&mut world);
    for garbage in [&b""[..], b"<html>"] {
        world.garbage = Some(garbage);
        assert_eq!(statuses(&mut world, "s").map(|status| status == Some(200)), [false; 2]);
        assert_eq!(statuses(&mut world, "a"), [Some(200); 2]);
    }
    // The keys expire, and the issuer fails.
    let mut world = seeded_with("s", json!({"max_stale": "0s"}));
    end(&mut world);
    fail_for(&mut world, 90 * SECOND);
    world.fetches.clear();
    // Another plugin writes a JWKS that nobody can read; a worker discards that. New VMs do not know of the keys.
    let mut record = Record::decode(&world.record).unwrap();
    record.document.as_mut().unwrap().body = b"<html>"[..].into();
    world.record = record.encode();
    let mut new = restarted(&world);
    assert!(Record::decode(&new.record).unwrap().document.is_none(), "discarded");
    assert_ne!(new.request(0, "s"), Some(200));
    assert_ne!(restarted(&new).request(1, "s"), Some(200));
}

#[test]
fn a_new_vm_that_finds_a_jwks_uses_no_seed() {
    let mut world = seeded();
    world.wake();
    world.fetched(Ok(jwks(&["a"])));
    let mut new = restarted(&world);
    assert_eq!((statuses(&mut new, "a"), new.request(0, "s")), ([Some(200); 2], None));
    // A request comes before the first look at the record: its provider's record is read for the request.
    let mut new = seeded();
    (new.record, new.now) = (world.record.clone(), world.now);
    assert_eq!(new.request(0, "s"), None);
}

#[test]
fn a_seed_has_no_grace() {
    let mut world =
        seeded_with("s", json!({"second_look": "0s", "unknown_kid_max_wait": "5s", "retired_key_grace": "3600s"}));
    assert_eq!(statuses(&mut world, "s"), [Some(200); 2]);
    world.wake();
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(statuses(&mut world, "s"), [None; 2]);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(world.statuses(), [401; 2]);
}

#[test]
fn revoked_keys_of_any_configuration_rule_the_seed() {
    let mut world = seeded_with("s", json!({"revoked_keys": ["s"]}));
    assert_eq!(statuses(&mut world, "s"), [Some(401); 2]);
    let revoke = |world: &mut World, names: &[&str]| {
        let names = || names.iter().map(|name| (*name).to_owned()).collect();
        world.engines.iter_mut().for_each(|engine| engine.on_revoked_elsewhere(ISSUER, names()));
    };
    let mut world = seeded();
    for _ in 0..2 {
        assert_eq!(statuses(&mut world, "s"), [Some(200); 2]);
        let thumbprint = crate::keys::document::entries(&jwks(&["s"])).remove(0).0.thumbprint().to_owned();
        for name in ["s", &thumbprint] {
            revoke(&mut world, &[name]);
            assert!(statuses(&mut world, "s").iter().all(|status| *status != Some(200)), "{name}");
        }
        revoke(&mut world, &[]);
    }
    // What is revoked stays revoked when the JWKS publishes the key.
    revoke(&mut world, &["s"]);
    world.wake();
    world.fetched(Ok(jwks(&["s"])));
    world.statuses();
    assert_eq!(statuses(&mut world, "s"), [Some(401); 2]);
}

#[test]
fn the_gauge_tells_when_the_seed_ends_until_there_is_a_jwks() {
    let gauge = |world: &mut World| {
        world.engines[0].measure_all();
        let gauges = world.engines[0].take_gauges();
        let mut named = gauges.into_iter().map(|(series, value)| (series.name("", "p"), value));
        named.find(|(name, _)| name.ends_with(".seed_ends_timestamp_seconds")).unwrap().1
    };
    let mut world = seeded();
    assert_eq!(gauge(&mut world), 1_700_000_100);
    world.wake();
    fail_for(&mut world, 200 * SECOND);
    assert_eq!(gauge(&mut world), 1_700_000_100, "time changes no gauge");
    world.fetches.clear();
    world.pass_until_fetch();
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!(gauge(&mut world), 0);
}

#[test]
fn the_log_tells_when_the_seed_begins_and_ends() {
    let told = |world: &mut World| {
        world.engines[0].log_key_changes(|_| true);
        let of_seed = take_log().into_iter().filter(|line| line.contains("seed_jwks verifies"));
        of_seed.map(|line| line.split_once(": ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    begin_log();
    const BEGIN: &str = "no JWKS yet; seed_jwks verifies tokens until 2023-11-14T22:15:00Z at most, keys: 1";
    const REPLACED: &str = "seed_jwks verifies nothing any more: the key set has a JWKS";
    const EXPIRED: &str =
        "seed_jwks verifies nothing any more: not_after was 2023-11-14T22:15:00Z, and there is no JWKS yet";
    // The issuer answers at once, or later.
    let mut world = seeded();
    world.wake();
    world.fetched(Ok(jwks(&["a"])));
    assert!(told(&mut world).is_empty());
    let mut world = seeded();
    world.wake();
    assert_eq!(told(&mut world), [BEGIN]);
    world.fetched(Ok(jwks(&["a"])));
    assert_eq!((told(&mut world), told(&mut world)), (vec![REPLACED.to_owned()], vec![]));
    // Time ends the seed.
    let mut world = seeded();
    world.wake();
    assert_eq!(told(&mut world), [BEGIN]);
    fail_for(&mut world, 101 * SECOND);
    assert_eq!(told(&mut world), [EXPIRED]);
    world.pass_until_fetch();
    world.fetched(Ok(jwks(&["a"])));
    assert!(told(&mut world).is_empty());
    // It was over at the start.
    let mut world = seeded();
    world.now = world.now.plus(200 * SECOND);
    world.wake();
    assert_eq!((told(&mut world), world.request(0, "s")), (vec![EXPIRED.to_owned()], None));
}
