//! Which of a plugin's configurations speaks for it: while an old one drains, its gauges would contradict the newest one's.
//!
//! One record in shared data names the configuration. Its workers confirm it; those of a newer one take it over; if nobody
//! confirms it any more, anybody may.

use std::time::Duration;

use crate::time::UnixTime;

/// A configuration that has not confirmed its claim for this long is gone.
const ALIVE: Duration = Duration::from_secs(4);
/// Confirmed as often as this.
const CONFIRMED: Duration = Duration::from_secs(1);

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// A digest of the configuration.
    pub configuration: u64,
    /// The highest number of its workers: those of a newer configuration have higher ones.
    pub worker: u64,
    /// When one of them confirmed it last.
    pub at: UnixTime,
}

/// What a worker makes of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its configuration speaks.
    Speaks,
    /// Its configuration speaks if this can be written.
    Writes(Claim),
    /// Another does.
    IsSilent,
}

impl Claim {
    /// As found in shared data; hostile bytes count as none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (configuration, rest) = bytes.split_first_chunk()?;
        let (worker, rest) = rest.split_first_chunk()?;
        let at = <[u8; 8]>::try_from(rest).ok()?;
        let [configuration, worker, at] = [*configuration, *worker, at].map(u64::from_le_bytes);
        Some(Self { configuration, worker, at: UnixTime::from_millis(at) })
    }

    /// As it is kept there.
    pub fn encode(self) -> Vec<u8> {
        [self.configuration, self.worker, self.at.as_millis()].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// What remains of it when this worker ends, if it was the newest of the configuration that speaks: whoever is still
    /// there claims it anew.
    pub fn resigned(self, configuration: u64, worker: u64, now: UnixTime) -> Option<Self> {
        let is_newest = self.configuration == configuration && self.worker <= worker;
        is_newest.then_some(Self { configuration, worker: 0, at: now })
    }

    /// What this worker of this configuration makes of it now.
    pub fn standing(found: Option<Self>, configuration: u64, worker: u64, now: UnixTime) -> Standing {
        let own = Self { configuration, worker, at: now };
        let Some(found) = found else { return Standing::Writes(own) };
        // A clock that stepped back makes nobody immortal.
        let age = now.since(found.at).max(found.at.since(now));
        if found.configuration == configuration {
            if age < CONFIRMED && found.worker >= worker {
                Standing::Speaks
            } else {
                Standing::Writes(Self { worker: worker.max(found.worker), ..own })
            }
        } else if worker > found.worker || age >= ALIVE {
            Standing::Writes(own)
        } else {
            Standing::IsSilent
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
    fn the_newest_configuration_speaks_while_it_is_there() {
        let Standing::Writes(old) = Claim::standing(None, OLD, 1, at(0)) else { panic!() };
        assert_eq!(Claim::standing(Some(old), OLD, 1, at(0)), Standing::Speaks);
        // Another worker of the same configuration: the record has to know of it.
        let Standing::Writes(old) = Claim::standing(Some(old), OLD, 2, at(0)) else { panic!() };
        assert_eq!((old.configuration, old.worker), (OLD, 2));
        assert_eq!(Claim::standing(Some(old), OLD, 1, at(0)), Standing::Speaks);
        assert_eq!(Claim::standing(Some(old), OLD, 1, at(1)), Standing::Writes(Claim { at: at(1), ..old }));
        let Standing::Writes(new) = Claim::standing(Some(old), NEW, 3, at(1)) else { panic!() };
        for second in 1..5 {
            assert_eq!(Claim::standing(Some(new), OLD, 2, at(second)), Standing::IsSilent, "{second}");
        }
        // The new one went away; or the clock stepped by a day.
        for now in [at(5), at(86_400), UnixTime::from_millis(0)] {
            assert!(matches!(Claim::standing(Some(new), OLD, 2, now), Standing::Writes(_)));
        }
    }

    #[test]
    fn the_last_of_its_workers_resigns() {
        let claim = Claim { configuration: NEW, worker: 4, at: at(0) };
        assert_eq!((claim.resigned(OLD, 5, at(1)), claim.resigned(NEW, 3, at(1))), (None, None));
        let resigned = claim.resigned(NEW, 4, at(1)).unwrap();
        // Another worker of the same configuration is there, or an older one.
        let again = Claim { configuration: NEW, worker: 3, at: at(1) };
        assert_eq!(Claim::standing(Some(resigned), NEW, 3, at(1)), Standing::Writes(again));
        assert_eq!(resigned.resigned(NEW, 3, at(1)), Some(resigned));
        assert!(matches!(Claim::standing(Some(resigned), OLD, 1, at(1)), Standing::Writes(_)));
    }

    #[test]
    fn it_is_kept_as_bytes_and_hostile_ones_count_as_none() {
        let claim = Claim { configuration: 1, worker: u64::MAX, at: at(0) };
        let bytes = claim.encode();
        assert_eq!(Claim::decode(&bytes), Some(claim));
        assert_eq!((Claim::decode(&bytes[1..]), Claim::decode(&[&bytes[..], &[0]].concat())), (None, None));
    }
}
