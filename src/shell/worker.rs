//! One worker's side of one configuration, shared by its root context and its streams.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use super::{
    gauge_owner::{self, Claim, GaugeOwnership},
    host,
    key_cell::KeyCell,
    shared_data::SharedData,
    stats::Stats,
    wakeups::Wakeups,
};
use crate::{
    engine::{Action, Engine, FetchError, Plan, ProviderId, Response, Update, Validators},
    ids::ProviderMap,
    metrics::{Gauge, ProviderStat, Series},
    time::UnixTime,
    token::host_verifier::HostVerifier,
};

/// How often the gauges are set.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// Checks signatures by the host where it can.
pub(super) type Verifier = HostVerifier<fn(&[u8]) -> Option<Vec<u8>>>;

/// The shared keys of a provider, and its gauges.
struct RemoteCell {
    keys: KeyCell,
    gauges: GaugeOwnership,
}

/// One worker's side of one configuration.
pub(super) struct Worker {
    root: u32,
    pub(super) engine: RefCell<Engine<Verifier>>,
    /// `None`: the provider's keys are part of the configuration.
    cells: ProviderMap<Option<RemoteCell>>,
    wakeups: Wakeups,
    data: Rc<SharedData>,
    /// The fetches under way, by the host's token.
    fetches: RefCell<BTreeMap<u32, (ProviderId, u64)>>,
    stats: Stats,
    gauges_set_at: Cell<UnixTime>,
    tick: Cell<Option<Duration>>,
}

impl Worker {
    pub(super) fn new(root: u32, plan: Plan, verifier: Verifier, configuration: &[u8]) -> Self {
        let plugin = [host::property("plugin_name"), b"/".to_vec(), host::property("plugin_root_id")].concat();
        let plugin = match &plan.seal {
            Some(seal) => seal.name(&plugin),
            None => plugin,
        };
        let digest = gauge_owner::digest(configuration);
        let data = Rc::new(SharedData::new(plan.seal.clone()));
        let cells = plan.providers.map(|_, provider| {
            let issuer = provider.issuer().unwrap_or_default();
            Some(RemoteCell {
                keys: KeyCell::new(data.clone(), &plugin, &provider.name, issuer, provider.remote()?),
                gauges: GaugeOwnership::new(data.clone(), &plugin, &plan.stat_prefix, &provider.name, digest),
            })
        });
        Self {
            root,
            cells,
            wakeups: Wakeups::register(data.clone(), &plugin),
            data,
            fetches: RefCell::default(),
            stats: Stats::define(&plan),
            gauges_set_at: Cell::default(),
            tick: Cell::default(),
            engine: RefCell::new(Engine::new(plan, verifier)),
        }
    }

    /// Gives the engine the provider's record, if the engine does not have its version.
    pub(super) fn sync(&self, provider: ProviderId) {
        let Some(cell) = &self.cells[provider] else { return };
        if cell.keys.version() != self.engine.borrow().version(provider) {
            let bytes = cell.keys.read();
            self.engine.borrow_mut().on_record(provider, &bytes, host::now());
        }
    }

    /// From a stream's context: a request was parked, and the root context starts the fetch.
    pub(super) fn wake_root(&self) {
        self.wakeups.wake_self();
        self.set_tick(self.engine.borrow().tick_when_parked());
    }

    /// From the root context: does all there is to do now, and sets the next tick.
    pub(super) fn run(&self) {
        for provider in self.cells.ids() {
            self.sync(provider);
        }
        // The time is read after the records: what they say would lie in the future otherwise.
        let actions = self.engine.borrow_mut().on_wake(host::now());
        self.perform(actions);
        self.flush_counts();
        self.set_gauges();
        self.set_tick(self.engine.borrow().next_tick(host::now()));
    }

    /// A message in this worker's queue.
    pub(super) fn on_queue_ready(&self) {
        self.wakeups.drain();
        self.run();
    }

    /// The end of a fetch, by the host's token. `headers` and `body` are the counts of its callback.
    pub(super) fn on_http_call_response(&self, token: u32, headers: usize, body: usize) {
        let Some((provider, fetch)) = self.fetches.borrow_mut().remove(&token) else { return };
        let limit =
            self.engine.borrow().plan().remote(provider).map_or(0, |remote| remote.rotation.limits.max_document_bytes);
        let response = host::fetched(headers, body, limit);
        self.perform(self.on_fetched(provider, fetch, response));
        self.run();
    }

    /// Does what the engine asks for, and what follows from that.
    fn perform(&self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Update(provider, update) => queue.extend(self.update(provider, update)),
                Action::Fetch(provider, fetch, validators) => queue.extend(self.fetch(provider, fetch, &validators)),
                Action::Reply(stream, reply) => {
                    if host::act_for(stream.0).is_ok() {
                        let _ = host::reply(&reply);
                    }
                }
                Action::Resume(stream, edits, _) => {
                    // A stream that cannot be reached is gone. A request that cannot be changed as decided does not go on.
                    if host::act_for(stream.0).is_ok() && (host::edit(&edits).is_err() || host::resume().is_err()) {
                        let _ = host::reply(&host::unavailable());
                    }
                }
                Action::WakeWorkers => self.wakeups.wake_all(),
            }
        }
        let _ = host::act_for(self.root);
    }

    fn update(&self, provider: ProviderId, update: Box<Update>) -> Vec<Action> {
        let applied = self.cells[provider].as_ref().and_then(|cell| cell.keys.apply(&update, host::now));
        match applied {
            Some(applied) => self.engine.borrow_mut().on_updated(provider, update, applied, host::now()),
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
            Some(Err(_)) | None => self.on_fetched(provider, fetch, Err(FetchError::NotStarted)),
        }
    }

    fn on_fetched(&self, provider: ProviderId, fetch: u64, response: Result<Response, FetchError>) -> Vec<Action> {
        self.engine.borrow_mut().on_fetched(provider, fetch, response, host::random(fetch), host::now())
    }

    pub(super) fn flush_counts(&self) {
        let rejected = self.data.take_rejected();
        let counts = self.engine.borrow_mut().take_counts(rejected);
        self.stats.add(&counts, self.engine.borrow().plan());
    }

    /// Sets the gauges of the providers that this configuration owns.
    fn set_gauges(&self) {
        let (now, last) = (host::now(), self.gauges_set_at.get());
        if last <= now && now.since(last) < GAUGE_INTERVAL {
            return;
        }
        self.gauges_set_at.set(now);
        let gauges = self.engine.borrow().gauges(now);
        self.write_gauges(gauges, now, |provider, gauges| {
            let claim = gauges.claim(self.wakeups.worker(), now);
            if claim == Claim::Acquired {
                self.engine.borrow().log_revoked(provider);
            }
            claim != Claim::NotOwner
        });
    }

    /// Writes the gauges of the providers for which `is_owner` says so.
    fn write_gauges(
        &self,
        gauges: Vec<(Series, u64)>,
        now: UnixTime,
        is_owner: impl Fn(ProviderId, &GaugeOwnership) -> bool,
    ) {
        let engine = self.engine.borrow();
        let owned = self.cells.map(|provider, cell| {
            let Some(cell) = cell else { return false };
            let parked = u32::try_from(engine.waiting_for(provider)).unwrap_or(u32::MAX);
            let total = cell.keys.share_parked(self.wakeups.worker(), parked, now);
            let is_owner = is_owner(provider, &cell.gauges);
            if is_owner {
                let stat = ProviderStat::Gauge(Gauge::ParkedNow);
                self.stats.set(Series { provider, stat }, total, engine.plan());
            }
            is_owner
        });
        for (series, value) in gauges.into_iter().filter(|(series, _)| owned[series.provider]) {
            self.stats.set(series, value, engine.plan());
        }
    }

    /// The period is set only when it changes, since setting it begins the wait anew.
    pub(super) fn set_tick(&self, period: Duration) {
        if self.tick.replace(Some(period)) != Some(period) {
            host::tick_in(period);
        }
    }

    /// The context ends: ends its leases, so that nobody waits for its fetches, and the gauges that nobody takes over.
    pub(super) fn end(&self) {
        self.flush_counts();
        self.wakeups.unregister();
        let fetches = std::mem::take(&mut *self.fetches.borrow_mut());
        for (provider, fetch) in fetches.into_values() {
            self.perform(self.on_fetched(provider, fetch, Err(FetchError::Abandoned)));
        }
        // A context that was made only to try the configuration out never set a gauge.
        if self.gauges_set_at.get() != UnixTime::default() {
            let (gauges, now) = (self.engine.borrow().gauges_when_over(), host::now());
            self.write_gauges(gauges, now, |_, gauges| gauges.release(self.wakeups.worker(), now));
        }
    }
}
