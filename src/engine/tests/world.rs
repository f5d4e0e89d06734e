//! Two workers and one issuer under a clock that the test moves.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use serde_json::json;

use super::super::*;
use crate::{
    config,
    keys::{Algorithm, Key},
    token::signature::BadSignature,
};

/// A signature is the `kid` of the key that made it.
#[derive(Debug, Default)]
pub(super) struct ByKid {
    pub(super) checks: std::cell::Cell<u32>,
}

impl SignatureCheck for ByKid {
    fn check(&self, key: &Key, _: Algorithm, _: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.checks.set(self.checks.get() + 1);
        (key.kid().unwrap().as_bytes() == signature).then_some(()).ok_or(BadSignature)
    }
}

pub(super) const ISSUER: ProviderId = ProviderId::new(0);

pub(super) struct World {
    pub(super) engines: [Engine<ByKid>; 2],
    /// The shared record, as bytes.
    pub(super) record: Vec<u8>,
    pub(super) now: UnixTime,
    /// Fetches started and not ended: worker and number.
    pub(super) fetches: Vec<(usize, u64)>,
    /// The requests of all fetches.
    pub(super) requests: Vec<FetchRequest>,
    /// Status of each stream that was answered; 200 for those let through.
    pub(super) answers: Vec<(u32, u16)>,
    pub(super) streams: u32,
    /// Whose requests come.
    pub(super) client: ClientId,
    /// Another plugin writes this into the record before each use.
    pub(super) garbage: Option<&'static [u8]>,
}

pub(super) fn world() -> World {
    world_with(5)
}

/// With so many seconds of `unknown_kid_max_wait`; the interval is ten. There is no second look.
pub(super) fn world_with(max_wait: u32) -> World {
    world_with_terms(json!({"unknown_kid_max_wait": format!("{max_wait}s"), "second_look": "0s"}), json!(null))
}

/// With these fields of `rotation`, and this `retry_policy`.
pub(super) fn world_with_terms(rotation: serde_json::Value, retry_policy: serde_json::Value) -> World {
    let config = json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"},
            "cache_duration": "100s",
            "rotation": rotation,
            "retry_policy": retry_policy,
        }}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    });
    world_of(&config)
}

/// With this configuration.
pub(super) fn world_of(config: &serde_json::Value) -> World {
    let engine = || Engine::new(config::parse(config.to_string().as_bytes()).unwrap(), ByKid::default());
    World {
        engines: [engine(), engine()],
        record: Vec::new(),
        now: UnixTime::from_millis(1_700_000_000_000),
        fetches: Vec::new(),
        requests: Vec::new(),
        answers: Vec::new(),
        streams: 0,
        client: ClientId::default(),
        garbage: None,
    }
}

pub(super) fn jwks(kids: &[&str]) -> Vec<u8> {
    let modulus = BASE64.encode([0xff; 256]);
    let keys: Vec<_> = kids.iter().map(|kid| json!({"kty": "RSA", "kid": kid, "e": "AQAB", "n": modulus})).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(super) fn token(kid: &str) -> String {
    token_of(kid, json!({"iss": "i"}))
}

pub(super) fn token_of(kid: &str, claims: serde_json::Value) -> String {
    let part = |json: serde_json::Value| BASE64.encode(json.to_string());
    format!("{}.{}.{}", part(json!({"alg": "RS256", "kid": kid})), part(claims), BASE64.encode(kid))
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// A request at a worker: the status it is answered with at once, or `None` while it is parked.
    pub(super) fn request(&mut self, worker: usize, kid: &str) -> Option<u16> {
        self.request_with(worker, &token(kid))
    }

    pub(super) fn request_with(&mut self, worker: usize, token: &str) -> Option<u16> {
        self.request_to(worker, b"/".to_vec(), token)
    }

    pub(super) fn request_to(&mut self, worker: usize, path: Vec<u8>, token: &str) -> Option<u16> {
        self.request_of(worker, &[(":path", &path)], token)
    }

    /// A request with these headers.
    pub(super) fn request_of(&mut self, worker: usize, headers: &[(&str, &[u8])], token: &str) -> Option<u16> {
        self.streams += 1;
        let stream = StreamId(self.streams);
        let bearer = format!("Bearer {token}");
        let list = [headers, &[("authorization", bearer.as_bytes())]].concat();
        let headers = Headers::new(&list);
        let resolved = self.engines[worker].resolve(headers);
        for provider in resolved.providers() {
            self.sync(worker, provider);
        }
        let client = self.client;
        match self.engines[worker].on_request(stream, resolved, headers, || client, self.now) {
            Decision::Continue(..) | Decision::ContinueAndWake(..) => Some(200),
            Decision::Reply(reply) => Some(reply.status),
            Decision::Park => {
                self.wake();
                None
            }
        }
    }

    fn sync(&mut self, worker: usize, provider: ProviderId) {
        self.overwrite();
        self.engines[worker].on_record(provider, &self.record, self.now);
    }

    fn overwrite(&mut self) {
        if let Some(garbage) = self.garbage {
            self.record = garbage.to_vec();
        }
    }

    /// Both workers look at the record and do what is due.
    pub(super) fn wake(&mut self) {
        for worker in [0, 1] {
            self.engines[worker].on_news(ISSUER, self.now);
            for provider in self.engines[worker].due(self.now) {
                self.sync(worker, provider);
            }
            let actions = self.engines[worker].on_wake(self.now);
            self.perform(worker, actions);
        }
    }

    pub(super) fn perform(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Update(provider, update) => {
                    self.overwrite();
                    let mut applied = update.apply(Some(&self.record), self.now);
                    self.record = applied.bytes.take().unwrap_or(std::mem::take(&mut self.record));
                    let actions = self.engines[worker].on_updated(provider, update, applied, self.now);
                    self.perform(worker, actions);
                }
                Action::Fetch(_, fetch, request) => {
                    self.fetches.push((worker, fetch));
                    self.requests.push(request);
                }
                Action::Reply(stream, reply) => self.answers.push((stream.0, reply.status)),
                Action::Resume(stream, ..) => self.answers.push((stream.0, 200)),
                Action::WakeWorkers(_) => self.wake(),
            }
        }
    }

    /// The fetch that is under way ends; there must be exactly one.
    pub(super) fn fetched(&mut self, outcome: Result<Vec<u8>, FetchError>) {
        let [(worker, fetch)] = self.fetches[..] else { panic!("{} fetches", self.fetches.len()) };
        self.fetches.clear();
        let response = outcome.map(|body| Response { status: 200, headers: Vec::new(), body });
        let actions = self.engines[worker].on_fetched(ISSUER, fetch, response, u32::MAX, self.now);
        self.perform(worker, actions);
    }

    /// The worker whose fetch is under way ends with its configuration.
    pub(super) fn abandoned(&mut self) {
        let (worker, fetch) = self.fetches.pop().unwrap();
        let actions = self.engines[worker].on_abandoned(ISSUER, fetch, self.now);
        self.perform(worker, actions);
    }

    /// Time passes; the workers wake when they asked for it.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(next) = self.engines.iter().filter_map(|g| g.next_timeout(self.now)).min().filter(|t| *t <= end)
        {
            self.now = self.now.plus(Duration::from_millis(1)).max(next);
            self.wake();
        }
        self.now = end;
    }

    /// Time passes while requests wait: the workers wake once a second at least.
    pub(super) fn pass_waking(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.pass(end.since(self.now).min(SECOND));
            self.wake();
        }
    }

    pub(super) fn started(mut self, kids: &[&str]) -> Self {
        self.wake();
        self.fetched(Ok(jwks(kids)));
        self
    }

    pub(super) fn statuses(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.answers).into_iter().map(|(_, status)| status).collect()
    }
}

impl World {
    pub(super) fn pass_until_fetch(&mut self) {
        while self.fetches.is_empty() {
            self.pass(Duration::from_secs(1));
        }
    }
}

std::thread_local! {
    /// The lines that the running test logged.
    static LINES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Keeps the lines that are logged from now on, for [`take_log`].
pub(super) fn begin_log() {
    let _ = log::set_logger(&Lines);
    log::set_max_level(log::LevelFilter::Info);
    take_log();
}

pub(super) fn take_log() -> Vec<String> {
    LINES.take()
}
