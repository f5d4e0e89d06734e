//! What a waiting request takes of the room, and what a waiting request costs its worker.

use serde_json::json;

use super::{world::*, *};

/// One of so many providers is required, each at any issuer, and there is room for so many requests.
fn any_of(providers: usize, room: usize) -> World {
    let provider = |id| {
        let remote = json!({"http_uri": {"uri": format!("http://i/{id}"), "cluster": "c", "timeout": "2s"}});
        (format!("p{id}"), json!({ "remote_jwks": remote }))
    };
    let names: Vec<_> = (0..providers).map(|id| json!({"provider_name": format!("p{id}")})).collect();
    world_of(&json!({
        "providers": (0..providers).map(provider).collect::<serde_json::Map<_, _>>(),
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": names}}}],
        "max_parked_requests": room,
    }))
}

/// How many bytes a request of this token takes while it waits, and whether its parsed token is kept.
fn parked(world: &mut World, token: &str) -> (usize, bool) {
    let bearer = format!("Bearer {token}");
    let list = [(":path", &b"/"[..]), ("authorization", bearer.as_bytes())];
    let (headers, stream) = (Headers::new(&list), StreamId(1));
    let engine = &mut world.engines[0];
    let resolved = engine.resolve(headers);
    let decision = engine.on_request(stream, resolved, headers, ClientId::default, world.now);
    assert!(matches!(decision, Decision::Park));
    let request = engine.waiting.request(stream).unwrap();
    (request.bytes(), request.resolved.tokens[0].is_parsed())
}

#[test]
fn each_provider_that_a_request_waits_for_counts() {
    let [one, many] = [2, 40].map(|providers| parked(&mut any_of(providers, 10), &token("a")).0);
    let node = size_of::<crate::policy::requirement::resolved::Node>();
    assert!(many >= one + 38 * (node + 100), "{one}, {many}");
}

#[test]
fn a_parsed_token_is_kept_if_it_fits_in_the_place_of_its_request() {
    let long = token(&"a".repeat(2_000));
    for (token, room, is_kept) in [(&token("a"), 20_000, true), (&long, 20_000, false), (&long, 1_000, true)] {
        assert_eq!(parked(&mut any_of(2, room), token).1, is_kept, "{} bytes, room for {room}", token.len());
    }
}

#[test]
fn one_wake_up_is_enough_for_the_requests_of_a_turn() {
    let mut engine = any_of(2, 10).engines.into_iter().next().unwrap();
    let wanted = |engine: &mut Engine<_>| [(); 3].map(|()| engine.wants_wake());
    assert_eq!(wanted(&mut engine), [true, false, false]);
    engine.on_wake(UnixTime::default());
    assert_eq!(wanted(&mut engine), [true, false, false]);
}
