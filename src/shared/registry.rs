//! The workers of a plugin: which of them live, which queues wake them, and whose configuration is the newest.
//!
//! One value in shared data lists all workers. Each worker renews its entry; entries that nobody renews leave the list. A VM
//! that Envoy made only to try a configuration out registers and never runs.

use std::time::Duration;

use super::codec::{Reader, Writer};
use crate::time::{UnixTime, LONGEST_CLOCK_STEP};

/// How often a worker renews its entry.
pub const RENEWAL: Duration = Duration::from_secs(2);
/// A worker that has not renewed its entry for this long is gone.
const ALIVE: Duration = Duration::from_secs(10);
/// The longest list. The entries that were renewed last stay.
const MAX_WORKERS: usize = 512;
/// The format marker. Another layout takes another marker.
const MARKER: &[u8; 8] = b"jwksreg1";

/// One worker of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The worker's number. Later workers have higher numbers.
    pub worker: u64,
    /// The queue that wakes the worker. `None`: the host has no queues.
    pub queue: Option<u32>,
    /// A digest of the worker's configuration.
    pub configuration: u64,
    /// The number of the first worker that had this configuration. Newer configurations have higher numbers.
    pub since: u64,
    /// Whether the worker has run since its registration.
    pub runs: bool,
    /// When the worker last renewed the entry.
    pub seen_at: UnixTime,
}

/// All workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry(Vec<Entry>);

impl Registry {
    /// Reads shared bytes at `now`. Bytes that are no registry count as an empty one: the living workers register again. Numbers
    /// follow the clock; an entry with a number far beyond the clock is another plugin's, and would leave no room for the next
    /// number.
    pub fn decode(bytes: &[u8], now: UnixTime) -> Self {
        let latest = now.plus(LONGEST_CLOCK_STEP).as_millis();
        let Self(mut entries) = Self::read(bytes).unwrap_or_default();
        entries.retain(|entry| entry.worker.max(entry.since) <= latest);
        Self(entries)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes, MARKER)?;
        let mut entries = Vec::new();
        for _ in 0..from.number()?.min(MAX_WORKERS as u64) {
            entries.push(Entry {
                worker: from.number()?,
                queue: from.optional()?.and_then(|queue| u32::try_from(queue).ok()),
                configuration: from.number()?,
                since: from.number()?,
                runs: from.number()? == 1,
                seen_at: from.time()?,
            });
        }
        Some(Self(entries))
    }

    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(MARKER);
        out.number(self.0.len() as u64);
        for entry in &self.0 {
            out.number(entry.worker);
            out.optional(entry.queue.map(u64::from));
            out.number(entry.configuration);
            out.number(entry.since);
            out.number(entry.runs.into());
            out.time(entry.seen_at);
        }
        out.into_bytes()
    }

    /// The number of the next worker. Numbers follow the clock, so that none comes again even if shared data was lost.
    pub fn next_worker(&self, now: UnixTime) -> u64 {
        let highest = self.0.iter().map(|entry| entry.worker).max().unwrap_or_default();
        highest.saturating_add(1).max(now.as_millis())
    }

    /// The registry with this entry, new or renewed, and without the workers that are gone. A worker whose own entry is old, or
    /// new, cannot tell who is gone: the clock may have stepped, or the process may have slept.
    pub fn with(&self, entry: Entry, now: UnixTime) -> Self {
        let can_tell = self.entry(entry.worker).is_some_and(|known| known.is_alive(now));
        let others = self.0.iter().filter(|known| known.worker != entry.worker);
        let mut entries: Vec<Entry> = others.filter(|known| !can_tell || known.is_alive(now)).copied().collect();
        let since = entries.iter().filter(|known| known.configuration == entry.configuration).map(|known| known.since);
        let since = since.min().unwrap_or(entry.since).min(entry.since);
        if entries.len() >= MAX_WORKERS {
            let stalest = entries.iter().enumerate().min_by_key(|(_, known)| known.seen_at).map(|(index, _)| index);
            stalest.map(|index| entries.swap_remove(index));
        }
        entries.push(Entry { since, seen_at: now, ..entry });
        Self(entries)
    }

    /// The registry without this worker.
    pub fn without(&self, worker: u64) -> Self {
        Self(self.0.iter().filter(|known| known.worker != worker).copied().collect())
    }

    /// The queues of all workers that run. A worker that does not run yet will look at everything when it does, and a queue that
    /// nobody reads would keep its messages for ever.
    pub fn queues(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.0.iter().filter(|entry| entry.runs).filter_map(|entry| entry.queue)
    }

    /// The configurations of all workers, each once.
    pub fn configurations(&self) -> Vec<u64> {
        distinct(self.0.iter().map(|entry| entry.configuration))
    }

    /// The entry of this worker.
    pub fn entry(&self, worker: u64) -> Option<Entry> {
        self.0.iter().find(|entry| entry.worker == worker).copied()
    }

    /// Whether a worker of this configuration would leave nobody behind: no other runs, and none is about to run that came
    /// later. Workers that only tried the configuration out came first.
    pub fn is_last(&self, this: &Entry) -> bool {
        let others =
            self.0.iter().filter(|known| known.configuration == this.configuration && known.worker != this.worker);
        !others.into_iter().any(|known| known.runs || known.worker > this.worker)
    }

    /// The configurations in use that are newer than this one, each once.
    pub fn newer(&self, configuration: u64) -> Vec<u64> {
        let of_this = self.0.iter().filter(|entry| entry.configuration == configuration).map(|entry| entry.since);
        let since = of_this.min().unwrap_or(u64::MAX);
        let newer =
            self.0.iter().filter(|entry| entry.runs && entry.configuration != configuration && entry.since > since);
        distinct(newer.map(|entry| entry.configuration))
    }

    /// Whether this worker speaks for its configuration: of the workers that run, it is the newest. Where a VM takes the place of
    /// another, the new VM speaks before the old VM ends.
    pub fn is_speaker(&self, worker: u64) -> bool {
        let Some(this) = self.entry(worker) else { return false };
        let running = self.0.iter().filter(|entry| entry.runs && entry.configuration == this.configuration);
        running.map(|entry| entry.worker).max() == Some(worker)
    }
}

impl Entry {
    /// A clock that stepped back makes no worker immortal.
    fn is_alive(&self, now: UnixTime) -> bool {
        now.since(self.seen_at).max(self.seen_at.since(now)) < ALIVE
    }
}

fn distinct(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for number in numbers {
        if !found.contains(&number) {
            found.push(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn entry(worker: u64, configuration: u64) -> Entry {
        Entry { worker, queue: Some(worker as u32), configuration, since: worker, runs: true, seen_at: at(0) }
    }

    const OLD: u64 = 7;
    const NEW: u64 = 3;

    #[test]
    fn workers_that_nobody_hears_of_leave_the_list() {
        let registry = Registry::default().with(entry(1, OLD), at(0)).with(entry(2, OLD), at(5));
        assert!(registry.queues().eq([1, 2]));
        assert!(registry.with(entry(2, OLD), at(11)).queues().eq([2]));
        assert!(registry.without(2).queues().eq([1]));
        assert!(registry.with(Entry { runs: false, ..entry(3, OLD) }, at(5)).queues().eq([1, 2]));
        // A worker that just came, or that slept, does not know who is gone.
        assert!(registry.with(entry(3, OLD), at(11)).queues().eq([1, 2, 3]));
        assert!(registry.with(entry(1, OLD), at(11)).queues().eq([2, 1]));
        // A clock that steps back makes no worker immortal, and ends none that lives.
        let long_ago = UnixTime::from_millis(0);
        let stepped = registry.with(entry(2, OLD), long_ago);
        assert!(stepped.queues().eq([1, 2]) && stepped.with(entry(2, OLD), long_ago).queues().eq([2]));
    }

    #[test]
    fn a_configuration_is_as_old_as_its_first_worker() {
        let mut registry = Registry::default().with(entry(1, OLD), at(0)).with(entry(2, OLD), at(0));
        registry = registry.with(entry(3, NEW), at(1));
        assert_eq!((registry.newer(OLD), registry.newer(NEW)), (vec![NEW], vec![]));
        // A worker of the old configuration is made anew after a trap.
        registry = registry.with(entry(4, OLD), at(2)).without(1);
        assert_eq!(registry.entry(4).map(|entry| entry.since), Some(1));
        assert_eq!((registry.newer(OLD), registry.newer(NEW)), (vec![NEW], vec![]));
        // The operator goes back to the old configuration after it was gone.
        registry = registry.without(2).without(4).with(entry(5, OLD), at(3));
        assert_eq!((registry.newer(OLD), registry.newer(NEW)), (vec![], vec![OLD]));
        assert_eq!(registry.configurations(), [NEW, OLD]);
    }

    #[test]
    fn one_worker_speaks_for_a_configuration_and_never_one_that_does_not_run() {
        let tried_out = Entry { runs: false, ..entry(1, OLD) };
        let mut registry = Registry::default().with(tried_out, at(0));
        assert!(!registry.is_speaker(1) && registry.newer(NEW).is_empty());
        registry = registry.with(entry(2, OLD), at(0)).with(entry(3, OLD), at(0));
        let tried_out = Entry { runs: false, ..entry(4, OLD) };
        registry = registry.with(tried_out, at(0));
        assert!(registry.is_speaker(3) && ![1, 2, 4, 5].iter().any(|worker| registry.is_speaker(*worker)));
        registry = registry.without(3);
        assert!(registry.is_speaker(2));
    }

    #[test]
    fn the_last_worker_of_a_configuration_is_followed_by_none_that_runs_or_came_later() {
        let tried_out = |worker| Entry { runs: false, ..entry(worker, OLD) };
        let mut registry = Registry::default().with(tried_out(1), at(0)).with(entry(3, NEW), at(0));
        assert!(registry.is_last(&entry(2, OLD)));
        registry = registry.with(tried_out(4), at(0));
        assert!(!registry.is_last(&entry(2, OLD)) && registry.is_last(&entry(5, OLD)));
        registry = registry.with(entry(4, OLD), at(0));
        assert!(!registry.is_last(&entry(5, OLD)));
    }

    #[test]
    fn numbers_do_not_come_again_if_the_list_is_lost() {
        let registry = Registry::default().with(entry(at(0).as_millis() + 9, OLD), at(0));
        assert_eq!(registry.next_worker(at(0)), at(0).as_millis() + 10);
        assert_eq!(Registry::default().next_worker(at(1)), at(1).as_millis());
    }

    #[test]
    fn it_is_kept_as_bytes_and_hostile_ones_do_no_harm() {
        let registry =
            Registry::default().with(entry(1, OLD), at(0)).with(Entry { queue: None, ..entry(2, NEW) }, at(1));
        let bytes = registry.encode();
        assert_eq!(Registry::decode(&bytes, at(1)), registry);
        for cut in 0..bytes.len() {
            assert_eq!(Registry::decode(&bytes[..cut], at(1)), Registry::default());
        }
        let many = Registry((0..10_000).map(|worker| Entry { seen_at: at(9), ..entry(worker, OLD) }).collect());
        let many = Registry::decode(&many.encode(), at(9)).with(entry(20_000, NEW), at(9));
        assert_eq!((many.0.len(), many.0.last().map(|entry| entry.worker)), (MAX_WORKERS, Some(20_000)));
        let unbounded = Registry(vec![entry(u64::MAX, OLD), Entry { since: u64::MAX, ..entry(1, OLD) }, entry(2, OLD)]);
        let bounded = Registry::decode(&unbounded.encode(), at(0));
        assert_eq!((bounded.queues().collect::<Vec<_>>(), bounded.next_worker(at(0))), (vec![2], at(0).as_millis()));
    }
}
