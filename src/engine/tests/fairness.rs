//! What a client that floods the filter costs the other clients.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{world::*, *};
use crate::engine::{
    parked::{Full, Parked},
    room::Group,
};

const FLOOD: ClientId = ClientId(1);
const OTHER: ClientId = ClientId(2);

/// A provider per number, each under a path of its own, with room for so many requests.
fn providers(number: usize, room: usize) -> serde_json::Value {
    let provider = |id| {
        let remote = json!({"http_uri": {"uri": format!("http://i/{id}"), "cluster": "c", "timeout": "2s"},
            "rotation": {"unknown_kid_max_wait": "1s"}});
        (format!("p{id}"), json!({ "remote_jwks": remote }))
    };
    let rule = |id| json!({"match": {"prefix": format!("/{id}/")}, "requires": {"provider_name": format!("p{id}")}});
    json!({
        "providers": (0..number).map(provider).collect::<serde_json::Map<_, _>>(),
        "rules": (0..number).map(rule).collect::<Vec<_>>(),
        "max_parked_requests": room,
    })
}

/// A token that names no key and that none signed, so that each key is tried.
fn nobodys() -> String {
    let named = token("x");
    let (_, rest) = named.split_once('.').unwrap();
    format!("{}.{rest}", BASE64.encode(r#"{"alg":"RS256"}"#))
}

/// A request of this client to the first worker, which is not woken. Returns whether the request waits.
fn waits(world: &mut World, client: ClientId, stream: u32, path: &str) -> bool {
    let bearer = format!("Bearer {}", token("b"));
    let list = [(":path", path.as_bytes()), ("authorization", bearer.as_bytes())];
    let headers = Headers::new(&list);
    let resolved = world.engines[0].resolve(headers);
    let decision = world.engines[0].on_request(StreamId(stream), resolved, headers, || client, world.now);
    matches!(decision, Decision::Park)
}

fn replies(actions: Vec<Action>) -> Vec<u32> {
    let reply = |action| if let Action::Reply(stream, _) = action { Some(stream.0) } else { None };
    actions.into_iter().filter_map(reply).collect()
}

#[test]
fn a_flood_over_many_providers_leaves_room_for_another_client() {
    let mut world = world_of(&providers(30, 30));
    for id in 0..30 {
        assert!(waits(&mut world, FLOOD, id, &format!("/{id}/")));
    }
    for (stream, id) in [(100, 7), (101, 7), (102, 7), (103, 9)] {
        assert!(waits(&mut world, OTHER, stream, &format!("/{id}/")), "{stream}");
        for flood in 0..30 {
            waits(&mut world, FLOOD, 1000 + stream * 100 + flood, &format!("/{flood}/"));
        }
    }
    let denied = replies(world.engines[0].on_wake(world.now));
    let is_of_flood = |stream: &u32| !(100..=103).contains(stream);
    assert!(denied.len() >= 4 && denied.iter().all(is_of_flood), "{denied:?}");
    assert_eq!(world.engines[0].waiting(), 30);
}

#[test]
fn the_replies_to_requests_that_gave_way_are_bounded_per_turn() {
    let mut world = world_of(&providers(1, 200));
    let parks = |world: &mut World, streams: std::ops::Range<u32>, client: fn(u32) -> ClientId| {
        streams.filter(|stream| waits(world, client(*stream), *stream, "/0/")).count()
    };
    assert_eq!(parks(&mut world, 0..200, |_| FLOOD), 200);
    assert_eq!(parks(&mut world, 1000..1150, |stream| ClientId(stream.into())), 150);
    // The newest give way, and the oldest of them are answered first. Some of their clients leave before.
    let [engine, _] = &mut world.engines;
    (55..60).for_each(|stream| engine.on_stream_end(StreamId(stream)));
    let turn = |engine: &mut Engine<ByKid>| replies(engine.on_wake(world.now));
    assert_eq!(turn(engine), (50..55).chain(60..119).collect::<Vec<_>>());
    engine.on_stream_end(StreamId(119));
    assert_eq!(turn(engine), (120..184).collect::<Vec<_>>());
    assert_eq!(turn(engine), (184..200).collect::<Vec<_>>());
    assert_eq!((turn(engine), engine.waiting()), (Vec::new(), 200));
}

#[test]
fn a_flood_of_large_requests_leaves_room_for_another_client() {
    let mut world = world().started(&["a"]);
    let large = || [b"/".to_vec(), vec![b'x'; 50 << 20]].concat();
    world.client = FLOOD;
    let statuses = [(); 6].map(|()| world.request_to(0, large(), &token("b")));
    assert_eq!(statuses, [None, None, None, None, None, Some(503)]);
    world.client = OTHER;
    assert_eq!(world.request_to(0, large(), &token("b")), None);
    world.wake();
    assert_eq!((world.statuses(), world.engines[0].waiting()), (vec![503], 5));
}

#[test]
fn a_flood_of_costly_tokens_delays_another_client_by_one_of_them_per_turn() {
    // Each token costs as many signature checks as one turn may.
    let names: Vec<String> = (0..63).map(|number| format!("k{number}")).collect();
    let keys = |last| names.iter().map(String::as_str).chain([last]).collect::<Vec<_>>();
    let mut world = world().started(&keys("a"));
    world.pass(40 * SECOND);
    world.client = FLOOD;
    for _ in 0..100 {
        assert_eq!(world.request_with(0, &nobodys()), None);
    }
    world.client = OTHER;
    assert_eq!(world.request(0, "b"), None);
    let good = world.streams;
    world.fetched(Ok(jwks(&keys("b"))));
    let mut turns = 0;
    while !world.answers.contains(&(good, 200)) {
        world.wake();
        turns += 1;
        assert!(turns <= 2, "{:?}", world.answers);
    }
    assert!(world.answers.len() <= 6, "{:?}", world.answers);
    for _ in 0..100 {
        world.wake();
    }
    assert_eq!((world.answers.len(), world.engines[0].waiting()), (101, 0));
}

#[test]
fn waits_that_end_together_are_looked_into_in_bounded_turns() {
    const NUMBER: u32 = 300;
    let mut world = world_of(&providers(NUMBER as usize, 1000));
    for id in 0..NUMBER {
        assert!(waits(&mut world, OTHER, id, &format!("/{id}/")));
    }
    world.now = world.now.plus(4 * SECOND);
    let (mut answered, mut turns) = (BTreeSet::new(), 0);
    while world.engines[0].waiting() > 0 {
        let due = world.engines[0].due(world.now);
        assert!(due.len() <= 96, "{}", due.len());
        assert_eq!(due.iter().collect::<BTreeSet<_>>().len(), due.len());
        assert!(world.engines[0].next_timeout(world.now).is_some_and(|at| at <= world.now.plus(SECOND / 100)));
        for stream in replies(world.engines[0].on_wake(world.now)) {
            assert!(answered.insert(stream), "answered twice");
        }
        turns += 1;
        assert!(turns <= 10, "{} wait", world.engines[0].waiting());
    }
    assert_eq!(answered.len(), NUMBER as usize);
}

/// Random requests of all sizes, compared with what the rules promise.
#[test]
fn whoever_gets_no_room_takes_no_less_than_others_and_each_request_ends_once() {
    const ROOM: u64 = 256 << 20;
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let capacity = [1, 10, 60][rng.usize(0..3)];
        let place = ROOM / capacity;
        let mut parked = Parked::new(usize::try_from(capacity).unwrap());
        // What waits, by stream.
        let mut waiting: BTreeMap<StreamId, (Group, u64)> = BTreeMap::new();
        for stream in (1..600).map(StreamId) {
            let group = Group {
                provider: ProviderId::new(rng.usize(0..4).min(rng.usize(0..4))),
                client: ClientId(rng.u64(0..8).min(rng.u64(0..8))),
            };
            let bytes = if rng.bool() { 100 } else { rng.u64(0..ROOM / 5) };
            let size = place.max(bytes);
            let sum = |waiting: &BTreeMap<StreamId, (Group, u64)>, is_of: &dyn Fn(Group) -> bool| -> u64 {
                waiting.values().filter(|(group, _)| is_of(*group)).map(|(_, size)| size).sum()
            };
            let before = waiting.clone();
            match parked.park(stream, group, usize::try_from(bytes).unwrap(), UnixTime::default(), stream) {
                Ok(evicted) => {
                    assert!(evicted.is_empty() || sum(&before, &|_| true) + size > place * capacity, "seed {seed}");
                    for (evicted, request) in evicted {
                        assert!(evicted == request && waiting.remove(&evicted).is_some(), "seed {seed}");
                    }
                    waiting.insert(stream, (group, size));
                }
                Err(Full(_)) => {
                    let provider = sum(&before, &|other| other.provider == group.provider) + size;
                    let client = sum(&before, &|other| other.client == group.client) + size;
                    let share = sum(&before, &|other| other == group) + size;
                    for (other, _) in before.values() {
                        let of_client = sum(&before, &|third| third.client == other.client);
                        let is_larger = sum(&before, &|third| third.provider == other.provider) > provider
                            || (other.provider == group.provider && sum(&before, &|third| third == *other) > share)
                            || of_client > client.max(provider.min(ROOM / 8 + size));
                        assert!(!is_larger, "seed {seed}: {group:?} of {size} in {before:?}");
                    }
                }
            }
            if rng.u8(0..6) == 0 {
                let all: Vec<_> = waiting.keys().copied().collect();
                if let Some(leaver) = rng.choice(all) {
                    let request = if rng.bool() { parked.answer(leaver, true) } else { parked.remove(leaver) };
                    assert!(request == Some(leaver) && waiting.remove(&leaver).is_some());
                }
            }
            assert_eq!(parked.waiting(), waiting.len());
            assert!(sum(&waiting, &|_| true) <= place * capacity && waiting.len() as u64 <= capacity);
        }
        for (stream, _) in waiting {
            assert_eq!(parked.answer(stream, false), Some(stream));
        }
        assert!(parked.waiting() == 0 && parked.counts().is_empty());
    }
}

/// A busy provider has many clients; one client floods another provider, before they come or after.
#[test]
fn a_client_that_floods_another_provider_takes_an_eighth_of_a_busy_providers_room() {
    for is_first in [true, false] {
        let mut parked = Parked::new(80);
        let mut held = [0_usize; 2];
        let mut stream = 0;
        let mut park = |provider: usize, client| {
            stream += 1;
            let (group, now) = (Group { provider: ProviderId::new(provider), client }, UnixTime::from_millis(1));
            if let Ok(evicted) = parked.park(StreamId(stream), group, 0, now, provider) {
                held[provider] += 1;
                evicted.into_iter().for_each(|(_, provider)| held[provider] -= 1);
            }
            held
        };
        if is_first {
            assert_eq!((0..100).map(|_| park(1, FLOOD)).last(), Some([0, 80]));
        }
        for client in 100..300 {
            park(0, ClientId(client));
            park(1, FLOOD);
        }
        let held = park(0, ClientId(300));
        assert!(held[0] >= 69 && held[1] >= 10, "{held:?}, the flood comes first: {is_first}");
    }
}

/// The reverse: a provider whose issuer hangs has very many clients. An address that many users share keeps its eighth.
#[test]
fn many_clients_of_a_provider_leave_an_eighth_to_one_client_of_another() {
    let mut parked = Parked::new(80);
    let mut park = |stream: u32, provider, client| {
        let (group, now) = (Group { provider: ProviderId::new(provider), client }, UnixTime::from_millis(1));
        parked.park(StreamId(stream), group, 0, now, provider)
    };
    for client in 0..200 {
        let _ = park(client, 0, ClientId(100 + u64::from(client)));
    }
    for id in 200..210 {
        assert!(park(id, 1, OTHER).is_ok_and(|evicted| evicted.len() == 1 && evicted[0].1 == 0));
    }
    for client in 1000..1200 {
        assert!(park(client, 0, ClientId(u64::from(client))).is_err());
    }
}
