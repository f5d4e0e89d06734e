//! The other workers of the plugin, and its other configurations:
//! * `<plugin>.registry`: the living workers with their queues;
//! * `<plugin>.manifest.<configuration>`: what a configuration tells the others;
//! * `<plugin>.parked`: the number of parked requests of each worker and provider.

use std::{
    cell::{Cell, Ref, RefCell},
    rc::Rc,
    time::Duration,
};

use super::{
    key_cell,
    shared_data::{SharedData, Swap},
    wakeups,
};
use crate::{
    shared::{
        manifest::{CellName, Manifest, Newer},
        message::Message,
        names,
        registry::{Entry, Registry, RENEWAL},
        worker_totals::WorkerTotals,
    },
    time::UnixTime,
};

/// All workers of a configuration have come after this time.
const SETTLED: Duration = Duration::from_secs(1);

/// This worker among its peers.
#[derive(Debug)]
pub(super) struct Peers {
    data: Rc<SharedData>,
    /// The names of the plugin's values begin with this.
    name: String,
    /// The manifest of this worker's configuration, as bytes.
    manifest: Vec<u8>,
    entry: Cell<Entry>,
    renewed_at: Cell<UnixTime>,
    /// Since when this worker sets the gauges of its configuration.
    speaker_since: Cell<Option<UnixTime>>,
    newer: RefCell<Newer>,
}

impl Peers {
    /// Registers a worker of this configuration.
    pub(super) fn register(
        data: Rc<SharedData>,
        plugin: &[u8],
        configuration: u64,
        manifest: &Manifest,
        now: UnixTime,
    ) -> Self {
        let (name, manifest) = (names::name(&[plugin]), manifest.encode());
        let entry = Entry { worker: 0, queue: None, configuration, since: 0, runs: false, seen_at: now };
        let (renewed_at, speaker_since, newer) = Default::default();
        let peers = Self { data, name, manifest, entry: Cell::new(entry), renewed_at, speaker_since, newer };
        let numbered = |registry: &Registry| {
            let worker = registry.next_worker(now);
            Entry { worker, since: worker, ..entry }
        };
        // Nobody takes a configuration in the registry for one that uses nothing.
        peers.publish();
        peers.change(now, |registry| {
            peers.entry.set(numbered(registry));
            registry.with(peers.entry.get(), now)
        });
        let queue = wakeups::register(&format!("{}.wake.{}", peers.name, peers.worker()));
        peers.entry.set(Entry { queue, ..peers.entry.get() });
        if let Some((before, registry)) = peers.change(now, |registry| registry.with(peers.entry.get(), now)) {
            peers.remove_gone(&before, &registry);
            peers.learn(&registry, true);
        }
        peers
    }

    /// This worker's number. No other worker has the same; later workers have higher numbers.
    pub(super) fn worker(&self) -> u64 {
        self.entry.get().worker
    }

    /// The number of the first worker of this configuration.
    pub(super) fn since(&self) -> u64 {
        self.entry.get().since
    }

    /// Whether this worker sets the gauges of its configuration.
    pub(super) fn is_speaker(&self) -> bool {
        self.speaker_since.get().is_some()
    }

    /// Whether this worker has set the gauges for a while. When a configuration comes, each of its workers does in turn.
    pub(super) fn is_settled_speaker(&self, now: UnixTime) -> bool {
        self.speaker_since.get().is_some_and(|since| now.since(since) >= SETTLED)
    }

    /// What newer configurations tell.
    pub(super) fn newer(&self) -> Ref<'_, Newer> {
        self.newer.borrow()
    }

    /// Renews this worker's entry if that is due, or at once if a worker came. Returns whether anything changed for this
    /// worker.
    pub(super) fn renew(&self, at_once: bool, now: UnixTime) -> bool {
        let renewed_at = self.renewed_at.get();
        if !at_once && renewed_at <= now && now.since(renewed_at) < RENEWAL {
            return false;
        }
        self.renewed_at.set(now);
        let last = self.entry.get();
        let is_first = !last.runs;
        let entry = Entry { runs: true, ..last };
        let Some((before, registry)) = self.change(now, |registry| registry.with(entry, now)) else {
            return false;
        };
        self.entry.set(entry);
        self.remove_gone(&before, &registry);
        // Else another plugin overwrote the registry, and the other workers come back with their next renewals.
        let is_whole = before.entry(last.worker) == Some(last);
        let tells_other = self.learn(&registry, is_whole);
        let is_speaker = registry.is_speaker(self.worker());
        if is_first || is_speaker {
            self.publish();
        }
        if is_first {
            self.wake_all(Message::Peers, now);
        }
        let has_changed = is_first || is_speaker != self.is_speaker() || tells_other;
        let since = self.speaker_since.get().unwrap_or(now).min(now);
        self.speaker_since.set(is_speaker.then_some(since));
        has_changed
    }

    /// Takes over what the registry and the manifests of newer configurations tell. Returns whether that is other than before.
    fn learn(&self, registry: &Registry, is_whole: bool) -> bool {
        // Keeps the age of the configuration, should another plugin overwrite the registry.
        self.entry.set(registry.entry(self.worker()).unwrap_or(self.entry.get()));
        let newer = registry.newer(self.entry.get().configuration).into_iter().map(|newer| self.read_manifest(newer));
        let newer = Newer::new(newer, &self.newer.borrow(), is_whole);
        newer != self.newer.replace(newer.clone())
    }

    /// Wakes this worker's root context soon after the running callback.
    pub(super) fn wake_self(&self) {
        if let Some(queue) = self.entry.get().queue {
            wakeups::wake(queue, Message::Look);
        }
    }

    /// Wakes the root contexts of all workers.
    pub(super) fn wake_all(&self, message: Message, now: UnixTime) {
        self.registry(now).queues().for_each(|queue| wakeups::wake(queue, message));
    }

    /// The messages for this worker.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.entry.get().queue.map(wakeups::drain).unwrap_or_default()
    }

    /// Shares how many requests of this worker are parked, by subject. Returns the numbers of all workers.
    pub(super) fn share_parked(&self, parked: &[(u64, u32)], now: UnixTime) -> WorkerTotals {
        let swapped = self.data.swap(&format!("{}.parked", self.name), |bytes| {
            let totals = WorkerTotals::decode(bytes.unwrap_or_default());
            let changed = totals.with(self.worker(), parked, now);
            ((changed != totals).then(|| changed.encode()), changed)
        });
        match swapped {
            Swap::Written(totals) | Swap::Unchanged(totals) => totals,
            Swap::Failed => WorkerTotals::default(),
        }
    }

    /// This worker ends. Returns whether it ran and was the last of its configuration. [`Self::wake_all`] tells the others.
    pub(super) fn leave(&self, now: UnixTime) -> bool {
        let left = self.change(now, |registry| registry.without(self.worker()));
        self.messages();
        let Some((before, registry)) = left else { return false };
        self.remove_gone(&before, &registry);
        let this = self.entry.get();
        this.runs && registry.is_last(&this)
    }

    fn registry(&self, now: UnixTime) -> Registry {
        let bytes = self.data.read(&format!("{}.registry", self.name));
        Registry::decode(bytes.as_deref().unwrap_or_default(), now)
    }

    /// Changes the registry. Returns the registry before and after.
    fn change(&self, now: UnixTime, change: impl Fn(&Registry) -> Registry) -> Option<(Registry, Registry)> {
        let swapped = self.data.swap(&format!("{}.registry", self.name), |bytes| {
            let before = Registry::decode(bytes.unwrap_or_default(), now);
            let after = change(&before);
            (Some(after.encode()), (before, after))
        });
        match swapped {
            Swap::Written(registries) => Some(registries),
            Swap::Unchanged(_) | Swap::Failed => None,
        }
    }

    fn manifest_key(&self, configuration: u64) -> String {
        format!("{}.manifest.{configuration:016x}", self.name)
    }

    /// `None`: another plugin has overwritten the manifest.
    fn read_manifest(&self, configuration: u64) -> Option<Manifest> {
        Manifest::decode(self.data.read(&self.manifest_key(configuration)).as_deref().unwrap_or_default())
    }

    fn manifest_of(&self, configuration: u64) -> Manifest {
        self.read_manifest(configuration).unwrap_or_default()
    }

    fn publish(&self) {
        let _ = self.data.swap(&self.manifest_key(self.entry.get().configuration), |bytes| {
            ((bytes != Some(self.manifest.as_slice())).then(|| self.manifest.clone()), ())
        });
    }

    /// Empties what belonged to configurations that have no worker any more.
    fn remove_gone(&self, before: &Registry, after: &Registry) {
        let live = after.configurations();
        let mut gone = before.configurations();
        gone.retain(|configuration| !live.contains(configuration));
        if gone.is_empty() {
            return;
        }
        let used: Vec<Manifest> = live.iter().map(|configuration| self.manifest_of(*configuration)).collect();
        for configuration in gone {
            let manifest = self.manifest_of(configuration);
            let is_used = |cell: &&CellName| used.iter().any(|used| used.cells().any(|known| known == *cell));
            for cell in manifest.cells().filter(|cell| !is_used(cell)) {
                key_cell::remove(&self.data, cell);
            }
            self.data.remove(&self.manifest_key(configuration));
        }
    }
}
