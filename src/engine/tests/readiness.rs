//! `ready_path`: what is answered, when that changes, and what is never told.

use super::{world::*, *};
use crate::metrics::Metric;

fn config() -> serde_json::Value {
    let of = |name: &str, uri: &str| {
        let remote =
            json!({"http_uri": {"uri": uri, "cluster": "c", "timeout": "2s"}, "rotation": {"max_stale": "0s"}});
        json!({"issuer": name, "remote_jwks": remote})
    };
    json!({
        "providers": {"p": of("i", "http://i/jwks?secret=s3cret"), "q": of("j", "http://j/jwks"), "unnamed": of("k", "http://k/jwks")},
        "rules": [
            {"match": {"prefix": "/q"}, "requires": {"requires_any": {"requirements": [{"provider_name": "q"}, {"allow_missing_or_failed": {}}]}}},
            {"match": {"prefix": "/"}, "requires": {"provider_name": "p"}},
        ],
        "ready_path": "/ready",
    })
}

fn world_with_path() -> World {
    world_of(&config())
}

/// The decision about a request without a token.
fn ask_with(world: &mut World, worker: usize, list: &[(&str, &[u8])]) -> Decision {
    let headers = Headers::new(list);
    let resolved = world.engines[worker].resolve(headers);
    for provider in resolved.providers() {
        // One record, of the first provider.
        let record = if provider == ISSUER { world.record.clone() } else { Vec::new() };
        world.engines[worker].on_record(provider, &record, world.now);
    }
    world.streams += 1;
    world.engines[worker].on_request(StreamId(world.streams), resolved, headers, ClientId::default, world.now)
}

fn ask(world: &mut World, worker: usize, path: &str) -> Reply {
    match ask_with(world, worker, &[(":method", b"GET"), (":path", path.as_bytes())]) {
        Decision::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// The record of another provider than the first: a JWKS that was fetched now.
fn give_keys(world: &mut World, provider: usize) {
    let mut other = super::world::world();
    other.now = world.now;
    let record = other.started(&["x"]).record;
    world.engines.iter_mut().for_each(|engine| engine.on_record(ProviderId::new(provider), &record, world.now));
}

#[test]
fn ready_is_what_had_keys_once_and_stays_ready() {
    let mut world = world_with_path();
    let statuses = |world: &mut World| [0, 1].map(|worker| ask(world, worker, "/ready").status);
    assert_eq!(statuses(&mut world), [503; 2]);
    world.wake();
    world.fetches.retain(|(worker, _)| *worker == 0);
    let fetch = world.fetches[0].1;
    world.fetches.clear();
    let body = jwks(&["a"]);
    let actions =
        world.engines[0].on_fetched(ISSUER, fetch, Ok(Response { status: 200, headers: vec![], body }), 0, world.now);
    for action in actions {
        let Action::Update(provider, update) = action else { panic!() };
        let mut applied = update.apply(Some(&world.record), world.now);
        world.record = applied.bytes.take().unwrap();
        world.engines[0].on_updated(provider, update, applied, world.now);
    }
    assert_eq!(statuses(&mut world), [503; 2], "a second provider is named");
    give_keys(&mut world, 1);
    // The second worker reads the first provider's record for this request.
    assert_eq!(statuses(&mut world), [200; 2]);
    // Keys that expire, fetches that fail and records that are lost change nothing.
    world.now = world.now.plus(100_000 * SECOND);
    world.record.clear();
    assert_eq!(world.request(0, "a"), None);
    assert_eq!(statuses(&mut world), [200; 2]);
    assert!(ask(&mut world, 0, "/ready?verbose").body.contains("\"p\": expired, age 100000 s"));
    // A new VM takes the answer from the records, also from one whose JWKS was discarded.
    let mut new = world_with_path();
    let record = Record { has_had_jwks: true, version: 1, ..Record::default() };
    (new.now, new.record) = (world.now, record.encode());
    give_keys(&mut new, 1);
    assert_eq!(statuses(&mut new), [200; 2]);
}

#[test]
fn only_get_and_head_of_exactly_this_path_ask() {
    let mut world = world_with_path();
    give_keys(&mut world, 0);
    give_keys(&mut world, 1);
    for (method, path, status) in [
        ("GET", "/ready", 200),
        ("HEAD", "/ready", 200),
        ("GET", "/ready?x=/admin", 200),
        // All others fall under the rules, which require a token.
        ("POST", "/ready", 401),
        ("get", "/ready", 401),
        ("OPTIONS", "/ready", 401),
        ("GET", "/ready/", 401),
        ("GET", "/ready/../admin", 401),
        ("GET", "/Ready", 401),
        ("GET", "/%72eady", 401),
        ("GET", "//ready", 401),
        ("GET", "/ready;x", 401),
    ] {
        let list = [(":method", method.as_bytes()), (":path", path.as_bytes())];
        match ask_with(&mut world, 0, &list) {
            Decision::Reply(reply) => assert_eq!(reply.status, status, "{method} {path}"),
            other => panic!("{method} {path}: {other:?}"),
        }
    }
    // No method at all.
    assert!(matches!(ask_with(&mut world, 0, &[(":path", b"/ready")]), Decision::Reply(reply) if reply.status == 401));
    // Without the field, the path is like any other.
    let mut config = config();
    config.as_object_mut().unwrap().remove("ready_path");
    let mut world = world_of(&config);
    assert_eq!(ask(&mut world, 0, "/ready").status, 401);
}

#[test]
fn the_answer_is_no_denial_and_is_given_in_report_mode_too() {
    let mut config = config();
    config["mode"] = json!("report");
    config["bypass_cors_preflight"] = json!(true);
    let mut world = world_of(&config);
    assert_eq!(ask(&mut world, 0, "/ready").status, 503);
    let counts = world.engines[0].take_counts(0);
    assert!(counts.iter().all(|(metric, _)| metric == Metric::PreflightBypassed), "{:?}", counts.iter().next());
    assert_eq!(counts.counters().count(), 0);
    assert_eq!(world.engines[0].waiting(), 0);
}

/// A client's header and query, an issuer's words and URI, and `kid`s stay out of the answer.
#[test]
fn a_list_tells_names_states_and_causes_only() {
    let mut world = world_with_path();
    world.record.clear();
    world.wake();
    let (worker, fetch) = world.fetches[0];
    let error = FetchError::of(&Response {
        status: 503,
        headers: vec![("content-type".into(), b"text/plain".to_vec())],
        body: b"connection timeout <script>s3cret".to_vec(),
    });
    let actions = world.engines[worker].on_fetched(ISSUER, fetch, Err(error), 0, world.now);
    for action in actions {
        let Action::Update(provider, update) = action else { panic!() };
        let mut applied = update.apply(Some(&world.record), world.now);
        world.record = applied.bytes.take().unwrap();
        world.engines[worker].on_updated(provider, update, applied, world.now);
    }
    give_keys(&mut world, 1);
    world.now = world.now.plus(7 * SECOND);
    let list = [
        (":method", &b"GET"[..]),
        (":path", b"/ready?verbose&s3cret"),
        ("authorization", b"Bearer s3cret"),
        ("host", b"s3cret"),
    ];
    let Decision::Reply(reply) = ask_with(&mut world, worker, &list) else { panic!() };
    assert_eq!(
        reply.body,
        "no keys yet\n\"p\": no keys, failed fetches in a row: 1, last error: timeout\n\"q\": fresh, age 7 s\n"
    );
    assert_eq!(reply.headers, [("cache-control", "no-store".to_owned()), ("retry-after", "1".to_owned())]);
    assert!(reply.state.is_empty());
    assert_eq!(ask(&mut world, worker, "/ready?verbos").body, "no keys yet\n");
}

#[test]
fn an_answer_is_bounded_however_many_providers_there_are_and_however_long_their_names() {
    let mut providers = serde_json::Map::new();
    let mut named = Vec::new();
    for number in 0..1_000 {
        let name = format!("{number:04}{}", "\n".repeat(1_000));
        let remote = json!({"http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"}});
        providers.insert(name.clone(), json!({"issuer": name, "remote_jwks": remote}));
        named.push(json!({"provider_name": name}));
    }
    let mut world = world_of(&json!({
        "providers": providers,
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": named}}}],
        "ready_path": "/ready",
    }));
    // The last provider alone has keys.
    give_keys(&mut world, 999);
    let list = [(":method", &b"GET"[..]), (":path", b"/ready?verbose=1")];
    let headers = Headers::new(&list);
    let resolved = world.engines[0].resolve(headers);
    assert!(resolved.providers().len() <= 8, "a flood reads few records");
    let decision = world.engines[0].on_request(StreamId(1), resolved, headers, ClientId::default, world.now);
    let Decision::Reply(reply) = decision else { panic!() };
    assert!(reply.status == 503 && reply.body.len() < 20_000, "{}", reply.body.len());
    assert_eq!((reply.body.lines().count(), reply.body.lines().last()), (102, Some("and 900 more")));
    assert!(!reply.body.contains("fresh"), "those without keys come first");
}

#[test]
fn a_seed_counts_while_it_verifies() {
    let seed = json!({"inline_string": String::from_utf8(jwks(&["s"])).unwrap(), "not_after": "2023-11-14T22:15:00Z"});
    let mut config = config();
    config["providers"]["p"]["remote_jwks"]["seed_jwks"] = seed;
    let mut world = world_of(&config);
    give_keys(&mut world, 1);
    assert_eq!(ask(&mut world, 0, "/ready?verbose").body, "ready\n\"p\": seed\n\"q\": fresh, age 0 s\n");
    // It stays ready; a worker that was not asked before is not.
    world.now = world.now.plus(100 * SECOND);
    assert_eq!([0, 1].map(|worker| ask(&mut world, worker, "/ready").status), [200, 503]);
    assert!(ask(&mut world, 0, "/ready?verbose").body.contains("\"p\": no keys"));
}

#[test]
fn a_seed_whose_keys_are_revoked_does_not_count() {
    let seed = json!({"inline_string": String::from_utf8(jwks(&["s"])).unwrap(), "not_after": "2030-01-01T00:00:00Z"});
    let mut config = config();
    config["providers"]["p"]["remote_jwks"]["seed_jwks"] = seed;
    config["providers"]["p"]["remote_jwks"]["rotation"] = json!({"revoked_keys": ["s"]});
    let mut world = world_of(&config);
    give_keys(&mut world, 1);
    let reply = ask(&mut world, 0, "/ready?verbose");
    assert_eq!((reply.status, reply.body.contains("\"p\": no keys")), (503, true), "{}", reply.body);
}

#[test]
fn without_fetched_keys_the_filter_is_ready_at_once_and_allow_missing_needs_all_keys() {
    let mut config = config();
    config["rules"] = json!([{"match": {"prefix": "/"}, "requires": {"allow_missing_or_failed": {}}}]);
    assert_eq!(ask(&mut world_of(&config), 0, "/ready?verbose").body, "ready\n");
    config["rules"] = json!([{"match": {"prefix": "/"}, "requires": {"requires_all": {"requirements": [{"allow_missing": {}}, {"provider_name": "p"}]}}}]);
    let listed = ask(&mut world_of(&config), 0, "/ready?verbose").body;
    assert_eq!((listed.lines().count(), listed.contains("unnamed")), (4, true));
    // Requirements by name count, whether a rule names them or not.
    config["rules"] = json!([]);
    config["requirement_map"] = json!({"r": {"provider_and_audiences": {"provider_name": "q", "audiences": ["a"]}}});
    assert_eq!(ask(&mut world_of(&config), 0, "/ready?verbose").body, "no keys yet\n\"q\": no keys\n");
}
