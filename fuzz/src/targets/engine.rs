//! Two workers, one shared record, and an adversary who writes to shared data, answers fetches and moves the clock. No token
//! has a good signature, so no request may pass.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use jwks_gate::{
    config,
    engine::{Action, ClientId, Decision, Engine, FetchError, Headers, Plan, ProviderId, Response, StreamId},
    keys::{Algorithm, Key},
    rotation::record::Record,
    time::UnixTime,
    token::signature::{BadSignature, SignatureCheck},
};

use super::{jwk, record};
use crate::mutation;

const CONFIGURATION: &str = r#"{
    "providers": {"p": {"issuer": "i", "remote_jwks": {
        "http_uri": {"uri": "https://i/jwks", "cluster": "c", "timeout": "2s"},
        "mirrors": [{"uri": "https://m/jwks", "cluster": "m", "timeout": "1s"}],
        "rotation": {"retired_key_grace": "60s", "revoked_keys": ["2"], "empty_set": "revoke"}}}},
    "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    "max_parked_requests": 8
}"#;
const PROVIDER: ProviderId = ProviderId::new(0);
const STEPS: usize = 40;

/// Verifies nothing.
#[derive(Debug)]
struct Never;

impl SignatureCheck for Never {
    fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> std::result::Result<(), BadSignature> {
        Err(BadSignature)
    }
}

struct World {
    workers: [Engine<Never>; 2],
    shared: Vec<u8>,
    now: UnixTime,
    fetches: Vec<(usize, u64)>,
    streams: u32,
    depth: u8,
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = mutation::random(48, 300);
    seeds.extend(record::records().iter().map(|record| [&[2, 2, 2, 2][..], &record.encode()].concat()));
    seeds
}

pub fn run(data: &[u8]) {
    let plan: Plan = config::parse(CONFIGURATION.as_bytes()).expect("a configuration");
    let mut world = World {
        workers: [Engine::new(plan.clone(), Never), Engine::new(plan, Never)],
        shared: Vec::new(),
        now: UnixTime::from_millis(record::NOW),
        fetches: Vec::new(),
        streams: 0,
        depth: 0,
    };
    let mut u = Unstructured::new(data);
    for _ in 0..STEPS {
        if u.is_empty() || world.step(&mut u).is_err() {
            break;
        }
    }
}

impl World {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let worker = usize::from(u.arbitrary::<bool>()?);
        match u.int_in_range(0..=9)? {
            0..=2 => self.request(worker, u)?,
            3 => self.now = self.now.plus(Duration::from_millis(u.int_in_range(0..=20_000)?)),
            4 => {
                let step = Duration::from_secs(u.int_in_range(0..=4_000_000)?);
                self.now = if u.arbitrary()? { self.now.plus(step) } else { self.now.minus(step) };
            }
            5 => self.overwrite(u)?,
            6 | 7 => self.answer(u)?,
            8 => {
                if let Some((worker, fetch)) = self.fetches.pop() {
                    let actions = self.workers[worker].on_abandoned(PROVIDER, fetch, self.now);
                    self.perform(worker, actions);
                }
            }
            _ => self.wake(worker),
        }
        for worker in &mut self.workers {
            assert!(worker.waiting() <= 8 && worker.next_tick(self.now) > Duration::ZERO);
            let _ = (worker.take_gauges(), worker.take_counts(0), worker.parked());
            worker.log_key_changes(|_| true);
        }
        Ok(())
    }

    fn request(&mut self, worker: usize, u: &mut Unstructured<'_>) -> Result<()> {
        // {"alg":"ES256","kid":"2"} and other kids.
        let header = *u.choose(&[
            "eyJhbGciOiJFUzI1NiIsImtpZCI6IjIifQ",
            "eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ",
            "eyJhbGciOiJSUzI1NiJ9",
        ])?;
        let value = format!("Bearer {header}.eyJpc3MiOiJpIn0.AAAA");
        let list = [(":path", &b"/"[..]), (":method", b"GET"), ("authorization", value.as_bytes())];
        let headers = Headers::new(if u.ratio(7, 8)? { &list } else { &list[..2] });
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.sync(worker);
        let engine = &mut self.workers[worker];
        let resolved = engine.resolve(headers);
        match engine.on_request(stream, resolved, headers, ClientId::default, self.now) {
            Decision::Reply(reply) => assert!(matches!(reply.status, 401 | 403 | 503), "{reply:?}"),
            Decision::Park => {}
            passed => panic!("no signature is good: {passed:?}"),
        }
        Ok(())
    }

    /// Another plugin writes: any bytes, a changed record, or a record of its own making.
    fn overwrite(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=3)? {
            0 => self.shared.clear(),
            1 => self.shared = u.bytes(u.len().min(64))?.to_vec(),
            2 => self.shared = u.choose(&record::records())?.encode(),
            _ => {
                for _ in 0..u.int_in_range(1..=4)? {
                    let at = u.choose_index(self.shared.len().max(1))?;
                    let value = u.arbitrary()?;
                    self.shared.get_mut(at).into_iter().for_each(|byte| *byte = value);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some((worker, fetch)) = self.fetches.pop() else { return Ok(()) };
        let keys = jwk::KEYS.get(..u.int_in_range(0..=4)?).unwrap_or_default().join(",");
        let body = match u.int_in_range(0..=3)? {
            0 => u.bytes(u.len().min(32))?.to_vec(),
            _ => format!(r#"{{"keys":[{keys}]}}"#).into_bytes(),
        };
        let cache =
            *u.choose(&["max-age=0", "max-age=300", "max-age=99999999999", "no-store, stale-if-error=5", ""])?;
        let headers = vec![
            ("cache-control".into(), cache.into()),
            ("etag".into(), b"\"a\"".to_vec()),
            ("retry-after".into(), b"3".to_vec()),
        ];
        let response = Response { status: *u.choose(&[200, 200, 304, 404, 503, 0])?, headers, body };
        let response = if u.ratio(7, 8)? { Ok(response) } else { Err(FetchError::Reset) };
        let actions = self.workers[worker].on_fetched(PROVIDER, fetch, response, u.arbitrary()?, self.now);
        self.perform(worker, actions);
        Ok(())
    }

    fn sync(&mut self, worker: usize) {
        self.workers[worker].on_record(PROVIDER, &self.shared, self.now);
    }

    fn wake(&mut self, worker: usize) {
        for _ in self.workers[worker].due(self.now) {
            self.sync(worker);
        }
        let actions = self.workers[worker].on_wake(self.now);
        self.perform(worker, actions);
    }

    fn perform(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Update(provider, update) => {
                    let before = Record::read(&self.shared, self.now);
                    let applied = update.apply(Some(&self.shared), self.now);
                    if let Some(bytes) = &applied.bytes {
                        // What is written is a record that every worker takes, and is newer than what was there.
                        let written = Record::read(bytes, self.now).expect("a plausible record");
                        assert_eq!(written.encode(), *bytes);
                        assert!(before.unwrap_or_default().is_older_than(&written));
                        self.shared.clone_from(bytes);
                    }
                    let actions = self.workers[worker].on_updated(provider, update, applied, self.now);
                    self.perform(worker, actions);
                }
                Action::Fetch(_, fetch, request) => {
                    let host = request
                        .headers()
                        .iter()
                        .find(|(name, _)| *name == ":authority")
                        .map(|(_, host)| (*host).to_owned());
                    assert!(matches!(host.as_deref(), Some("i" | "m")), "{host:?}");
                    self.fetches.push((worker, fetch));
                }
                Action::Reply(_, reply) => assert!(matches!(reply.status, 401 | 403 | 503), "{reply:?}"),
                Action::Resume(..) => panic!("no signature is good"),
                Action::WakeWorkers(provider) => {
                    let other = 1 - worker;
                    self.workers[other].on_news(provider, self.now);
                    if self.depth < 8 {
                        self.depth += 1;
                        self.wake(other);
                        self.depth -= 1;
                    }
                }
            }
        }
    }
}
