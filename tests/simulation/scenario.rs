//! The events of one run, drawn from the seed before the run starts. Each issuer has a separate random stream, so the
//! events of one issuer do not change the events of another.

use fastrand::Rng;
use serde_json::{json, Value};

use crate::{
    issuer::{CacheStyle, Fault, Rotation, FAULTS},
    world::{Event, LATENCY},
};

/// A provider's rotation settings; durations in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer whose keys the provider fetches. Providers of one issuer share a record.
    pub source: usize,
    /// The provider's issuer.
    pub iss: String,
    pub has_mirror: bool,
    pub cache_duration: u64,
    pub min_ttl: u64,
    pub max_ttl: u64,
    pub max_stale: u64,
    pub grace: u64,
    pub interval: u64,
    pub wait: u64,
    pub timeout: u64,
    pub no_cache_ttl: u64,
    pub second_look: u64,
    pub revoked: Vec<String>,
    /// When the seed ends, in whole seconds by the proxies' first clock. `None`: there is no seed.
    pub seed: Option<u64>,
}

/// The cluster of the mirrors.
pub const MIRROR: &str = "mirror";
/// The timeout of the issuers that have a mirror.
const MIRRORED: u64 = 300;
/// The most providers whose requests can have two tokens.
const MOST_WITH_PAIRS: usize = 6;

impl Settings {
    /// The timeouts of all requests of a fetch.
    pub fn fetch_time(&self) -> u64 {
        if self.has_mirror {
            2 * self.timeout
        } else {
            self.timeout
        }
    }
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub workers: usize,
    pub max_parked: usize,
    /// One provider for each issuer, in their order. More providers of these issuers follow.
    pub settings: Vec<Settings>,
    pub cache: Vec<CacheStyle>,
    /// The longest delay of a timer or a wake-up in a loaded event loop, in milliseconds.
    pub lateness: u64,
    /// Whether a secret authenticates shared data. Then another plugin also writes well-formed records.
    pub has_secret: bool,
    /// The time of the last event, in milliseconds.
    pub length: u64,
    pub events: Vec<(u64, Event)>,
}

/// The token of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signed by the issuer's current key.
    Good,
    /// Signed by the issuer's previous key.
    Old,
    /// Names a key that never existed.
    Unknown,
    /// Names the current key, which did not sign it.
    Forged,
    /// A token of a key that another plugin wrote into shared data.
    Injected,
    /// A token of the key of the seed.
    Seeded,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let issuers = rng.usize(1..=3);
        let length = 40_000;
        let mut all = Self {
            seed,
            workers: rng.usize(1..=4),
            max_parked: rng.usize(6..=40),
            settings: (0..issuers).map(|issuer| settings(&mut Rng::with_seed(seed ^ (77 << issuer)), issuer)).collect(),
            cache: (0..issuers).map(|issuer| cache(&mut Rng::with_seed(seed ^ (99 << issuer)))).collect(),
            lateness: [0, 3, 40][rng.usize(0..3)],
            has_secret: rng.bool(),
            length,
            events: Vec::new(),
        };
        for issuer in 0..issuers {
            all.issuer(&mut Rng::with_seed(seed ^ (1234 << issuer)), issuer);
        }
        all.seeds(&mut Rng::with_seed(seed ^ 0x5eed));
        all.infrastructure(&mut rng);
        if !all.flood(&mut Rng::with_seed(seed ^ 0xf100d)) && issuers > 1 {
            all.pairs(&mut Rng::with_seed(seed ^ 0x9a125));
        }
        all.sharing(&mut Rng::with_seed(seed ^ 0x54a2e));
        all
    }

    /// Many issuers that are healthy. One good request for each within `length`, and no other event.
    pub fn many_issuers(seed: u64, issuers: usize, length: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let settings = |issuer| Settings {
            source: issuer,
            iss: format!("i{issuer}"),
            has_mirror: false,
            cache_duration: 600_000,
            min_ttl: 5_000,
            max_ttl: 600_000,
            max_stale: 8_000,
            grace: 0,
            interval: 10_000,
            wait: 10_000,
            timeout: 1_000,
            no_cache_ttl: 300_000,
            second_look: 1_000,
            revoked: Vec::new(),
            seed: None,
        };
        let mut all = Self {
            seed,
            workers: 3,
            max_parked: 2 * issuers,
            settings: (0..issuers).map(settings).collect(),
            cache: vec![CacheStyle { max_age: None, no_store: false, etag: true }; issuers],
            lateness: 3,
            has_secret: true,
            length,
            events: Vec::new(),
        };
        for issuer in 0..issuers {
            all.push(rng.u64(0..length), request(issuer, Kind::Good, None, rng.usize(..)));
        }
        all
    }

    fn push(&mut self, at: u64, event: Event) {
        self.events.push((at, event));
    }

    /// Requests with all kinds of tokens of one provider, at any time.
    fn traffic(&mut self, rng: &mut Rng, provider: usize) {
        let mean = rng.u64(100..800);
        let mut at = 0;
        while at < self.length {
            at += rng.u64(1..2 * mean);
            let kind = match rng.u8(0..20) {
                0..=12 => Kind::Good,
                13..=14 => Kind::Old,
                15..=17 => Kind::Unknown,
                _ => Kind::Forged,
            };
            self.push(at, request(provider, kind, rng.bool().then(|| rng.u64(1..3_000)), rng.usize(..)));
        }
    }

    fn issuer(&mut self, rng: &mut Rng, issuer: usize) {
        self.traffic(rng, issuer);
        for _ in 0..rng.usize(0..6) {
            let rotation = match rng.u8(0..5) {
                0..=1 => Rotation::Hard,
                2..=3 => Rotation::Overlap,
                _ => Rotation::SameKid,
            };
            let at = rng.u64(0..self.length);
            self.push(at, Event::Rotate(issuer, rotation));
            // All workers see the new key at once.
            for _ in 0..rng.u64(0..8) {
                self.push(at, request(issuer, Kind::Good, None, rng.usize(..)));
            }
        }
        // An invented `kid` spends the refresh budget. The issuer rotates near the end of that refresh, and tokens of
        // the new key arrive within the same millisecond.
        for _ in 0..rng.usize(0..4) {
            let at = rng.u64(0..self.length);
            self.push(at, request(issuer, Kind::Unknown, None, rng.usize(..)));
            let ended = at + 2 * LATENCY + rng.u64(0..4);
            self.push(ended, Event::Rotate(issuer, Rotation::Hard));
            for _ in 0..4 {
                let draw = rng.usize(..);
                self.push(ended + rng.u64(0..2), request(issuer, Kind::Good, None, draw));
            }
        }
        for _ in 0..rng.usize(0..3) {
            let at = rng.u64(0..self.length);
            let fault = FAULTS[rng.usize(0..FAULTS.len())];
            self.push(at, Event::Break(issuer, fault));
            self.push(at + rng.u64(100..12_000), Event::Heal(issuer));
        }
        if rng.u8(0..4) == 0 {
            let at = rng.u64(0..self.length);
            for _ in 0..rng.usize(20..80) {
                let kind = if rng.u8(0..4) == 0 { Kind::Forged } else { Kind::Unknown };
                self.push(at + rng.u64(0..4_000), request(issuer, kind, None, rng.usize(..)));
            }
        }
    }

    fn infrastructure(&mut self, rng: &mut Rng) {
        let issuers = self.settings.len();
        if rng.bool() {
            for issuer in 0..issuers {
                self.push(0, Event::Canary(issuer));
            }
        }
        if rng.u8(0..4) == 0 {
            for _ in 0..rng.usize(1..=2) {
                let far = [5_000, 3_600_000, 86_400_000][rng.usize(0..3)];
                let step = if rng.bool() { far } else { -far };
                self.push(rng.u64(0..self.length), Event::StepClock(step));
            }
        }
        for _ in 0..rng.usize(0..3) {
            self.push(rng.u64(0..self.length), Event::Reload(rng.usize(0..self.workers)));
        }
        if rng.u8(0..3) == 0 {
            self.push(rng.u64(0..self.length), Event::Reconfigure);
        }
        if rng.u8(0..5) == 0 {
            let (at, issuer) = (rng.u64(0..self.length), rng.usize(0..issuers));
            self.push(at, Event::OverwriteRecord(issuer, rng.u64(..)));
            if self.has_secret {
                for _ in 0..4 {
                    let (at, draw) = (at + rng.u64(0..1_500), rng.usize(..));
                    self.push(at, request(issuer, Kind::Injected, None, draw));
                }
            }
        }
        if self.has_secret && rng.u8(0..3) == 0 {
            let issuer = rng.usize(0..issuers);
            let mut at = rng.u64(0..self.length);
            for _ in 0..rng.usize(1..30) {
                self.push(at, Event::WriteBack(issuer, rng.u64(..)));
                let kind = if rng.bool() { Kind::Old } else { Kind::Good };
                self.push(at + rng.u64(0..50), request(issuer, kind, None, rng.usize(..)));
                at += rng.u64(1..2_000);
            }
        }
    }

    /// Seeds, some of them of issuers that are down at the start.
    fn seeds(&mut self, rng: &mut Rng) {
        for issuer in 0..self.issuers() {
            if rng.u8(0..3) > 0 {
                continue;
            }
            self.settings[issuer].seed = Some([1, 4, 20, 50][rng.usize(0..4)]);
            if rng.bool() {
                self.push(0, Event::Break(issuer, Fault::Down));
                self.push(rng.u64(500..25_000), Event::Heal(issuer));
            }
            for _ in 0..rng.usize(5..60) {
                let at = if rng.bool() { rng.u64(0..3_000) } else { rng.u64(0..self.length) };
                self.push(at, request(issuer, Kind::Seeded, None, rng.usize(..)));
            }
        }
    }

    /// One client fills the room of all workers with invented `kid`s, at one provider or at all, while other clients send what
    /// they always send.
    /// Returns whether there is a flood.
    fn flood(&mut self, rng: &mut Rng) -> bool {
        if rng.u8(0..3) > 0 {
            return false;
        }
        for _ in 0..rng.usize(1..=3) {
            let (all, at) = (self.settings.len(), rng.u64(0..self.length));
            let (rotated, is_wide) = (rng.usize(0..all), rng.bool());
            self.push(at, Event::Rotate(rotated, Rotation::Hard));
            for _ in 0..2 * self.workers * self.max_parked {
                let (at, draw) = (at + rng.u64(0..1_000), rng.usize(..));
                let kind = if rng.u8(0..10) == 0 { Kind::Good } else { Kind::Unknown };
                // The client that floods is one of its provider's, and may send good tokens too.
                let client = if kind == Kind::Good { draw as u64 % CLIENTS } else { 0 };
                let issuer = if is_wide && client == 0 { draw / 7 % all } else { rotated };
                self.push(at, Event::Request { issuer, client, kind, patience: None, draw });
            }
        }
        true
    }

    /// Requests with a token of each of two issuers, at any time and just after a rotation.
    fn pairs(&mut self, rng: &mut Rng) {
        const KINDS: [[Kind; 2]; 6] = [
            [Kind::Good, Kind::Unknown],
            [Kind::Unknown, Kind::Good],
            [Kind::Good, Kind::Good],
            [Kind::Good, Kind::Forged],
            [Kind::Old, Kind::Good],
            [Kind::Unknown, Kind::Unknown],
        ];
        for _ in 0..rng.usize(5..30) {
            let (at, one) = (rng.u64(0..self.length), rng.usize(0..self.settings.len()));
            let two = (one + rng.usize(1..self.settings.len())) % self.settings.len();
            if rng.u8(0..4) == 0 {
                self.push(at, Event::Rotate(one, Rotation::Hard));
            }
            for _ in 0..rng.usize(1..4) {
                let [first, second] = KINDS[rng.usize(0..KINDS.len())];
                let (all, draw) = (rng.bool(), rng.usize(..));
                let tokens = [(one, first), (two, second)];
                self.push(at + rng.u64(0..3), Event::Pair { tokens, all, client: draw as u64 / 60 % CLIENTS, draw });
            }
        }
    }

    /// More providers of an issuer, with terms of their own.
    fn sharing(&mut self, rng: &mut Rng) {
        if rng.u8(0..3) > 0 {
            return;
        }
        let issuers = self.issuers();
        let source = rng.usize(0..issuers);
        for provider in issuers..issuers + rng.usize(1..=2) {
            let shared = self.settings[source].clone();
            let iss = if rng.bool() { shared.iss } else { format!("i{provider}") };
            let (has_mirror, timeouts) = (shared.has_mirror, if shared.has_mirror { [200, 450] } else { [600, 1_000] });
            let timeout = timeouts[rng.usize(0..2)];
            let seed = (rng.u8(0..3) == 0).then(|| [1, 4, 20, 50][rng.usize(0..4)]);
            self.settings.push(Settings { iss, has_mirror, timeout, seed, ..settings(rng, source) });
            self.traffic(rng, provider);
            for _ in 0..if seed.is_some() { rng.usize(5..30) } else { 0 } {
                self.push(rng.u64(0..6_000), request(provider, Kind::Seeded, None, rng.usize(..)));
            }
        }
        let sharing: Vec<_> = (0..self.settings.len()).filter(|p| self.settings[*p].source == source).collect();
        let is_rotation = |event: &Event| matches!(event, Event::Rotate(issuer, _) if *issuer == source);
        let rotations: Vec<_> = self.events.iter().filter(|(_, event)| is_rotation(event)).map(|(at, _)| *at).collect();
        for at in rotations {
            for _ in 0..rng.u64(0..8) {
                let kind = [Kind::Good, Kind::Good, Kind::Old, Kind::Unknown][rng.usize(0..4)];
                let provider = sharing[rng.usize(0..sharing.len())];
                self.push(at + rng.u64(0..3_000), request(provider, kind, None, rng.usize(..)));
            }
        }
        // The invented `kid`s of one provider keep the budget spent.
        if rng.u8(0..3) == 0 {
            let (at, provider) = (rng.u64(0..self.length), sharing[rng.usize(0..sharing.len())]);
            for _ in 0..100 {
                self.push(at + rng.u64(0..10_000), request(provider, Kind::Unknown, None, rng.usize(..)));
            }
        }
        for _ in 0..rng.usize(0..20) {
            let one = rng.usize(0..sharing.len());
            let two = (one + rng.usize(1..sharing.len())) % sharing.len();
            let kinds = [Kind::Good, Kind::Good, Kind::Old, Kind::Unknown];
            let tokens = [one, two].map(|index| (sharing[index], kinds[rng.usize(0..kinds.len())]));
            let (at, all, draw) = (rng.u64(0..self.length), rng.bool(), rng.usize(..));
            self.push(at, Event::Pair { tokens, all, client: draw as u64 / 60 % CLIENTS, draw });
        }
    }

    pub fn issuers(&self) -> usize {
        self.cache.len()
    }

    /// Without the requests that have tokens of two issuers, and thus wait for both.
    pub fn without_pairs(mut self) -> Self {
        self.events.retain(|(_, event)| !matches!(event, Event::Pair { .. }));
        self
    }

    /// Without issuers that are down at the start: the random back-offs that follow multiply small differences of time.
    pub fn without_outages_at_the_start(mut self) -> Self {
        self.events.retain(|(at, event)| *at > 0 || !matches!(event, Event::Break(..)));
        self
    }

    /// Adds trouble for the last issuer only: the issuer hangs most of the time, and invented `kid`s flood its
    /// provider.
    pub fn with_trouble_for_the_last_issuer(mut self) -> Self {
        let last = self.issuers() - 1;
        for second in (1..self.length / 1000).step_by(4) {
            self.push(second * 1000, Event::Break(last, Fault::Hang));
            self.push(second * 1000 + 3_000, Event::Heal(last));
            for number in 0..40 {
                let draw = (second * 97 + number * 31) as usize;
                let request = request(last, Kind::Unknown, None, draw);
                self.push(second * 1000 + number * 20, request);
            }
        }
        self
    }

    /// The header that carries an issuer's tokens.
    pub fn header_of(issuer: usize) -> String {
        format!("x-i{issuer}")
    }

    /// The plugin configuration for `settings`.
    pub fn configuration(settings: &[Settings], max_parked: usize) -> Value {
        let seconds = |millis: u64| format!("{}.{:03}s", millis / 1000, millis % 1000);
        let mirrors = |settings: &Settings| match settings.has_mirror {
            true => json!([{"uri": "http://m/jwks", "cluster": MIRROR, "timeout": seconds(settings.timeout)}]),
            false => json!([]),
        };
        let provider = |(issuer, settings): (usize, &Settings)| {
            let seed = settings.seed.map(|second| {
                let jwks = format!(r#"{{"keys":[{}]}}"#, crate::keys::jwk("seed", crate::keys::SEED));
                // See EPOCH.
                json!({"inline_string": jwks, "not_after": format!("2027-01-15T08:{:02}:{:02}Z", second / 60, second % 60)})
            });
            let mut provider = json!({"issuer": settings.iss, "from_headers": [{"name": Self::header_of(issuer)}], "remote_jwks": {
                "http_uri": {"uri": format!("http://i{}/jwks", settings.source), "cluster": "c", "timeout": seconds(settings.timeout)},
                "mirrors": mirrors(settings),
                "cache_duration": seconds(settings.cache_duration),
                "rotation": {
                    "no_cache_ttl": seconds(settings.no_cache_ttl),
                    "second_look": seconds(settings.second_look),
                    "min_ttl": seconds(settings.min_ttl),
                    "max_ttl": seconds(settings.max_ttl),
                    "max_stale": seconds(settings.max_stale),
                    "retired_key_grace": seconds(settings.grace),
                    "unknown_kid_min_interval": seconds(settings.interval),
                    "unknown_kid_max_wait": seconds(settings.wait),
                    "revoked_keys": settings.revoked,
                    "max_document_bytes": 8000,
                },
            }});
            if let Some(seed) = seed {
                provider["remote_jwks"]["seed_jwks"] = seed;
            }
            (format!("p{issuer:03}"), provider)
        };
        let providers: serde_json::Map<_, _> = settings.iter().enumerate().map(provider).collect();
        let rule = |issuer: usize| json!({"match": {"prefix": format!("/i{issuer}/")}, "requires": {"provider_name": format!("p{issuer:03}")}});
        let pairs = if settings.len() > MOST_WITH_PAIRS { 0 } else { settings.len() };
        let pairs = (0..pairs).flat_map(|high| (0..high).map(move |low| [low, high]));
        let pair_rule = |([low, high], kind): ([usize; 2], &str)| {
            let names = [low, high].map(|issuer| json!({"provider_name": format!("p{issuer:03}")}));
            let requires = json!({format!("requires_{kind}"): {"requirements": names}});
            json!({"match": {"prefix": format!("/{kind}/{low}/{high}/")}, "requires": requires})
        };
        let pair_rules = pairs.flat_map(|pair| ["all", "any"].map(|kind| pair_rule((pair, kind))));
        json!({
            "providers": providers,
            "rules": (0..settings.len()).map(rule).chain(pair_rules).collect::<Vec<_>>(),
            "max_parked_requests": max_parked,
        })
    }
}

/// The number of clients.
const CLIENTS: u64 = 5;

/// A request of the client that `draw` chooses.
fn request(issuer: usize, kind: Kind, patience: Option<u64>, draw: usize) -> Event {
    Event::Request { issuer, client: draw as u64 / 60 % CLIENTS, kind, patience, draw }
}

fn settings(rng: &mut Rng, issuer: usize) -> Settings {
    let mut choose = |from: &[u64]| from[rng.usize(0..from.len())];
    let min_ttl = choose(&[1_000, 2_000, 5_000]);
    let interval = choose(&[500, 1_000, 2_000, 10_000]);
    let wait = choose(&[1_000, interval, interval + 1_500]);
    let revoked = match choose(&[0, 1, 2]) {
        0 => Vec::new(),
        1 => vec![format!("i{issuer}-2")],
        _ => vec![crate::keys::thumbprint(crate::issuer::material(issuer, 1)).to_owned()],
    };
    let settings = Settings {
        source: issuer,
        iss: format!("i{issuer}"),
        has_mirror: false,
        cache_duration: choose(&[2_000, 5_000, 10_000]),
        min_ttl,
        max_ttl: min_ttl + choose(&[0, 3_000, 10_000]),
        max_stale: choose(&[0, 2_000, 8_000]),
        grace: choose(&[0, 0, 2_000, 8_000]),
        interval,
        wait,
        timeout: choose(&[MIRRORED, 1_000]),
        no_cache_ttl: choose(&[1_000, 4_000, 12_000]),
        second_look: choose(&[0, 200, 1_000]),
        revoked,
        seed: None,
    };
    Settings { has_mirror: settings.timeout == MIRRORED, ..settings }
}

fn cache(rng: &mut Rng) -> CacheStyle {
    let max_age = [None, Some(0), Some(4), Some(600)][rng.usize(0..4)];
    CacheStyle { max_age, no_store: rng.u8(0..6) == 0, etag: rng.bool() }
}
