//! Workers, issuers, shared data and the network between them, under a virtual clock. This module takes the part of the
//! shell and decides nothing. It loses wake-ups, ends lease holders and steps the clock.

use std::collections::BTreeMap;

use fastrand::Rng;
use jwks_gate::{
    config,
    engine::{
        Action, Applied, Decision, Engine, FetchError, Headers, ProviderId, Reply, Response, StreamId, Update,
        Validators,
    },
    ids::ClientId,
    rotation::{
        record::Record,
        transition::{self, Cause, Effect},
    },
    shared::{announcement, seal::Seal},
    time::UnixTime,
};

use crate::{
    broken::Rule,
    invariants::{Ledger, Request},
    issuer::{Fault, Issuer, Rotation},
    keys::{self, ThumbprintVerifier},
    scenario::{Kind, Scenario, Settings},
};

/// The start of the proxies' clock. True time starts at zero.
const EPOCH: u64 = 1_800_000_000_000;
/// The key of a record in shared data, and the `kid` that another plugin injects.
const KEY: &str = "record";
const INJECTED: &str = "injected";
pub const LATENCY: u64 = 20;

/// How long after a record was written a token can have to wait for the next fetch, because fetches failed: for the end of the
/// back-off, or of the interval that a failed fetch has used.
fn pause(record: &Record, settings: &Settings) -> u64 {
    if record.failures == 0 {
        return 0;
    }
    let interval = std::time::Duration::from_millis(settings.interval);
    let budget = record.unknown_kid_at.map_or(UnixTime::default(), |at| at.plus(interval));
    millis(record.retry_at().max(budget).since(record.written_at))
}

fn millis(time: std::time::Duration) -> u64 {
    time.as_millis() as u64
}

#[derive(Clone, Debug)]
pub enum Event {
    /// A request arrives. Its client leaves after `patience`. `draw` chooses the worker and the unknown `kid`.
    Request {
        issuer: usize,
        client: u64,
        kind: Kind,
        patience: Option<u64>,
        draw: usize,
    },
    /// An issuer gets a new signing key.
    Rotate(usize, Rotation),
    /// An issuer begins to fail.
    Break(usize, Fault),
    /// An issuer recovers.
    Heal(usize),
    /// The clock jumps, in milliseconds.
    StepClock(i64),
    /// A worker's VM traps and is replaced. Its parked requests are lost.
    Reload(usize),
    /// The settings change. Every worker gets a new engine; an old engine ends when no request waits in it.
    Reconfigure,
    /// A VM acquires the lease and dies.
    Canary(usize),
    /// Another plugin overwrites a record in shared data.
    OverwriteRecord(usize, u64),
    /// Another plugin writes back what it found in shared data earlier.
    WriteBack(usize, u64),
    /// A worker's timer is due. This event and the events below follow from the engines' actions.
    Tick {
        worker: usize,
        number: u64,
    },
    Wake(usize, Option<ProviderId>),
    Serve {
        worker: usize,
        issuer: usize,
        fetch: u64,
        validators: Validators,
    },
    Fetched {
        worker: usize,
        issuer: usize,
        fetch: u64,
        response: Result<Response, FetchError>,
    },
    Announce {
        issuer: usize,
        version: u64,
    },
    Leave {
        worker: usize,
        stream: u32,
    },
    Inspect,
}

/// A root context and its engine.
struct Worker {
    engine: Engine<ThumbprintVerifier>,
    settings: Vec<Settings>,
    /// The worker accepts no new requests.
    draining: bool,
    dead: bool,
    tick: Option<(u64, u64)>,
}

/// One key set's record in shared data.
#[derive(Default)]
struct KeyCell {
    record: Vec<u8>,
    announced: u64,
    /// The records that were written so far, and the versions that were announced then.
    earlier: Vec<(Vec<u8>, u64)>,
}

pub struct World {
    scenario: Scenario,
    broken: Option<Rule>,
    now: u64,
    skew: i64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    workers: Vec<Worker>,
    cells: Vec<KeyCell>,
    seal: Option<Seal>,
    pub issuers: Vec<Issuer>,
    pub ledger: Ledger,
    streams: u32,
    /// How often any engine looked at any key set.
    pub looks: usize,
    /// Whether to print every event.
    pub verbose: bool,
}

impl World {
    pub fn new(scenario: Scenario, broken: Option<Rule>) -> Self {
        let issuers = scenario.cache.iter().enumerate().map(|(number, cache)| Issuer::new(number, *cache)).collect();
        let ledger = Ledger::new(&scenario);
        let is_sealed = scenario.has_secret && broken != Some(Rule::SharedDataIsAuthenticated);
        let mut world = Self {
            seal: is_sealed.then(|| Seal::new(b"the plugin's secret")).flatten(),
            broken,
            now: 0,
            skew: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            workers: Vec::new(),
            cells: scenario.settings.iter().map(|_| KeyCell::default()).collect(),
            issuers,
            ledger,
            streams: 0,
            looks: 0,
            verbose: false,
            scenario,
        };
        for (at, event) in std::mem::take(&mut world.scenario.events) {
            world.schedule(at, event);
        }
        for at in (500..world.scenario.length + 30_000).step_by(500) {
            world.schedule(at, Event::Inspect);
        }
        world.start_workers();
        world
    }

    pub fn settings(&self) -> &[Settings] {
        &self.scenario.settings
    }

    /// Runs to the end, or to the first violated invariant.
    pub fn run(&mut self) -> Result<(), String> {
        // The extra time answers every request that still waits.
        let end = self.scenario.length + 30_000;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            if self.verbose && !matches!(event, Event::Tick { .. } | Event::Wake(..) | Event::Inspect) {
                match &event {
                    Event::Fetched { issuer, response, .. } => {
                        println!(
                            "{at:>6} Fetched for {issuer}: {:?}",
                            response.as_ref().map(|response| response.status)
                        );
                    }
                    event => println!("{at:>6} {event:?}"),
                }
            }
            self.handle(event);
            self.ledger.verdict()?;
        }
        self.ledger.finish(self.now);
        self.ledger.verdict()
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn schedule_in(&mut self, delay: u64, event: Event) {
        self.schedule(self.now + delay, event);
    }

    fn clock(&self) -> UnixTime {
        UnixTime::from_millis((EPOCH + self.now).saturating_add_signed(self.skew))
    }

    fn start_workers(&mut self) {
        for _ in 0..self.scenario.workers {
            let settings = self.scenario.settings.clone();
            let engine = self.engine(&settings);
            self.workers.push(Worker { engine, settings, draining: false, dead: false, tick: None });
            self.tick_in(self.workers.len() - 1, 1);
        }
    }

    fn engine(&self, settings: &[Settings]) -> Engine<ThumbprintVerifier> {
        let mut settings = settings.to_vec();
        let mut max_parked = self.scenario.max_parked;
        Rule::break_configuration(self.broken, &mut settings, &mut max_parked);
        let configuration = Scenario::configuration(&settings, max_parked).to_string();
        let plan = config::parse(configuration.as_bytes()).expect("a good configuration");
        Engine::new(plan, ThumbprintVerifier { accepts_anything: self.broken == Some(Rule::SignaturesAreChecked) })
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request { issuer, client, kind, patience, draw } => {
                self.request(issuer, ClientId(client), kind, patience, draw);
            }
            Event::Rotate(issuer, rotation) => {
                self.issuers[issuer].rotate(rotation, self.now);
                if rotation == Rotation::SameKid {
                    self.ledger.renamed(issuer, self.now);
                }
            }
            Event::Break(issuer, fault) => {
                self.issuers[issuer].fault = Some(fault);
                self.ledger.trouble_begins(issuer);
            }
            Event::Heal(issuer) => {
                self.issuers[issuer].fault = None;
                self.ledger.trouble_ends(issuer, self.now);
            }
            Event::StepClock(step) => {
                self.skew += step;
                self.ledger.clock_stepped(self.now, step);
            }
            Event::Reload(worker) => self.reload(worker),
            Event::Reconfigure => self.reconfigure(),
            Event::Canary(issuer) => {
                let remote = self.workers[0].engine.plan().remote(ProviderId::new(issuer)).expect("a remote");
                let update = Update::new(transition::Event::Refresh(Cause::Schedule), remote.rotation);
                if let Effect::Fetch(_) = self.apply(0, issuer, &update).effect {
                    self.ledger.holder_died(issuer, self.now);
                }
            }
            Event::OverwriteRecord(issuer, garbage) => self.overwrite_record(issuer, garbage),
            Event::WriteBack(issuer, draw) => self.write_back(issuer, draw),
            Event::Tick { worker, number } => {
                if !self.workers[worker].dead && self.workers[worker].tick.is_some_and(|(_, current)| current == number)
                {
                    self.workers[worker].tick = None;
                    if self.broken != Some(Rule::WorkersRunOnTicks) {
                        self.run_worker(worker);
                    }
                }
            }
            Event::Wake(worker, news) => {
                if !self.workers[worker].dead {
                    let now = self.clock();
                    if let Some(provider) = news {
                        self.workers[worker].engine.on_news(provider, now);
                    }
                    self.run_worker(worker);
                }
            }
            Event::Serve { worker, issuer, fetch, validators } => {
                self.serve(worker, issuer, fetch, &validators);
            }
            Event::Fetched { worker, issuer, fetch, response } => {
                if self.workers[worker].dead {
                    return;
                }
                self.fetched(worker, issuer, fetch, response);
                self.run_worker(worker);
            }
            Event::Announce { issuer, version } => self.announce(issuer, version),
            Event::Leave { worker, stream } => {
                self.workers[worker].engine.on_stream_end(StreamId(stream));
                self.ledger.left(worker, stream);
            }
            Event::Inspect => self.inspect(),
        }
    }

    fn request(&mut self, issuer: usize, client: ClientId, kind: Kind, patience: Option<u64>, draw: usize) {
        let active: Vec<_> = (0..self.workers.len()).filter(|w| !self.workers[*w].draining).collect();
        let worker = active[draw % active.len()];
        self.streams += 1;
        let stream = self.streams;
        let from = &self.issuers[issuer];
        let key = match kind {
            Kind::Good | Kind::Forged => from.current,
            Kind::Old => from.current.saturating_sub(1),
            Kind::Unknown | Kind::Injected => from.current,
        };
        let published = &from.history[key];
        let token = match kind {
            Kind::Good | Kind::Old => keys::token(&from.name, &published.kid, Some(published.material)),
            Kind::Unknown => keys::token(&from.name, &format!("unknown-{draw}"), None),
            Kind::Forged => keys::token(&from.name, &published.kid, None),
            Kind::Injected => keys::token(&from.name, INJECTED, Some(keys::INJECTED)),
        };
        let (path, bearer) = (format!("/i{issuer}/"), format!("Bearer {token}"));
        let list = [(":path", path.as_bytes()), ("authorization", bearer.as_bytes())];
        let headers = Headers::new(&list);
        let resolved = self.workers[worker].engine.resolve(headers);
        assert_eq!(resolved.providers(), [ProviderId::new(issuer)]);
        self.sync(worker, issuer);
        let settings = self.workers[worker].settings[issuer].clone();
        let request = Request { issuer, client: client.0, kind, key, arrived: self.now, settings };
        self.ledger.arrived(worker, stream, request);
        let seen = if self.broken == Some(Rule::ClientsShareTheRoom) { ClientId::default() } else { client };
        let (now, engine) = (self.clock(), &mut self.workers[worker].engine);
        let is_full = engine.waiting() == self.scenario.max_parked;
        let mut decision = engine.on_request(StreamId(stream), resolved, headers, || seen, now);
        if self.broken == Some(Rule::UnknownKeysAreFetched) && matches!(decision, Decision::Park) && self.now > 2_000 {
            decision = Decision::Reply(Reply {
                status: 401,
                headers: Vec::new(),
                body: "not known".into(),
                state: Vec::new(),
            });
        }
        match decision {
            Decision::Continue(..) | Decision::ContinueAndWake(..) => self.answered(worker, stream, 200, ""),
            Decision::Reply(reply) => self.answered(worker, stream, reply.status, &reply.body),
            Decision::Park => {
                self.ledger.parked(worker, stream);
                if is_full {
                    // The ledger checks at once who lost a place.
                    self.run_worker(worker);
                } else {
                    self.wake(worker, None, 0);
                }
                let tick = self.workers[worker].engine.tick_when_parked();
                self.tick_in(worker, millis(tick));
                if let Some(patience) = patience {
                    self.schedule_in(patience, Event::Leave { worker, stream });
                }
            }
        }
    }

    fn answered(&mut self, worker: usize, stream: u32, status: u16, body: &str) {
        if self.verbose {
            println!("{:>6}   stream {stream}: {status} {body}", self.now);
        }
        self.ledger.answered(worker, stream, status, body, self.now, &self.issuers);
        self.schedule_in(1, Event::Leave { worker, stream });
    }

    /// Does what the shell does on a tick: syncs the key sets that are due, performs the due actions, sets the next tick.
    fn run_worker(&mut self, worker: usize) {
        let now = self.clock();
        let due = self.workers[worker].engine.due(now);
        self.looks += due.len();
        for provider in due {
            self.sync(worker, provider.index());
        }
        let now = self.clock();
        let actions = self.workers[worker].engine.on_wake(now);
        self.perform(worker, actions);
        if self.workers[worker].draining && self.workers[worker].engine.waiting() == 0 {
            return self.end(worker);
        }
        let tick = self.workers[worker].engine.next_tick(self.clock());
        self.tick_in(worker, millis(tick));
    }

    fn tick_in(&mut self, worker: usize, delay: u64) {
        let at = self.now + delay;
        if self.workers[worker].tick.is_some_and(|(due, _)| due <= at) {
            return;
        }
        let number = self.sequence;
        self.workers[worker].tick = Some((at, number));
        let late = self.lateness(worker);
        self.schedule(at + late, Event::Tick { worker, number });
    }

    /// A random stream that depends on the time and on `stream` only, not on other events.
    fn random(&self, stream: usize) -> Rng {
        Rng::with_seed(self.scenario.seed ^ (self.now << 16) ^ stream as u64)
    }

    /// The current delay of a worker's event loop, in milliseconds.
    fn lateness(&self, worker: usize) -> u64 {
        self.random(worker ^ 0x100).u64(0..=self.scenario.lateness)
    }

    fn wake(&mut self, worker: usize, news: Option<ProviderId>, most: u64) {
        // One wake-up in ten is lost.
        let mut random = self.random(worker);
        if random.u8(0..10) > 0 {
            let delay = random.u64(0..=most) + self.lateness(worker);
            self.schedule_in(delay, Event::Wake(worker, news));
        }
    }

    fn sync(&mut self, worker: usize, issuer: usize) {
        let provider = ProviderId::new(issuer);
        let cell = &self.cells[issuer];
        if cell.announced != self.workers[worker].engine.version(provider) {
            let now = self.clock();
            let bytes = &self.open(issuer);
            self.workers[worker].engine.on_record(provider, bytes, now);
        }
    }

    fn perform(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Update(provider, update) => {
                    let applied = self.apply(worker, provider.index(), &update);
                    let now = self.clock();
                    let actions = self.workers[worker].engine.on_updated(provider, update, applied, now);
                    self.perform(worker, actions);
                }
                Action::Fetch(provider, fetch, validators) => self.fetch(worker, provider.index(), fetch, validators),
                Action::Reply(stream, reply) => self.answer(worker, stream.0, reply.status, &reply.body),
                Action::Resume(stream, ..) => self.answer(worker, stream.0, 200, ""),
                Action::WakeWorkers(provider) => {
                    for worker in 0..self.workers.len() {
                        self.wake(worker, Some(provider), 3);
                    }
                }
            }
        }
    }

    fn answer(&mut self, worker: usize, stream: u32, status: u16, body: &str) {
        match self.broken {
            Some(Rule::EveryAnswerArrives) if stream.is_multiple_of(20) => {}
            Some(Rule::EveryAnswerArrivesOnce) if stream.is_multiple_of(20) => {
                self.answered(worker, stream, status, body);
                self.answered(worker, stream, status, body);
            }
            _ => self.answered(worker, stream, status, body),
        }
    }

    /// Applies an update to the shared bytes, as the shell does under compare-and-swap. A broken rule changes the bytes
    /// before or after the update.
    fn apply(&mut self, worker: usize, issuer: usize, update: &Update) -> Applied {
        let found = match update.cause() {
            Some(_) => Rule::break_record(self.broken, &self.open(issuer)),
            None => self.open(issuer),
        };
        let mut applied = update.apply(Some(&found), self.clock());
        if applied.is_restored {
            self.ledger.record_restored(issuer, self.now);
        }
        if matches!(applied.effect, Effect::Fetch(_)) && update.cause().is_some_and(|cause| cause != Cause::Schedule) {
            let settings = &self.workers[worker].settings[issuer];
            if applied.record.is_fetching_for_token() {
                self.ledger.refresh_started(issuer, self.now, settings);
            } else {
                self.ledger.second_look_started(issuer, self.now, settings);
            }
        }
        if applied.bytes.is_some() && self.broken == Some(Rule::IssuersAreIndependent) {
            // All issuers share one back-off.
            let now = self.clock();
            let others = (0..self.cells.len()).filter_map(|issuer| Record::decode(&self.open(issuer)));
            let pauses = others.map(|record| record.retry_at().since(now)).chain([applied.record.pause]);
            applied.record.pause = pauses.max().unwrap_or_default();
            applied.record.failed_at = now;
            applied.bytes = Some(applied.record.encode());
        }
        let Some(bytes) = applied.bytes.take() else { return applied };
        self.cells[issuer].record = self.seal.as_ref().map_or(bytes.clone(), |seal| seal.seal(KEY, &bytes));
        self.ledger.stored(issuer, self.cells[issuer].record.len());
        let cell = &mut self.cells[issuer];
        cell.earlier.push((cell.record.clone(), cell.announced));
        let mut random = self.random(issuer);
        let delay = if random.u8(0..5) == 0 { random.u64(1..5) } else { 0 };
        if delay == 0 {
            self.announce(issuer, applied.record.version);
        } else {
            self.schedule_in(delay, Event::Announce { issuer, version: applied.record.version });
        }
        applied
    }

    /// The shared bytes of an issuer's record; empty if they are not authentic.
    fn open(&self, issuer: usize) -> Vec<u8> {
        let bytes = self.cells[issuer].record.as_slice();
        let opened = self.seal.as_ref().map_or(Some(bytes), |seal| seal.open(KEY, bytes));
        opened.unwrap_or_default().to_vec()
    }

    fn announce(&mut self, issuer: usize, version: u64) {
        let now = self.clock();
        let bytes = self.open(issuer);
        let cell = &mut self.cells[issuer];
        let current = || Record::read(&bytes, now).map_or(0, |record| record.version);
        if announcement::is_due(version, cell.announced, current) {
            cell.announced = version;
        }
    }

    fn fetch(&mut self, worker: usize, issuer: usize, fetch: u64, validators: Validators) {
        if self.issuers[issuer].fault == Some(Fault::NotStarted) {
            let actions = self.on_fetched(worker, issuer, fetch, Err(FetchError::NotStarted));
            return self.perform_fetched(worker, issuer, actions, true);
        }
        self.ledger.fetch_began(issuer, worker, fetch, self.now);
        let slow = self.issuers[issuer].fault == Some(Fault::Slow);
        let delay = if slow { self.workers[worker].settings[issuer].timeout / 2 - LATENCY } else { LATENCY };
        self.schedule_in(delay, Event::Serve { worker, issuer, fetch, validators });
    }

    fn serve(&mut self, worker: usize, issuer: usize, fetch: u64, validators: &Validators) {
        let (delay, response) = match self.issuers[issuer].serve(validators) {
            Some(response) => (LATENCY, response),
            None => {
                let timeout = self.workers[worker].settings[issuer].timeout - LATENCY;
                (timeout, Ok(Response { status: 504, headers: Vec::new(), body: Vec::new() }))
            }
        };
        self.schedule_in(delay, Event::Fetched { worker, issuer, fetch, response });
    }

    fn fetched(&mut self, worker: usize, issuer: usize, fetch: u64, mut response: Result<Response, FetchError>) {
        if let Ok(response) = &mut response {
            Rule::break_response(self.broken, &mut response.body);
        }
        let actions = self.on_fetched(worker, issuer, fetch, response);
        let is_spoiled = self.ledger.fetch_ended(issuer, fetch);
        self.perform_fetched(worker, issuer, actions, is_spoiled);
    }

    /// Shares the result of a fetch. The ledger hears of the pause that follows before requests are answered.
    fn perform_fetched(&mut self, worker: usize, issuer: usize, actions: Vec<Action>, is_spoiled: bool) {
        for action in actions {
            if let Action::Update(provider, update) = action {
                let applied = self.apply(worker, provider.index(), &update);
                match pause(&applied.record, &self.workers[worker].settings[issuer]) {
                    0 => self.ledger.succeeded(issuer),
                    pause if is_spoiled => self.ledger.backed_off(issuer, self.now, pause),
                    _ => {}
                }
                let now = self.clock();
                let actions = self.workers[worker].engine.on_updated(provider, update, applied, now);
                self.perform(worker, actions);
            }
        }
    }

    fn on_fetched(
        &mut self,
        worker: usize,
        issuer: usize,
        fetch: u64,
        response: Result<Response, FetchError>,
    ) -> Vec<Action> {
        let (jitter, now) = (self.random(issuer).u32(..), self.clock());
        self.workers[worker].engine.on_fetched(ProviderId::new(issuer), fetch, response, jitter, now)
    }

    fn reload(&mut self, worker: usize) {
        let settings = self.workers[worker].settings.clone();
        let draining = self.workers[worker].draining;
        let engine = self.engine(&settings);
        self.workers[worker].dead = true;
        self.ledger.vm_died(worker, self.now);
        // A new VM gets a new number, so responses for the old VM do not reach it.
        self.workers.push(Worker { engine, settings, draining, dead: false, tick: None });
        self.workers[worker].draining = true;
        self.tick_in(self.workers.len() - 1, 1);
    }

    /// The root context of an earlier configuration ends.
    fn end(&mut self, worker: usize) {
        if std::mem::replace(&mut self.workers[worker].dead, true) {
            return;
        }
        for (issuer, fetch) in self.ledger.abandoned(worker) {
            let now = self.clock();
            let actions = self.workers[worker].engine.on_abandoned(ProviderId::new(issuer), fetch, now);
            self.perform(worker, actions);
        }
    }

    fn reconfigure(&mut self) {
        for worker in 0..self.workers.len() {
            self.workers[worker].draining = true;
            if self.workers[worker].engine.waiting() == 0 {
                self.end(worker);
            }
        }
        for settings in &mut self.scenario.settings {
            settings.grace = if settings.grace == 0 { 4_000 } else { 0 };
            settings.max_stale = 4_000;
            settings.min_ttl = 1_000;
        }
        self.ledger.reconfigured(&self.scenario.settings, self.now);
        self.start_workers();
    }

    /// Another plugin writes into shared data. It knows the format, but not the secret.
    fn overwrite_record(&mut self, issuer: usize, garbage: u64) {
        let (now, opened) = (self.clock(), self.open(issuer));
        let cell = &mut self.cells[issuer];
        let forged = |body: String, version: u64| {
            let mut record = Record::decode(&opened).unwrap_or_default();
            let mut document = record.document.take().unwrap_or_default();
            (document.body, document.generation, document.fetched_at) = (body.into_bytes().into(), version, now);
            let written_at = record.written_at.max(now);
            Record { version, written_at, document: Some(document), lease: None, ..record }.encode()
        };
        match garbage % 7 {
            0 => cell.record.clear(),
            1 => cell.record.truncate(cell.record.len() / 2),
            2 => cell.record = garbage.to_le_bytes().repeat(20),
            3 => cell.announced = garbage,
            4 => {
                (cell.record, cell.announced) = (forged("<html>".to_owned(), garbage >> 1), garbage >> 1);
            }
            _ if !self.scenario.has_secret => {
                let version = now.as_millis() + 1_000;
                (cell.record, cell.announced) = (forged("<html>".to_owned(), version), version);
            }
            _ => {
                let version = now.as_millis() + 1_000;
                let jwks = format!(r#"{{"keys":[{}]}}"#, keys::jwk(INJECTED, keys::INJECTED));
                (cell.record, cell.announced) = (forged(jwks, version), version);
            }
        }
        self.ledger.record_overwritten(issuer, self.now);
    }

    /// Another plugin cannot forge what the secret authenticates, but can write back what was authentic once.
    fn write_back(&mut self, issuer: usize, draw: u64) {
        let cell = &mut self.cells[issuer];
        let Some((record, announced)) = cell.earlier.get(draw as usize / 3 % cell.earlier.len().max(1)).cloned() else {
            return;
        };
        match draw % 3 {
            0 => cell.record = record,
            1 => cell.announced = announced,
            _ => (cell.record, cell.announced) = (record, announced),
        }
        self.ledger.record_written_back(issuer, self.now);
        // A fetch that has ended is shown as running, to workers that have not seen its end.
        if Record::decode(&self.open(issuer)).is_some_and(|record| record.lease.is_some()) {
            self.ledger.holder_died(issuer, self.now);
        }
    }

    fn inspect(&mut self) {
        for worker in self.workers.iter().filter(|worker| !worker.dead) {
            self.ledger.inspect_worker(worker.engine.waiting());
        }
        self.ledger.inspect(self.now);
    }
}
