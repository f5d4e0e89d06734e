//! Two workers, one issuer, time by hand.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use serde_json::json;

use super::*;
use crate::{
    config,
    keys::{document::DocumentError, Algorithm, Key},
    token::signature::BadSignature,
};

/// A signature is the `kid` of the key that made it.
#[derive(Debug, Default)]
struct ByKid {
    checks: std::cell::Cell<u32>,
}

impl SignatureCheck for ByKid {
    fn check(&self, key: &Key, _: Algorithm, _: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.checks.set(self.checks.get() + 1);
        (key.kid().unwrap().as_bytes() == signature).then_some(()).ok_or(BadSignature)
    }
}

const ISSUER: ProviderId = ProviderId::new(0);

struct World {
    engines: [Engine<ByKid>; 2],
    /// The shared record, as bytes.
    record: Vec<u8>,
    now: UnixTime,
    /// Fetches started and not ended: worker and number.
    fetches: Vec<(usize, u64)>,
    /// Status of each stream that was answered; 200 for those let through.
    answers: Vec<(u32, u16)>,
    streams: u32,
}

fn world() -> World {
    world_with(5)
}

/// With so many seconds of `unknown_kid_max_wait`; the interval is ten.
fn world_with(max_wait: u32) -> World {
    let config = json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"},
            "cache_duration": "100s",
            "rotation": {"unknown_kid_min_interval": "10s", "unknown_kid_max_wait": format!("{max_wait}s")},
        }}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    });
    let engine = || Engine::new(config::parse(config.to_string().as_bytes()).unwrap(), ByKid::default());
    World {
        engines: [engine(), engine()],
        record: Vec::new(),
        now: UnixTime::from_millis(1_700_000_000_000),
        fetches: Vec::new(),
        answers: Vec::new(),
        streams: 0,
    }
}

fn jwks(kids: &[&str]) -> Vec<u8> {
    let modulus = BASE64.encode([0xff; 256]);
    let keys: Vec<_> = kids.iter().map(|kid| json!({"kty": "RSA", "kid": kid, "e": "AQAB", "n": modulus})).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn token(kid: &str) -> String {
    let part = |json: serde_json::Value| BASE64.encode(json.to_string());
    format!("{}.{}.{}", part(json!({"alg": "RS256", "kid": kid})), part(json!({"iss": "i"})), BASE64.encode(kid))
}

impl World {
    /// A request at a worker: the status it is answered with at once, or `None` while it is parked.
    fn request(&mut self, worker: usize, kid: &str) -> Option<u16> {
        self.request_with(worker, &token(kid))
    }

    fn request_with(&mut self, worker: usize, token: &str) -> Option<u16> {
        self.streams += 1;
        let stream = StreamId(self.streams);
        let list =
            [(":path".to_owned(), b"/".to_vec()), ("authorization".to_owned(), format!("Bearer {token}").into_bytes())];
        let headers = Headers::new(&list);
        let resolved = self.engines[worker].resolve(headers);
        for provider in resolved.providers() {
            self.engines[worker].on_record(provider, &self.record);
        }
        match self.engines[worker].on_request(stream, resolved, headers, self.now) {
            Decision::Continue(..) | Decision::ContinueAndEvaluate(..) => Some(200),
            Decision::Reply(reply) => Some(reply.status),
            Decision::Park => {
                self.wake();
                None
            }
        }
    }

    /// Both workers look at the record and do what is due.
    fn wake(&mut self) {
        for worker in [0, 1] {
            self.engines[worker].on_record(ISSUER, &self.record);
            let actions = self.engines[worker].on_wake(self.now);
            self.perform(worker, actions);
        }
    }

    fn perform(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Update(provider, update) => {
                    let mut applied = update.apply(Some(&self.record), self.now);
                    self.record = applied.bytes.take().unwrap_or(std::mem::take(&mut self.record));
                    let actions = self.engines[worker].on_updated(provider, update, applied, self.now);
                    self.perform(worker, actions);
                }
                Action::Fetch(_, fetch, _) => self.fetches.push((worker, fetch)),
                Action::Reply(stream, reply) => self.answers.push((stream.0, reply.status)),
                Action::Resume(stream, ..) => self.answers.push((stream.0, 200)),
                Action::WakeWorkers => self.wake(),
            }
        }
    }

    /// The fetch that is under way ends; there must be exactly one.
    fn fetched(&mut self, outcome: Result<Vec<u8>, FetchError>) {
        let [(worker, fetch)] = self.fetches[..] else { panic!("{} fetches", self.fetches.len()) };
        self.fetches.clear();
        let response = outcome.map(|body| Response { status: 200, headers: Vec::new(), body });
        let actions = self.engines[worker].on_fetched(ISSUER, fetch, response, u32::MAX, self.now);
        self.perform(worker, actions);
    }

    /// Time passes; the workers wake when they asked for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(next) = self.engines.iter().filter_map(|g| g.next_timeout(self.now)).min().filter(|t| *t <= end)
        {
            self.now = self.now.plus(Duration::from_millis(1)).max(next);
            self.wake();
        }
        self.now = end;
    }

    /// Time passes while requests wait: the workers wake once a second at least.
    fn pass_waking(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.pass(end.since(self.now).min(SECOND));
            self.wake();
        }
    }

    fn started(mut self, kids: &[&str]) -> Self {
        self.wake();
        self.fetched(Ok(jwks(kids)));
        self
    }

    fn statuses(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.answers).into_iter().map(|(_, status)| status).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

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
        world.fetched(Err(failure));
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
    world.pass(SECOND);
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
    let mut world = world().started(&["a"]);
    world.engines[0].on_record(ISSUER, b"\xff\xffnonsense");
    assert_eq!(world.engines[0].version(ISSUER), 0);
    assert!(world.engines[0].next_timeout(world.now).is_some());
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

impl World {
    fn pass_until_fetch(&mut self) {
        while self.fetches.is_empty() {
            self.pass(Duration::from_secs(1));
        }
    }
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
