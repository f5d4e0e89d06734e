//! Which of a plugin's configurations sets the gauges: while an old configuration drains, its gauges would contradict those of
//! the newest.
//!
//! One value in shared data names the owner. The owner's workers renew the ownership, workers of a newer configuration take the
//! ownership over, and anybody may take an ownership that nobody renews.

use std::time::Duration;

use crate::time::UnixTime;

/// A configuration that has not renewed its ownership for this long is gone.
const ALIVE: Duration = Duration::from_secs(4);
/// How often the ownership is renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// The configuration that sets the gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeOwner {
    /// A digest of the configuration.
    pub configuration: u64,
    /// The highest number of its workers. Workers of a newer configuration have higher numbers.
    pub worker: u64,
    /// When a worker last renewed the ownership.
    pub at: UnixTime,
}

/// Whether a worker's configuration owns the gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The configuration owns the gauges.
    Held,
    /// The configuration owns the gauges once this is written.
    Acquire(GaugeOwner),
    /// Another configuration owns the gauges.
    NotOwner,
}

impl GaugeOwner {
    /// Reads shared bytes. `None`: the bytes are no owner.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (configuration, rest) = bytes.split_first_chunk()?;
        let (worker, rest) = rest.split_first_chunk()?;
        let at = <[u8; 8]>::try_from(rest).ok()?;
        let [configuration, worker, at] = [*configuration, *worker, at].map(u64::from_le_bytes);
        Some(Self { configuration, worker, at: UnixTime::from_millis(at) })
    }

    /// The bytes to share.
    pub fn encode(self) -> Vec<u8> {
        [self.configuration, self.worker, self.at.as_millis()].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// What remains when this worker ends, if the worker was the newest of the owner. A remaining worker takes the ownership
    /// again.
    pub fn released(self, configuration: u64, worker: u64, now: UnixTime) -> Option<Self> {
        let is_newest = self.configuration == configuration && self.worker <= worker;
        is_newest.then_some(Self { configuration, worker: 0, at: now })
    }

    /// Whether a worker of this configuration owns the gauges now.
    pub fn ownership(found: Option<Self>, configuration: u64, worker: u64, now: UnixTime) -> Ownership {
        let this = Self { configuration, worker, at: now };
        let Some(found) = found else { return Ownership::Acquire(this) };
        // A clock that stepped back makes no owner immortal.
        let age = now.since(found.at).max(found.at.since(now));
        if found.configuration == configuration {
            if age < RENEWAL && found.worker >= worker {
                Ownership::Held
            } else {
                Ownership::Acquire(Self { worker: worker.max(found.worker), ..this })
            }
        } else if worker > found.worker || age >= ALIVE {
            Ownership::Acquire(this)
        } else {
            Ownership::NotOwner
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    const OLD: u64 = 7;
    const NEW: u64 = 3;

    #[test]
    fn the_newest_configuration_owns_the_gauges_while_it_lives() {
        let Ownership::Acquire(old) = GaugeOwner::ownership(None, OLD, 1, at(0)) else { panic!() };
        assert_eq!(GaugeOwner::ownership(Some(old), OLD, 1, at(0)), Ownership::Held);
        // Another worker of the same configuration: the record has to know of it.
        let Ownership::Acquire(old) = GaugeOwner::ownership(Some(old), OLD, 2, at(0)) else { panic!() };
        assert_eq!((old.configuration, old.worker), (OLD, 2));
        assert_eq!(GaugeOwner::ownership(Some(old), OLD, 1, at(0)), Ownership::Held);
        assert_eq!(
            GaugeOwner::ownership(Some(old), OLD, 1, at(1)),
            Ownership::Acquire(GaugeOwner { at: at(1), ..old })
        );
        let Ownership::Acquire(new) = GaugeOwner::ownership(Some(old), NEW, 3, at(1)) else { panic!() };
        for second in 1..5 {
            assert_eq!(GaugeOwner::ownership(Some(new), OLD, 2, at(second)), Ownership::NotOwner, "{second}");
        }
        // The new one went away; or the clock stepped by a day.
        for now in [at(5), at(86_400), UnixTime::from_millis(0)] {
            assert!(matches!(GaugeOwner::ownership(Some(new), OLD, 2, now), Ownership::Acquire(_)));
        }
    }

    #[test]
    fn the_newest_worker_of_the_owner_releases() {
        let claim = GaugeOwner { configuration: NEW, worker: 4, at: at(0) };
        assert_eq!((claim.released(OLD, 5, at(1)), claim.released(NEW, 3, at(1))), (None, None));
        let released = claim.released(NEW, 4, at(1)).unwrap();
        // Another worker of the same configuration is there, or an older one.
        let again = GaugeOwner { configuration: NEW, worker: 3, at: at(1) };
        assert_eq!(GaugeOwner::ownership(Some(released), NEW, 3, at(1)), Ownership::Acquire(again));
        assert_eq!(released.released(NEW, 3, at(1)), Some(released));
        assert!(matches!(GaugeOwner::ownership(Some(released), OLD, 1, at(1)), Ownership::Acquire(_)));
    }

    #[test]
    fn it_is_kept_as_bytes_and_hostile_ones_count_as_none() {
        let claim = GaugeOwner { configuration: 1, worker: u64::MAX, at: at(0) };
        let bytes = claim.encode();
        assert_eq!(GaugeOwner::decode(&bytes), Some(claim));
        assert_eq!((GaugeOwner::decode(&bytes[1..]), GaugeOwner::decode(&[&bytes[..], &[0]].concat())), (None, None));
    }
}
