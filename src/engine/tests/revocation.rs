//! What `revoked_keys` of newer configurations change, and that the end of such a configuration takes it back.

use serde_json::json;

use super::{world::*, *};

fn revoke(world: &mut World, names: &[&str]) {
    for engine in &mut world.engines {
        engine.on_revoked_elsewhere(ISSUER, names.iter().map(|name| (*name).to_owned()).collect());
    }
}

#[test]
fn a_key_that_a_newer_configuration_revoked_verifies_again_when_that_configuration_is_gone() {
    let mut world = world().started(&["a"]);
    let statuses = |world: &mut super::world::World| [0, 1].map(|worker| world.request(worker, "a"));
    assert_eq!(statuses(&mut world), [Some(200); 2]);
    for _ in 0..2 {
        for engine in &mut world.engines {
            engine.on_revoked_elsewhere(ISSUER, ["a".to_owned()].into());
        }
        assert_eq!(statuses(&mut world), [Some(401); 2]);
        world.engines.iter_mut().for_each(|engine| engine.on_revoked_elsewhere(ISSUER, Default::default()));
        assert_eq!(statuses(&mut world), [Some(200); 2]);
    }
    assert!(world.fetches.is_empty());
}

#[test]
fn keys_that_come_later_are_revoked_too() {
    let mut world = world();
    for engine in &mut world.engines {
        engine.on_revoked_elsewhere(ISSUER, ["a".to_owned()].into());
    }
    world = world.started(&["a"]);
    assert_eq!([0, 1].map(|worker| world.request(worker, "a")), [Some(401); 2]);
}

#[test]
fn a_token_whose_key_is_revoked_during_the_wait_is_denied() {
    // The key comes during the wait.
    let mut world = world().started(&["a"]);
    assert_eq!(world.request(0, "b"), None);
    revoke(&mut world, &["b"]);
    world.fetched(Ok(jwks(&["a", "b"])));
    assert_eq!(world.statuses(), [401]);
}

/// The first token was verified before the wait for the second.
#[test]
fn a_token_that_was_verified_before_the_wait_is_denied_if_its_key_is_revoked_meanwhile() {
    let of = |name: &str| {
        let remote = json!({"http_uri": {"uri": format!("http://i/{name}"), "cluster": "c", "timeout": "2s"}});
        json!({"from_headers": [{"name": name}], "remote_jwks": remote})
    };
    let requires = json!({"requires_all": {"requirements": [{"provider_name": "p"}, {"provider_name": "q"}]}});
    let config = json!({"providers": {"p": of("p"), "q": of("q")},
        "rules": [{"match": {"prefix": "/"}, "requires": requires}]});
    for (revoked, status) in [(&[][..], 200), (&["a"], 401)] {
        let mut world = world_of(&config);
        let now = world.now;
        let record = |kids: &[&str]| super::world::world().started(kids).record;
        let engine = &mut world.engines[0];
        engine.on_record(ISSUER, &record(&["a"]), now);
        let tokens = ["a", "b"].map(token);
        let list = [(":path", &b"/"[..]), ("p", tokens[0].as_bytes()), ("q", tokens[1].as_bytes())];
        let headers = Headers::new(&list);
        let resolved = engine.resolve(headers);
        let decision = engine.on_request(StreamId(1), resolved, headers, ClientId::default, now);
        assert!(matches!(decision, Decision::Park), "{decision:?}");
        engine.on_revoked_elsewhere(ISSUER, revoked.iter().map(|name| (*name).to_owned()).collect());
        engine.on_record(ProviderId::new(1), &record(&["b"]), now);
        let answers = engine.on_wake(now).into_iter().filter_map(|action| match action {
            Action::Reply(_, reply) => Some(reply.status),
            Action::Resume(..) => Some(200),
            _ => None,
        });
        assert_eq!(answers.collect::<Vec<_>>(), [status]);
    }
}

/// A token without `kid` fails like a token of an unknown key.
#[test]
fn a_request_that_waits_is_allowed_when_its_key_is_no_longer_revoked() {
    let mut world = world().started(&["a", "b"]);
    revoke(&mut world, &["a"]);
    let named = token("a");
    let (_, rest) = named.split_once('.').unwrap();
    let unnamed = format!("{}.{rest}", BASE64.encode(r#"{"alg":"RS256"}"#));
    assert_eq!(world.request_with(0, &unnamed), None);
    revoke(&mut world, &[]);
    world.wake();
    assert_eq!(world.statuses(), [200]);
}

#[test]
fn a_request_that_waits_is_denied_as_soon_as_its_key_is_revoked() {
    let mut world = world().started(&["a"]);
    assert_eq!(world.request(0, "b"), None);
    revoke(&mut world, &["b"]);
    world.wake();
    assert_eq!(world.statuses(), [401]);
}
