//! Workers, issuers, shared data and the network between them, under a virtual clock. What the shell does in Envoy, this
//! does here: it decides nothing, but wake-ups get lost, holders die, and the clock steps.

use std::collections::BTreeMap;

use fastrand::Rng;
use jwks_gate::{
    config,
    engine::{
        Action, Applied, Decision, Engine, FetchError, Headers, ProviderId, Reply, Response, StreamId, Update,
        Validators,
    },
    rotation::{
        record::Record,
        transition::{self, Cause, Effect},
    },
    shared::announcement,
    time::UnixTime,
};

use crate::{
    broken::Rule,
    invariants::{Ledger, Request},
    issuer::{Fault, Issuer, Rotation},
    keys::{self, Check},
    scenario::{Kind, Scenario, Terms},
};

/// Where the proxies' clock begins; true time begins at zero.
const EPOCH: u64 = 1_800_000_000_000;
pub const LATENCY: u64 = 20;

fn millis(time: std::time::Duration) -> u64 {
    time.as_millis() as u64
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request; its client may lose patience. `draw` says what else is left to chance: worker and unknown `kid`.
    Request {
        issuer: usize,
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
    /// The clock jumps by so many milliseconds.
    StepClock(i64),
    /// A worker's VM traps and is made anew; what waited in it is lost.
    Reload(usize),
    /// New terms: every worker gets a new engine, the old ones end when nothing waits in them.
    Reconfigure,
    /// A VM takes the lease and dies.
    Canary(usize),
    /// Another plugin writes into our shared data.
    Scribble(usize, u64),
    /// The rest follows from what the engines ask for.
    Tick {
        worker: usize,
        number: u64,
    },
    Wake(usize),
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

/// A root context with its engine.
struct Worker {
    engine: Engine<Check>,
    terms: Vec<Terms>,
    /// Takes no new requests.
    draining: bool,
    dead: bool,
    tick: Option<(u64, u64)>,
}

/// An issuer's part of shared data.
#[derive(Default)]
struct Cell {
    record: Vec<u8>,
    announced: u64,
}

pub struct World {
    scenario: Scenario,
    broken: Option<Rule>,
    now: u64,
    skew: i64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    workers: Vec<Worker>,
    cells: Vec<Cell>,
    pub issuers: Vec<Issuer>,
    pub ledger: Ledger,
    streams: u32,
    /// Prints what happens.
    pub is_told: bool,
}

impl World {
    pub fn new(scenario: Scenario, broken: Option<Rule>) -> Self {
        let issuers = scenario.cache.iter().enumerate().map(|(number, cache)| Issuer::new(number, *cache)).collect();
        let ledger = Ledger::new(&scenario);
        let mut world = Self {
            broken,
            now: 0,
            skew: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            workers: Vec::new(),
            cells: scenario.terms.iter().map(|_| Cell::default()).collect(),
            issuers,
            ledger,
            streams: 0,
            is_told: false,
            scenario,
        };
        for (at, what) in std::mem::take(&mut world.scenario.events) {
            world.at(at, what);
        }
        for at in (500..world.scenario.length + 30_000).step_by(500) {
            world.at(at, Event::Inspect);
        }
        world.start_workers();
        world
    }

    pub fn terms(&self) -> &[Terms] {
        &self.scenario.terms
    }

    /// Runs to the end, or to the first invariant that does not hold.
    pub fn run(&mut self) -> Result<(), String> {
        // Long enough for everything that waits at the end.
        let end = self.scenario.length + 30_000;
        while let Some(((at, _), what)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            if self.is_told && !matches!(what, Event::Tick { .. } | Event::Wake(_) | Event::Inspect) {
                match &what {
                    Event::Fetched { issuer, response, .. } => {
                        println!(
                            "{at:>6} Fetched for {issuer}: {:?}",
                            response.as_ref().map(|response| response.status)
                        );
                    }
                    what => println!("{at:>6} {what:?}"),
                }
            }
            self.happen(what);
            self.ledger.verdict()?;
        }
        self.ledger.finish(self.now);
        self.ledger.verdict()
    }

    fn at(&mut self, at: u64, what: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), what);
    }

    fn after(&mut self, delay: u64, what: Event) {
        self.at(self.now + delay, what);
    }

    fn clock(&self) -> UnixTime {
        UnixTime::from_millis((EPOCH + self.now).saturating_add_signed(self.skew))
    }

    fn start_workers(&mut self) {
        for _ in 0..self.scenario.workers {
            let terms = self.scenario.terms.clone();
            let engine = self.engine(&terms);
            self.workers.push(Worker { engine, terms, draining: false, dead: false, tick: None });
            self.tick_in(self.workers.len() - 1, 1);
        }
    }

    fn engine(&self, terms: &[Terms]) -> Engine<Check> {
        let mut terms = terms.to_vec();
        let mut max_parked = self.scenario.max_parked;
        Rule::bend(self.broken, &mut terms, &mut max_parked);
        let configuration = Scenario::configuration(&terms, max_parked).to_string();
        let plan = config::parse(configuration.as_bytes()).expect("a good configuration");
        Engine::new(plan, Check { accepts_anything: self.broken == Some(Rule::SignaturesAreChecked) })
    }

    fn happen(&mut self, what: Event) {
        match what {
            Event::Request { issuer, kind, patience, draw } => self.request(issuer, kind, patience, draw),
            Event::Rotate(issuer, rotation) => {
                self.issuers[issuer].rotate(rotation, self.now);
                if rotation == Rotation::SameKid {
                    self.ledger.renamed(issuer, self.now);
                }
            }
            Event::Break(issuer, fault) => {
                self.issuers[issuer].fault = Some(fault);
                self.ledger.trouble_begins(issuer, self.now);
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
            Event::Scribble(issuer, garbage) => self.scribble(issuer, garbage),
            Event::Tick { worker, number } => {
                if !self.workers[worker].dead && self.workers[worker].tick.is_some_and(|(_, own)| own == number) {
                    self.workers[worker].tick = None;
                    if self.broken != Some(Rule::WorkersLookAgain) {
                        self.run_worker(worker);
                    }
                }
            }
            Event::Wake(worker) => {
                if !self.workers[worker].dead {
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
                self.ledger.fetch_ended(issuer, fetch);
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

    fn request(&mut self, issuer: usize, kind: Kind, patience: Option<u64>, draw: usize) {
        let taking: Vec<_> = (0..self.workers.len()).filter(|w| !self.workers[*w].draining).collect();
        let worker = taking[draw % taking.len()];
        self.streams += 1;
        let stream = self.streams;
        let own = &self.issuers[issuer];
        let key = match kind {
            Kind::Good | Kind::Forged => own.current,
            Kind::Old => own.current.saturating_sub(1),
            Kind::Unknown => own.current,
        };
        let published = &own.history[key];
        let token = match kind {
            Kind::Good | Kind::Old => keys::token(&own.name, &published.kid, Some(published.material)),
            Kind::Unknown => keys::token(&own.name, &format!("unknown-{draw}"), None),
            Kind::Forged => keys::token(&own.name, &published.kid, None),
        };
        let list = [
            (":path".to_owned(), format!("/i{issuer}/").into_bytes()),
            ("authorization".to_owned(), format!("Bearer {token}").into_bytes()),
        ];
        let headers = Headers::new(&list);
        let resolved = self.workers[worker].engine.resolve(headers);
        assert_eq!(resolved.providers(), [ProviderId::new(issuer)]);
        self.look(worker, issuer);
        let request =
            Request { issuer, kind, key, arrived: self.now, terms: self.workers[worker].terms[issuer].clone() };
        self.ledger.arrived(worker, stream, request);
        let now = self.clock();
        let mut decision = self.workers[worker].engine.on_request(StreamId(stream), resolved, headers, now);
        if self.broken == Some(Rule::UnknownKeysAreAskedFor) && matches!(decision, Decision::Park) && self.now > 2_000 {
            decision = Decision::Reply(Reply {
                status: 401,
                headers: Vec::new(),
                body: "not known".into(),
                state: Vec::new(),
            });
        }
        match decision {
            Decision::Continue(..) | Decision::ContinueAndEvaluate(..) => self.answered(worker, stream, 200, ""),
            Decision::Reply(reply) => self.answered(worker, stream, reply.status, &reply.body),
            Decision::Park => {
                self.ledger.parked(worker, stream);
                self.wake(worker, 0);
                let tick = self.workers[worker].engine.tick_when_parked();
                self.tick_in(worker, millis(tick));
                if let Some(patience) = patience {
                    self.after(patience, Event::Leave { worker, stream });
                }
            }
        }
    }

    fn answered(&mut self, worker: usize, stream: u32, status: u16, body: &str) {
        if self.is_told {
            println!("{:>6}   stream {stream}: {status} {body}", self.now);
        }
        self.ledger.answered(worker, stream, status, body, self.now, &self.issuers);
        self.after(1, Event::Leave { worker, stream });
    }

    /// As the shell: look at everything, do what is due, set the next tick.
    fn run_worker(&mut self, worker: usize) {
        for issuer in 0..self.cells.len() {
            self.look(worker, issuer);
        }
        let now = self.clock();
        let actions = self.workers[worker].engine.on_wake(now);
        self.perform(worker, actions);
        if self.workers[worker].draining && self.workers[worker].engine.waiting() == 0 {
            return;
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
        self.at(at + late, Event::Tick { worker, number });
    }

    /// Chance depends on when and where only, not on what happens elsewhere.
    fn chance(&self, place: usize) -> Rng {
        Rng::with_seed(self.scenario.seed ^ (self.now << 16) ^ place as u64)
    }

    /// By how much a worker's event loop is behind now.
    fn lateness(&self, worker: usize) -> u64 {
        self.chance(worker ^ 0x100).u64(0..=self.scenario.lateness)
    }

    fn wake(&mut self, worker: usize, most: u64) {
        // One in ten gets lost.
        let mut chance = self.chance(worker);
        if chance.u8(0..10) > 0 {
            let delay = chance.u64(0..=most) + self.lateness(worker);
            self.after(delay, Event::Wake(worker));
        }
    }

    fn look(&mut self, worker: usize, issuer: usize) {
        let provider = ProviderId::new(issuer);
        let cell = &self.cells[issuer];
        if cell.announced != self.workers[worker].engine.version(provider) {
            self.workers[worker].engine.on_record(provider, &cell.record);
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
                Action::WakeWorkers => {
                    for worker in 0..self.workers.len() {
                        self.wake(worker, 3);
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

    /// An update of the shared bytes, as under compare-and-swap. A broken rule changes the bytes before or after.
    fn apply(&mut self, worker: usize, issuer: usize, update: &Update) -> Applied {
        let found = match update.cause() {
            Some(_) => Rule::forget(self.broken, &self.cells[issuer].record),
            None => self.cells[issuer].record.clone(),
        };
        let mut applied = update.apply(Some(&found), self.clock());
        if matches!(applied.effect, Effect::Fetch(_)) && update.cause().is_some_and(|cause| cause != Cause::Schedule) {
            self.ledger.asked_for_a_key(issuer, self.now, &self.workers[worker].terms[issuer]);
        }
        if applied.bytes.is_some() && self.broken == Some(Rule::IssuersAreIndependent) {
            // One back-off for all.
            let now = self.clock();
            let others = self.cells.iter().filter_map(|cell| Record::decode(&cell.record));
            let pauses = others.map(|record| record.retry_at().since(now)).chain([applied.record.pause]);
            applied.record.pause = pauses.max().unwrap_or_default();
            applied.record.failed_at = now;
            applied.bytes = Some(applied.record.encode());
        }
        let Some(bytes) = applied.bytes.take() else { return applied };
        self.cells[issuer].record = bytes;
        self.ledger.stored(issuer, self.cells[issuer].record.len());
        let mut chance = self.chance(issuer);
        let delay = if chance.u8(0..5) == 0 { chance.u64(1..5) } else { 0 };
        if delay == 0 {
            self.announce(issuer, applied.record.version);
        } else {
            self.after(delay, Event::Announce { issuer, version: applied.record.version });
        }
        applied
    }

    fn announce(&mut self, issuer: usize, version: u64) {
        let cell = &mut self.cells[issuer];
        let current = || Record::decode(&cell.record).map_or(0, |record| record.version);
        if announcement::is_due(version, cell.announced, current) {
            cell.announced = version;
        }
    }

    fn fetch(&mut self, worker: usize, issuer: usize, fetch: u64, validators: Validators) {
        if self.issuers[issuer].fault == Some(Fault::NotStarted) {
            let actions = self.on_fetched(worker, issuer, fetch, Err(FetchError::NotStarted));
            return self.perform(worker, actions);
        }
        self.ledger.fetch_began(issuer, worker, fetch, self.now);
        let slow = self.issuers[issuer].fault == Some(Fault::Slow);
        let way = if slow { self.workers[worker].terms[issuer].timeout / 2 - LATENCY } else { LATENCY };
        self.after(way, Event::Serve { worker, issuer, fetch, validators });
    }

    fn serve(&mut self, worker: usize, issuer: usize, fetch: u64, validators: &Validators) {
        let (back, response) = match self.issuers[issuer].serve(validators) {
            Some(response) => (LATENCY, response),
            None => {
                let timeout = self.workers[worker].terms[issuer].timeout - LATENCY;
                (timeout, Ok(Response { status: 504, headers: Vec::new(), body: Vec::new() }))
            }
        };
        self.after(back, Event::Fetched { worker, issuer, fetch, response });
    }

    fn fetched(&mut self, worker: usize, issuer: usize, fetch: u64, response: Result<Response, FetchError>) {
        let actions = self.on_fetched(worker, issuer, fetch, response);
        self.perform(worker, actions);
    }

    fn on_fetched(
        &mut self,
        worker: usize,
        issuer: usize,
        fetch: u64,
        response: Result<Response, FetchError>,
    ) -> Vec<Action> {
        let (jitter, now) = (self.chance(issuer).u32(..), self.clock());
        self.workers[worker].engine.on_fetched(ProviderId::new(issuer), fetch, response, jitter, now)
    }

    fn reload(&mut self, worker: usize) {
        let terms = self.workers[worker].terms.clone();
        let draining = self.workers[worker].draining;
        let engine = self.engine(&terms);
        self.workers[worker].dead = true;
        self.ledger.vm_died(worker, self.now);
        // A new VM has a number of its own: nothing that was under way finds it.
        self.workers.push(Worker { engine, terms, draining, dead: false, tick: None });
        self.workers[worker].draining = true;
        self.tick_in(self.workers.len() - 1, 1);
    }

    fn reconfigure(&mut self) {
        for worker in &mut self.workers {
            worker.draining = true;
        }
        for terms in &mut self.scenario.terms {
            terms.grace = if terms.grace == 0 { 4_000 } else { 0 };
            terms.max_stale = 4_000;
            terms.min_ttl = 1_000;
        }
        self.ledger.reconfigured(&self.scenario.terms);
        self.start_workers();
    }

    fn scribble(&mut self, issuer: usize, garbage: u64) {
        let cell = &mut self.cells[issuer];
        match garbage % 5 {
            0 => cell.record.clear(),
            1 => cell.record.truncate(cell.record.len() / 2),
            2 => cell.record = garbage.to_le_bytes().repeat(20),
            3 => cell.announced = garbage,
            _ => {
                // Well-formed, but what it holds is no JWKS.
                let mut record = Record::decode(&cell.record).unwrap_or_default();
                if let Some(document) = &mut record.document {
                    document.body = b"<html>"[..].into();
                    document.generation = garbage;
                }
                record.version = garbage >> 1;
                cell.record = record.encode();
                cell.announced = record.version;
            }
        }
        self.ledger.scribbled(issuer, self.now);
    }

    fn inspect(&mut self) {
        for worker in self.workers.iter().filter(|worker| !worker.dead) {
            self.ledger.inspect_worker(worker.engine.waiting());
        }
        self.ledger.inspect(self.now);
    }
}
