//! Workers, issuers, shared data and the network between them, under a virtual clock. This module takes the part of the
//! shell and decides nothing. It loses wake-ups, ends lease holders and steps the clock.

mod adversary;
mod life;
mod network;
mod requests;
mod shared_data;

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
    invariants::{self, Ledger, Request, Token},
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
/// back-off, or of the interval that a failed fetch has used: the longest of the record's providers.
fn pause(record: &Record, all: &[Settings], source: usize) -> u64 {
    if record.failures == 0 {
        return 0;
    }
    let interval = invariants::sharing(all, source).map(|settings| settings.interval).max().unwrap_or(0);
    let interval = std::time::Duration::from_millis(interval);
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
    /// A request with two tokens arrives, of which all are required, or any.
    Pair {
        tokens: [(usize, Kind); 2],
        all: bool,
        client: u64,
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
    /// With the record that changed, if there is news.
    Wake(usize, Option<usize>),
    Serve {
        worker: usize,
        provider: usize,
        fetch: u64,
        is_mirror: bool,
        validators: Validators,
    },
    Fetched {
        worker: usize,
        provider: usize,
        fetch: u64,
        response: Result<Response, FetchError>,
    },
    Announce {
        cell: usize,
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
    has_clock_steps: bool,
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
            has_clock_steps: scenario.events.iter().any(|(_, event)| matches!(event, Event::StepClock(_))),
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
                    Event::Fetched { provider, response, .. } => {
                        println!(
                            "{at:>6} Fetched for {provider}: {:?}",
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

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request { issuer, client, kind, patience, draw } => {
                self.request(&format!("/i{issuer}/"), &[(issuer, kind)], true, client, patience, draw);
            }
            Event::Pair { tokens, all, client, draw } => {
                let [low, high] = [tokens[0].0.min(tokens[1].0), tokens[0].0.max(tokens[1].0)];
                let path = format!("/{}/{low}/{high}/", if all { "all" } else { "any" });
                self.request(&path, &tokens, all, client, None, draw);
            }
            Event::Rotate(issuer, rotation) => {
                self.issuers[issuer].rotate(rotation, self.now);
                if rotation == Rotation::SameKid {
                    self.ledger.renamed(issuer, self.now);
                }
            }
            Event::Break(issuer, fault) => {
                self.issuers[issuer].fault = Some(fault);
                if !self.is_saved_by_mirror(issuer) {
                    self.ledger.trouble_begins(issuer);
                }
            }
            Event::Heal(issuer) => {
                if !self.is_saved_by_mirror(issuer) {
                    self.ledger.trouble_ends(issuer, self.now);
                }
                self.issuers[issuer].fault = None;
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
                    for provider in news.map_or(Vec::new(), |cell| self.providers(cell)) {
                        self.workers[worker].engine.on_news(provider, now);
                    }
                    self.run_worker(worker);
                }
            }
            Event::Serve { worker, provider, fetch, is_mirror, validators } => {
                self.serve(worker, provider, fetch, is_mirror, &validators);
            }
            Event::Fetched { worker, provider, fetch, response } => {
                if self.workers[worker].dead {
                    return;
                }
                self.fetched(worker, provider, fetch, response);
                self.run_worker(worker);
            }
            Event::Announce { cell, version } => self.announce(cell, version),
            Event::Leave { worker, stream } => {
                self.workers[worker].engine.on_stream_end(StreamId(stream));
                self.ledger.left(worker, stream);
            }
            Event::Inspect => self.inspect(),
        }
    }

    /// Does what the shell does on a tick: syncs the key sets that are due, performs the due actions, sets the next tick.
    fn run_worker(&mut self, worker: usize) {
        let now = self.clock();
        let due = self.workers[worker].engine.due(now);
        self.looks += due.len();
        for provider in due {
            if self.hears_of_records(provider.index()) {
                self.sync(worker, provider.index());
            }
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

    fn wake(&mut self, worker: usize, news: Option<usize>, most: u64) {
        // One wake-up in ten is lost.
        let mut random = self.random(worker);
        if random.u8(0..10) > 0 {
            let delay = random.u64(0..=most) + self.lateness(worker);
            self.schedule_in(delay, Event::Wake(worker, news));
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
                Action::Fetch(provider, fetch, request) => self.fetch(worker, provider.index(), fetch, request),
                Action::Reply(stream, reply) => self.answer(worker, stream.0, reply.status, &reply.body),
                Action::Resume(stream, ..) => self.answer(worker, stream.0, 200, ""),
                Action::WakeWorkers(provider) => {
                    for worker in 0..self.workers.len() {
                        self.wake(worker, Some(self.cell(provider.index())), 3);
                    }
                }
            }
        }
    }

    /// Whose keys a provider fetches.
    fn source(&self, provider: usize) -> usize {
        self.scenario.settings[provider].source
    }

    /// The number of a provider's record.
    fn cell(&self, provider: usize) -> usize {
        match self.broken {
            Some(Rule::ProvidersShareRecords) => provider,
            _ => self.source(provider),
        }
    }

    /// The providers that hear of a change of this record.
    fn providers(&self, cell: usize) -> Vec<ProviderId> {
        let all = 0..self.scenario.settings.len();
        all.filter(|provider| self.cell(*provider) == cell && self.hears_of_records(*provider))
            .map(ProviderId::new)
            .collect()
    }

    fn hears_of_records(&self, provider: usize) -> bool {
        self.broken != Some(Rule::NewsReachesAllProviders) || self.source(provider) == provider
    }

    fn inspect(&mut self) {
        for worker in self.workers.iter().filter(|worker| !worker.dead) {
            self.ledger.inspect_worker(worker.engine.waiting());
        }
        self.ledger.inspect(self.now);
    }
}
