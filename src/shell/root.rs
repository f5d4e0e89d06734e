//! The root context: one per worker and configuration. It owns the engine and does what the engine asks for.

use std::{
    cell::{Cell as Mutable, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use log::{error, info, warn};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

use super::{
    host,
    http::Http,
    shared_data::{self, Cell, Queues, Turn, Voice},
};
use crate::{
    config,
    engine::{Action, Engine, FetchError, Response, PARKED_NOW},
    metrics::{Metric, Series},
    rotation::{http_cache::Validators, transition::Event},
    time::UnixTime,
    token::{host_verifier::HostVerifier, ProviderId},
};

/// While requests are parked, a lost wake-up costs no more than this.
const BUSY_TICK: Duration = Duration::from_millis(25);
/// Else no more than this.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Signatures are checked by the host where it can.
type Crypto = HostVerifier<fn(&[u8]) -> Option<Vec<u8>>>;

/// One worker's side of one configuration; shared by the root context and its streams.
pub(super) struct Worker {
    root: u32,
    pub(super) engine: RefCell<Engine<Crypto>>,
    /// Of each provider whose keys are fetched.
    cells: Vec<Option<(Cell, Voice)>>,
    queues: Queues,
    /// Fetches under way: the host's token, and whose they are.
    fetches: RefCell<BTreeMap<u32, (ProviderId, u64)>>,
    counters: Vec<(Metric, u32)>,
    /// Those that there was something to say of so far.
    series: RefCell<BTreeMap<Series, Option<u32>>>,
    measured: Mutable<UnixTime>,
    ticking: Mutable<Option<Duration>>,
}

impl Worker {
    /// Shows the engine the provider's record, if it has not seen this version.
    pub(super) fn look(&self, provider: ProviderId) {
        let Some(Some((cell, _))) = self.cells.get(provider.index()) else { return };
        if cell.version() != self.engine.borrow().version(provider) {
            let bytes = cell.read();
            self.engine.borrow_mut().on_record(provider, &bytes);
        }
    }

    /// From a stream's context: has the root look at what was parked.
    pub(super) fn wake_root(&self) {
        self.queues.wake_self();
        self.tick_in(BUSY_TICK);
    }

    /// From the root's context: does all there is to do now, and sets the next tick.
    fn run(&self) {
        let providers: Vec<_> = self.engine.borrow().plan().remote_ids().collect();
        for provider in providers {
            self.look(provider);
        }
        // Not before the looks: what they show would lie in the future.
        let actions = self.engine.borrow_mut().on_wake(host::now());
        self.perform(actions);
        self.flush_counts();
        self.measure();
        let (waiting, next) = {
            let engine = self.engine.borrow();
            (engine.waiting(), engine.next_timeout(host::now()))
        };
        let most = if waiting > 0 { BUSY_TICK } else { IDLE_TICK };
        self.tick_in(next.map_or(most, |next| next.since(host::now()).clamp(Duration::from_millis(5), most)));
    }

    /// Does what the engine asks for, and what it asks for in turn.
    pub(super) fn perform(&self, actions: Vec<Action>) {
        let mut queue = std::collections::VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Change(provider, event) => queue.extend(self.change(provider, &event)),
                Action::Fetch(provider, fetch, validators) => queue.extend(self.fetch(provider, fetch, &validators)),
                Action::Reply(stream, reply) => {
                    if host::act_for(stream.0).is_ok() {
                        let _ = host::reply(&reply);
                    }
                }
                Action::Resume(stream, edits) => {
                    // A stream that cannot be reached is gone. One that cannot be changed as decided does not go on.
                    if host::act_for(stream.0).is_ok() && (host::edit(&edits).is_err() || host::resume().is_err()) {
                        let _ = host::reply(&host::unavailable());
                    }
                }
                Action::WakeWorkers => self.queues.wake_all(),
            }
        }
        let _ = host::act_for(self.root);
    }

    fn change(&self, provider: ProviderId, event: &Event) -> Vec<Action> {
        let changed = {
            let engine = self.engine.borrow();
            let (Some(remote), Some(Some((cell, _)))) =
                (engine.plan().remote(provider), self.cells.get(provider.index()))
            else {
                return Vec::new();
            };
            cell.change(event, &remote.terms, host::now)
        };
        match changed {
            Some((record, effect)) => self.engine.borrow_mut().on_changed(provider, record, effect, host::now()),
            None => Vec::new(),
        }
    }

    fn fetch(&self, provider: ProviderId, fetch: u64, validators: &Validators) -> Vec<Action> {
        let _ = host::act_for(self.root);
        let started = self.engine.borrow().plan().remote(provider).map(|remote| host::fetch(remote, validators));
        match started {
            Some(Ok(token)) => {
                self.fetches.borrow_mut().insert(token, (provider, fetch));
                Vec::new()
            }
            Some(Err(_)) | None => self.fetched(provider, fetch, Err(FetchError::NotStarted)),
        }
    }

    fn fetched(&self, provider: ProviderId, fetch: u64, response: Result<Response, FetchError>) -> Vec<Action> {
        let now = host::now();
        self.engine.borrow_mut().on_fetched(provider, fetch, response, host::random(fetch), now)
    }

    /// This context ends, and with it its fetches: nobody shall wait for their leases.
    fn abandon(&self) {
        let fetches = std::mem::take(&mut *self.fetches.borrow_mut());
        for (provider, fetch) in fetches.into_values() {
            for action in self.fetched(provider, fetch, Err(FetchError::Abandoned)) {
                if let Action::Change(provider, event) = action {
                    self.change(provider, &event);
                }
            }
            self.queues.wake_all();
        }
    }

    pub(super) fn flush_counts(&self) {
        let counts = self.engine.borrow_mut().take_counts();
        for (metric, times) in counts.iter() {
            if let Some((_, id)) = self.counters.iter().find(|(own, _)| *own == metric) {
                host::count(*id, times);
            }
        }
        for (series, times) in counts.of_providers() {
            if let Some(id) = self.series(series, host::define_counter) {
                host::count(id, times);
            }
        }
        for (series, millis) in counts.times() {
            if let Some(id) = self.series(series, host::define_histogram) {
                host::record(id, millis);
            }
        }
    }

    /// Sets the gauges, once a second, unless a newer configuration does.
    fn measure(&self) {
        let now = host::now();
        let last = self.measured.get();
        if last <= now && now.since(last) < Duration::from_secs(1) {
            return;
        }
        self.measured.set(now);
        let gauges = self.engine.borrow().gauges(now);
        self.set_gauges(gauges, now, |provider, voice| {
            let turn = voice.turn(self.queues.worker(), now);
            if turn == Turn::Begins {
                self.engine.borrow().tell_revoked(provider);
            }
            turn != Turn::IsSilent
        });
    }

    /// This context ends. If nobody has taken its gauges over, they shall not stay as they are.
    fn stop_measuring(&self) {
        // A context that was made only to try the configuration out never had any.
        if self.measured.get() != UnixTime::default() {
            let (gauges, now) = (self.engine.borrow().gauges_when_over(), host::now());
            self.set_gauges(gauges, now, |_, voice| voice.resign(self.queues.worker(), now));
        }
    }

    /// Sets those of the providers for which this configuration speaks.
    fn set_gauges(
        &self,
        mut gauges: Vec<(Series, u64)>,
        now: UnixTime,
        may_speak: impl Fn(ProviderId, &Voice) -> bool,
    ) {
        let mut speaks = vec![false; self.cells.len()];
        for ((place, cell), speaks) in self.cells.iter().enumerate().zip(&mut speaks) {
            let (Some((cell, voice)), provider) = (cell, ProviderId::new(place)) else { continue };
            *speaks = may_speak(provider, voice);
            let waiting = u32::try_from(self.engine.borrow().waiting_for(provider)).unwrap_or(u32::MAX);
            let value = cell.share_parked(self.queues.worker(), waiting, now);
            gauges.push((Series { provider, family: PARKED_NOW, value: "" }, value));
        }
        gauges.retain(|(series, _)| speaks.get(series.provider.index()).is_some_and(|speaks| *speaks));
        for (series, value) in gauges {
            if let Some(id) = self.series(series, host::define_gauge) {
                host::record(id, value);
            }
        }
    }

    fn series(&self, series: Series, define: fn(&str) -> Option<u32>) -> Option<u32> {
        if let Some(known) = self.series.borrow().get(&series) {
            return *known;
        }
        let name = {
            let engine = self.engine.borrow();
            let plan = engine.plan();
            series.name(&plan.stat_prefix, &plan.provider(series.provider)?.name)
        };
        let id = define(&name);
        self.series.borrow_mut().insert(series, id);
        id
    }

    /// Setting a period starts the wait anew, so it is set only when it changes.
    fn tick_in(&self, period: Duration) {
        if self.ticking.replace(Some(period)) != Some(period) {
            host::tick_in(period);
        }
    }
}

/// The root context.
pub(super) struct Root {
    id: u32,
    worker: Option<Rc<Worker>>,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self { id, worker: None }
    }
}

impl RootContext for Root {
    /// Reads the configuration. Nothing is fetched here: this also runs in a VM that is made only to try the
    /// configuration out, and a lease that it took would keep the others waiting.
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = host::configuration(size);
        let plan = match config::parse(&configuration) {
            Ok(plan) => plan,
            Err(mistake) => {
                error!("jwks-gate: the configuration is refused: {mistake}");
                return false;
            }
        };
        for warning in &plan.warnings {
            warn!("jwks-gate: {warning}");
        }
        let crypto = if plan.use_host_crypto { Crypto::new } else { Crypto::disabled }(host::verify_signature);
        let by_host = match crypto.trusted() {
            [] => "none".to_owned(),
            trusted => trusted.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" "),
        };
        info!("jwks-gate: signatures checked by the host: {by_host}; all others by the VM");
        let plugin = [host::property("plugin_name"), b"/".to_vec(), host::property("plugin_root_id")].concat();
        let digest = shared_data::digest(&configuration);
        let cells = (0..plan.providers.len()).map(ProviderId::new).map(|id| {
            let own = plan.provider(id)?;
            let cell = Cell::new(&plugin, &own.name, own.issuer().unwrap_or_default(), plan.remote(id)?);
            Some((cell, Voice::new(&plugin, &plan.stat_prefix, &own.name, digest)))
        });
        let counters =
            Metric::all().filter_map(|metric| Some((metric, host::define_counter(&metric.name(&plan.stat_prefix))?)));
        let worker = Worker {
            root: self.id,
            cells: cells.collect(),
            queues: Queues::register(&plugin),
            fetches: RefCell::default(),
            counters: counters.collect(),
            series: RefCell::default(),
            measured: Mutable::default(),
            ticking: Mutable::default(),
            engine: RefCell::new(Engine::new(plan, crypto)),
        };
        worker.tick_in(Duration::from_millis(1));
        self.worker = Some(Rc::new(worker));
        true
    }

    fn on_tick(&mut self) {
        if let Some(worker) = &self.worker {
            worker.run();
        }
    }

    fn on_queue_ready(&mut self, _queue: u32) {
        if let Some(worker) = &self.worker {
            worker.queues.drain();
            worker.run();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(id, self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        let Some(worker) = &self.worker else { return };
        let Some((provider, fetch)) = worker.fetches.borrow_mut().remove(&token) else { return };
        let max_body =
            worker.engine.borrow().plan().remote(provider).map_or(0, |remote| remote.terms.limits.max_document_bytes);
        worker.perform(worker.fetched(provider, fetch, host::fetched(headers, body, max_body)));
        worker.run();
    }
}

/// The host says so by `proxy_on_delete`. Its `proxy_on_done` would come before, for each stream too, and is not exported.
impl Drop for Root {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.flush_counts();
            worker.queues.unregister();
            worker.abandon();
            worker.stop_measuring();
        }
    }
}
