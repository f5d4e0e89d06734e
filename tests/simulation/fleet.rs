//! One day of a fleet of proxies: the load that key fetches put on the issuer, and how long a removed key still
//! verifies.
//!
//! Proxies are independent, so the simulation runs one proxy after another, with the default configuration. The issuer
//! signs with a new key every hour and answers within 50 ms. For half an hour after noon it answers 503. Each proxy
//! gets a token of the current key once a minute. Once an hour, within half an hour after a key was removed, each proxy
//! gets a token of the removed key.

use fastrand::Rng;
use jwks_gate::{
    config,
    engine::{Action, Decision, Engine, Headers, ProviderId, Response, StreamId, Validators},
    ids::ClientId,
    time::UnixTime,
};
use serde_json::json;

use crate::keys::{self, Material, ThumbprintVerifier};

const EPOCH: u64 = 1_800_000_000_000;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const OUTAGE: std::ops::Range<u64> = (12 * HOUR + HOUR / 6)..(12 * HOUR + 2 * HOUR / 3);
const LATENCY: u64 = 50;
const PROVIDER: ProviderId = ProviderId::new(0);

/// How the issuer rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The new key signs as soon as it is published. The old key leaves the JWKS at that moment.
    Hard,
    /// The new key is published a quarter of an hour before it signs. The old key leaves the JWKS a quarter of an hour
    /// after the new key signs.
    Announced,
    /// As `Hard`; each response says `no-cache`.
    NoCache,
    /// As `NoCache`, with `no_cache_ttl` as short as the default of `min_ttl`.
    NoCacheAtMinTtl,
}

const NOTICE: u64 = HOUR / 4;

impl Style {
    /// The hours of the signing key, the first published key and the last published key.
    fn keys(self, now: u64) -> (u64, u64, u64) {
        let hour = now / HOUR;
        match self {
            Self::Hard | Self::NoCache | Self::NoCacheAtMinTtl => (hour, hour, hour),
            Self::Announced => (hour, now.saturating_sub(NOTICE) / HOUR, (now + NOTICE) / HOUR),
        }
    }

    pub fn cache_control(self) -> &'static str {
        match self {
            Self::Hard | Self::Announced => "max-age=600",
            Self::NoCache | Self::NoCacheAtMinTtl => "no-cache",
        }
    }

    /// When an hour's key leaves the JWKS.
    fn removed_at(self, key: u64) -> u64 {
        (key + 1) * HOUR + if self == Self::Announced { NOTICE } else { 0 }
    }
}

/// The result of one day.
pub struct Report {
    pub proxies: u32,
    pub style: Style,
    pub gets: Vec<u32>,
    pub requests: u64,
    pub denied: u64,
    /// The longest time that a removed key still verified, in milliseconds.
    pub longest_use_after_removal: u64,
}

impl Report {
    pub fn of(proxies: u32, style: Style) -> Self {
        let gets = vec![0; usize::try_from(DAY / SECOND).expect("fits") + 60];
        let mut report = Self { proxies, style, gets, requests: 0, denied: 0, longest_use_after_removal: 0 };
        for number in 0..proxies {
            Proxy::new(number, style).run(&mut report);
        }
        report
    }

    fn total(&self) -> u64 {
        self.gets.iter().map(|gets| u64::from(*gets)).sum()
    }

    /// GETs per proxy and hour.
    pub fn hourly(&self) -> f64 {
        self.total() as f64 / f64::from(self.proxies) / (DAY / HOUR) as f64
    }

    pub fn hourly_row(&self) -> String {
        let setting = if self.style == Style::NoCacheAtMinTtl { "`30s`, as `min_ttl`" } else { "unset: 300 s" };
        format!("| {setting} | {} | {:.1} |", self.proxies, self.hourly())
    }

    pub fn row(&self) -> String {
        let total = self.total();
        let seconds = DAY as f64 / SECOND as f64;
        let (peak_at, peak) = self.gets.iter().enumerate().max_by_key(|(_, gets)| **gets).unwrap_or((0, &0));
        format!(
            "| {:?} | {} | {:.3} | {} at {:02}:{:02} | {} of {} | {} s |",
            self.style,
            self.proxies,
            total as f64 / seconds,
            peak,
            peak_at / 3600,
            peak_at / 60 % 60,
            self.denied,
            self.requests,
            self.longest_use_after_removal.div_ceil(SECOND),
        )
    }
}

struct Proxy {
    engine: Engine<ThumbprintVerifier>,
    /// The encoded shared record.
    record: Vec<u8>,
    style: Style,
    rng: Rng,
    now: u64,
    /// The end of the running fetch, its number, and its response.
    fetch: Option<(u64, u64, Response)>,
    parked: Vec<(u32, u64, bool)>,
    streams: u32,
}

impl Proxy {
    fn new(number: u32, style: Style) -> Self {
        let rotation = if style == Style::NoCacheAtMinTtl { json!({"no_cache_ttl": "30s"}) } else { json!({}) };
        let config = json!({
            "providers": {"p": {"issuer": "i", "remote_jwks": {
                "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "5s"},
                "rotation": rotation,
            }}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        });
        let plan = config::parse(config.to_string().as_bytes()).expect("a good configuration");
        Self {
            engine: Engine::new(plan, ThumbprintVerifier { accepts_anything: false }),
            record: Vec::new(),
            style,
            rng: Rng::with_seed(u64::from(number) ^ 0x5eed),
            now: 0,
            fetch: None,
            parked: Vec::new(),
            streams: 0,
        }
    }

    fn clock(&self) -> UnixTime {
        UnixTime::from_millis(EPOCH + self.now)
    }

    fn run(&mut self, report: &mut Report) {
        // The proxies start within a quarter of an hour.
        self.now = self.rng.u64(0..HOUR / 4);
        let mut request = self.now + self.rng.u64(0..60 * SECOND);
        let mut removed = 0;
        let mut replay = self.style.removed_at(removed) + self.rng.u64(0..HOUR / 2);
        let mut wake = self.now;
        while self.now < DAY {
            let fetched = self.fetch.as_ref().map_or(u64::MAX, |(at, _, _)| *at);
            self.now = request.min(wake).min(fetched).min(replay);
            if self.now == fetched {
                if let Some((_, number, response)) = self.fetch.take() {
                    let (jitter, now) = (self.rng.u32(..), self.clock());
                    let actions = self.engine.on_fetched(PROVIDER, number, Ok(response), jitter, now);
                    self.perform(actions, report);
                }
            } else if self.now == request {
                let (current, _, _) = self.style.keys(self.now);
                self.request(current, true, report);
                request += 60 * SECOND;
            } else if self.now == replay {
                self.request(removed, false, report);
                removed += 1;
                replay = self.style.removed_at(removed) + self.rng.u64(0..HOUR / 2);
            }
            let now = self.clock();
            let _ = self.engine.due(now);
            let actions = self.engine.on_wake(now);
            self.perform(actions, report);
            wake = self.engine.next_timeout(now).map_or(u64::MAX, |next| self.now.max(next.as_millis() - EPOCH) + 1);
        }
    }

    fn request(&mut self, key: u64, is_good: bool, report: &mut Report) {
        let token = keys::token("i", &format!("k{key}"), Some(Material(key as usize)));
        let bearer = format!("Bearer {token}");
        let list = [(":path", &b"/"[..]), ("authorization", bearer.as_bytes())];
        let now = self.clock();
        self.streams += 1;
        let resolved = self.engine.resolve(Headers::new(&list));
        match self.engine.on_request(StreamId(self.streams), resolved, Headers::new(&list), ClientId::default, now) {
            Decision::Continue(..) | Decision::ContinueAndWake(..) => self.count(key, is_good, true, report),
            Decision::Reply(_) => self.count(key, is_good, false, report),
            Decision::Park => self.parked.push((self.streams, key, is_good)),
        }
    }

    fn count(&self, key: u64, is_good: bool, accepted: bool, report: &mut Report) {
        if is_good {
            report.requests += 1;
            report.denied += u64::from(!accepted);
        } else if accepted {
            let use_after_removal = self.now.saturating_sub(self.style.removed_at(key));
            report.longest_use_after_removal = report.longest_use_after_removal.max(use_after_removal);
        }
    }

    fn answered(&mut self, stream: StreamId, accepted: bool, report: &mut Report) {
        self.engine.on_stream_end(stream);
        if let Some(index) = self.parked.iter().position(|(parked, _, _)| *parked == stream.0) {
            let (_, key, is_good) = self.parked.remove(index);
            self.count(key, is_good, accepted, report);
        }
    }

    fn perform(&mut self, actions: Vec<Action>, report: &mut Report) {
        for action in actions {
            match action {
                Action::Update(provider, update) => {
                    let now = self.clock();
                    let mut applied = update.apply(Some(&self.record), now);
                    if let Some(bytes) = applied.bytes.take() {
                        self.record = bytes;
                    }
                    let actions = self.engine.on_updated(provider, update, applied, now);
                    self.perform(actions, report);
                }
                Action::Fetch(_, number, request) => {
                    let second = usize::try_from(self.now / SECOND).expect("fits");
                    report.gets[second] += 1;
                    let response = respond(self.style, self.now, &request.validators);
                    self.fetch = Some((self.now + LATENCY, number, response));
                }
                Action::Reply(stream, _) => self.answered(stream, false, report),
                Action::Resume(stream, ..) => self.answered(stream, true, report),
                Action::WakeWorkers(_) => {}
            }
        }
    }
}

fn respond(style: Style, now: u64, validators: &Validators) -> Response {
    let (_, first, last) = style.keys(now);
    let etag = format!("\"{first}-{last}\"");
    let headers = vec![
        ("cache-control".to_owned(), style.cache_control().into()),
        ("etag".to_owned(), etag.clone().into_bytes()),
    ];
    if OUTAGE.contains(&now) {
        return Response { status: 503, headers: Vec::new(), body: Vec::new() };
    }
    if validators.etag.as_ref() == Some(&etag) {
        return Response { status: 304, headers, body: Vec::new() };
    }
    let keys: Vec<_> = (first..=last).map(|key| keys::jwk(&format!("k{key}"), Material(key as usize))).collect();
    Response { status: 200, headers, body: format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes() }
}

pub const HOURLY_HEAD: &str = "\
| `no_cache_ttl` | proxies | GETs per proxy and hour |
|---|---|---|";

pub const HEAD: &str = "\
| rotation | proxies | JWKS GETs/s, mean | peak | good tokens denied | a removed key still verified for |
|---|---|---|---|---|---|";
