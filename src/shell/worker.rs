//! One worker's side of one configuration, shared by its root context and its streams.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use super::{
    abi, host,
    key_cell::{self, KeyCell},
    peers::Peers,
    shared_data::SharedData,
    stats::Stats,
};
use crate::{
    engine::{Action, Edits, Engine, FetchError, FetchRequest, Plan, ProviderId, Reply, Response, StreamId, Update},
    ids::ProviderMap,
    metrics::{Gauge, ProviderStat, Series},
    shared::{
        manifest::{CellName, Manifest, ProviderManifest},
        message::Message,
        names,
    },
    time::UnixTime,
    token::host_verifier::HostVerifier,
};

/// How often the numbers of parked requests are shared.
const PARKED_INTERVAL: Duration = Duration::from_secs(1);
/// How often all gauges are written, whether they changed or not: a stat may have been set by a configuration that this
/// worker does not know of.
const REWRITE_INTERVAL: Duration = Duration::from_secs(60);

/// Checks signatures by the host where it can.
pub(super) type Verifier = HostVerifier<fn(&[u8]) -> Option<Vec<u8>>>;

/// The shared keys of a provider, and where its gauges are.
struct RemoteCell {
    keys: KeyCell,
    name: CellName,
    /// The name of its gauges, by which configurations know whose they are.
    gauges: String,
    /// The same for the numbers of parked requests.
    subject: u64,
}

/// One worker's side of one configuration.
pub(super) struct Worker {
    root: u32,
    pub(super) engine: RefCell<Engine<Verifier>>,
    /// `None`: the provider's keys are part of the configuration.
    cells: ProviderMap<Option<RemoteCell>>,
    /// Providers by where their keys come from.
    providers: BTreeMap<CellName, Vec<ProviderId>>,
    peers: Peers,
    data: Rc<SharedData>,
    /// The requests of fetches under way, by the host's token, and how much of each body is read.
    fetches: RefCell<BTreeMap<u32, (ProviderId, u64, usize)>>,
    stats: Stats,
    rewritten_at: Cell<UnixTime>,
    parked_shared_at: Cell<UnixTime>,
    /// The providers whose requests were parked when the numbers were last shared, and those with a gauge other than zero.
    parked: RefCell<BTreeSet<ProviderId>>,
    tick: Cell<Option<Duration>>,
}

impl Worker {
    pub(super) fn new(root: u32, plan: Plan, verifier: Verifier, configuration: &[u8]) -> Self {
        let plugin = [host::property("plugin_name"), b"/".to_vec(), host::property("plugin_root_id")].concat();
        let plugin = match &plan.seal {
            Some(seal) => seal.name(&plugin),
            None => plugin,
        };
        let data = Rc::new(SharedData::new(plan.seal.clone()));
        let mut providers: BTreeMap<CellName, Vec<ProviderId>> = BTreeMap::new();
        let mut manifest = Manifest::default();
        let cells = plan.providers.map(|id, provider| {
            let remote = provider.remote()?;
            let name = key_cell::name(&plugin, remote);
            providers.entry(name).or_default().push(id);
            let stat = ProviderStat::Gauge(Gauge::Keys);
            let gauges = Series { provider: id, stat }.name(&plan.stat_prefix, &provider.name);
            let revoked = remote.revoked.names().map(str::to_owned).collect();
            manifest.0.push(ProviderManifest { name: gauges.clone(), cell: name, revoked });
            let subject = names::digest(gauges.as_bytes());
            Some(RemoteCell { keys: KeyCell::new(data.clone(), &name), name, gauges, subject })
        });
        let peers = Peers::register(data.clone(), &plugin, names::digest(configuration), &manifest, host::now());
        let (fetches, rewritten_at, parked_shared_at, parked, tick) = Default::default();
        let mut engine = Engine::new(plan, verifier);
        engine.begin_key_log_at(peers.since());
        let worker = Self {
            root,
            cells,
            providers,
            peers,
            data,
            fetches,
            stats: Stats::define(engine.plan()),
            rewritten_at,
            parked_shared_at,
            parked,
            tick,
            engine: RefCell::new(engine),
        };
        worker.honor_revocations();
        worker
    }

    /// Gives the engine the provider's record, if the engine does not have its version.
    pub(super) fn sync(&self, provider: ProviderId) {
        let Some(cell) = &self.cells[provider] else { return };
        let announced = cell.keys.version().unwrap_or_default();
        if announced == self.engine.borrow().version(provider) {
            return;
        }
        let (bytes, now) = (cell.keys.read(), host::now());
        self.engine.borrow_mut().on_record(provider, &bytes, now);
        let version = self.engine.borrow().version(provider);
        if announced != version {
            // Another plugin overwrote the announcement.
            cell.keys.announce(version, now);
        }
    }

    /// From a stream's context: a request was parked, and the root context starts the fetch.
    pub(super) fn wake_root(&self) {
        if self.engine.borrow_mut().wants_wake() {
            self.peers.wake_self();
        }
        self.set_tick(self.engine.borrow().tick_when_parked());
    }

    /// From the root context: does what there is to do now, and sets the next tick.
    pub(super) fn run(&self) {
        #[cfg(feature = "test-hooks")]
        super::test_hooks::on_wake();
        self.meet_peers(false);
        let due = self.engine.borrow_mut().due(host::now());
        due.into_iter().for_each(|provider| self.sync(provider));
        // The time is read after the records: what they say would lie in the future otherwise.
        let actions = self.engine.borrow_mut().on_wake(host::now());
        self.perform(actions);
        self.flush_counts();
        self.speak();
        self.share_parked();
        self.set_tick(self.engine.borrow().next_tick(host::now()));
    }

    /// Messages in this worker's queue.
    pub(super) fn on_queue_ready(&self) {
        let messages = self.peers.messages();
        // The host calls once for each message, and the first call takes all. Where this worker was woken and did not run, another
        // plugin took the message.
        if messages.is_empty() && !self.engine.borrow().is_woken() {
            return;
        }
        if messages.contains(&Message::Peers) {
            self.meet_peers(true);
        }
        for message in messages {
            let Message::Record(cell) = message else { continue };
            for provider in self.providers.get(&cell).into_iter().flatten() {
                self.engine.borrow_mut().on_news(*provider, host::now());
            }
        }
        self.run();
    }

    /// Renews this worker's place among its peers, and takes over what they tell.
    fn meet_peers(&self, at_once: bool) {
        if self.peers.renew(at_once, host::now()) {
            self.honor_revocations();
            self.rewritten_at.take();
        }
    }

    /// Newer configurations revoke keys for this one, too.
    fn honor_revocations(&self) {
        let newer = self.peers.newer();
        for (provider, cell) in self.cells.iter() {
            let Some(cell) = cell else { continue };
            let revoked = newer.revoked(&cell.gauges, &cell.name).map(str::to_owned).collect();
            self.engine.borrow_mut().on_revoked_elsewhere(provider, revoked);
        }
    }

    /// The response to a request of a fetch, by the host's token. `headers` and `body` are the counts of its callback.
    pub(super) fn on_http_call_response(&self, token: u32, headers: usize, body: usize) {
        let Some((provider, fetch, max_body)) = self.fetches.borrow_mut().remove(&token) else { return };
        let response = host::fetched(headers, body, max_body);
        self.perform(self.on_fetched(provider, fetch, response));
        self.run();
    }

    /// Does what the engine asks for, and what follows from that.
    fn perform(&self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Update(provider, update) => queue.extend(self.update(provider, update)),
                Action::Fetch(provider, fetch, request) => queue.extend(self.fetch(provider, fetch, &request)),
                Action::Reply(stream, reply) => {
                    let _ = abi::set_effective_context(stream.0).and_then(|()| host::reply(&reply));
                }
                Action::Resume(stream, edits, _) => self.resume(stream, &edits),
                Action::WakeWorkers(provider) => {
                    if let Some(cell) = &self.cells[provider] {
                        self.peers.wake_all(Message::Record(cell.name), host::now());
                    }
                }
            }
        }
        let _ = abi::set_effective_context(self.root);
    }

    /// A request that cannot be changed as decided does not go on, whether the host takes the reply or not.
    fn resume(&self, stream: StreamId, edits: &Edits) {
        let reached = abi::set_effective_context(stream.0);
        let resumed = reached.and_then(|()| host::edit(edits)).and_then(|()| abi::resume_request());
        if resumed.is_err() {
            self.engine.borrow_mut().on_not_resumed(stream);
        }
        // A stream that cannot be reached is gone.
        if reached.is_ok() && resumed.is_err() {
            let _ = host::reply(&Reply::unavailable());
        }
    }

    fn update(&self, provider: ProviderId, update: Box<Update>) -> Vec<Action> {
        let applied = self.cells[provider].as_ref().and_then(|cell| cell.keys.apply(&update, host::now));
        match applied {
            Some(applied) => self.engine.borrow_mut().on_updated(provider, update, applied, host::now()),
            None => Vec::new(),
        }
    }

    fn fetch(&self, provider: ProviderId, fetch: u64, request: &FetchRequest) -> Vec<Action> {
        let _ = abi::set_effective_context(self.root);
        match host::fetch(request) {
            Ok(token) => {
                self.fetches.borrow_mut().insert(token, (provider, fetch, request.max_body));
                Vec::new()
            }
            Err(status) => self.on_fetched(provider, fetch, Err(host::not_started(status))),
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

    /// Sets the gauges that changed and logs the keys that did, if this worker speaks for its configuration and no newer
    /// configuration has the provider.
    fn speak(&self) {
        let (now, last) = (host::now(), self.rewritten_at.get());
        if last > now || now.since(last) >= REWRITE_INTERVAL {
            self.rewritten_at.set(now);
            self.engine.borrow_mut().measure_all();
            self.parked.borrow_mut().extend(self.cells.ids());
        }
        let gauges = self.engine.borrow_mut().take_gauges();
        if !self.peers.is_speaker() {
            self.engine.borrow_mut().leave_key_changes_to_others();
            return;
        }
        self.write_gauges(gauges);
        if self.peers.is_settled_speaker(now) {
            self.engine.borrow_mut().log_key_changes(|provider| self.is_ours(provider));
        }
    }

    /// Whether no newer configuration has the provider.
    fn is_ours(&self, provider: ProviderId) -> bool {
        self.cells[provider].as_ref().is_some_and(|cell| !self.peers.newer().has_gauges_of(&cell.gauges))
    }

    fn write_gauges(&self, gauges: Vec<(Series, u64)>) {
        let engine = self.engine.borrow();
        for (series, value) in gauges.into_iter().filter(|(series, _)| self.is_ours(series.provider)) {
            self.stats.set(series, value, engine.plan());
        }
    }

    /// Shares the numbers of parked requests, and sets their gauges.
    fn share_parked(&self) {
        let (now, last) = (host::now(), self.parked_shared_at.get());
        if last <= now && now.since(last) < PARKED_INTERVAL {
            return;
        }
        self.parked_shared_at.set(now);
        let parked = self.engine.borrow().parked();
        let mut before = self.parked.take();
        if parked.is_empty() && before.is_empty() && !self.peers.is_speaker() {
            return;
        }
        let subject = |provider| self.cells[provider].as_ref().map(|cell: &RemoteCell| cell.subject);
        let parts: Vec<(u64, u32)> =
            parked.iter().filter_map(|(provider, count)| Some((subject(*provider)?, *count))).collect();
        let totals = self.peers.share_parked(&parts, now);
        let mut with_parked = BTreeSet::new();
        with_parked.extend(parked.into_iter().map(|(provider, _)| provider));
        if self.peers.is_speaker() {
            let sum = |provider| subject(provider).map_or(0, |subject| totals.sum(subject, now));
            if !totals.is_empty() {
                with_parked.extend(self.cells.ids().filter(|provider| sum(*provider) > 0));
            }
            before.extend(&with_parked);
            let stat = ProviderStat::Gauge(Gauge::ParkedNow);
            self.write_gauges(before.into_iter().map(|provider| (Series { provider, stat }, sum(provider))).collect());
        }
        self.parked.replace(with_parked);
    }

    /// The period is set only when it changes, since setting it begins the wait anew.
    pub(super) fn set_tick(&self, period: Duration) {
        if self.tick.get() != Some(period) && host::tick_in(period).is_ok() {
            self.tick.set(Some(period));
        }
    }

    /// The context ends: ends its leases, so that nobody waits for its fetches, and the gauges that nobody else sets.
    pub(super) fn end(&self) {
        self.flush_counts();
        let fetches = std::mem::take(&mut *self.fetches.borrow_mut());
        for (provider, fetch, _) in fetches.into_values() {
            let actions = self.engine.borrow_mut().on_abandoned(provider, fetch, host::now());
            self.perform(actions);
        }
        self.peers.share_parked(&[], host::now());
        if self.peers.leave(host::now()) {
            let gauges = self.engine.borrow().gauges_when_over();
            self.write_gauges(gauges);
        }
        // The others set their gauges after that.
        self.peers.wake_all(Message::Peers, host::now());
        host::stop_ticks();
    }
}
