//! A number that several workers contribute to. Each worker writes its part; the reader adds up the parts of living workers.

use std::time::Duration;

use crate::time::UnixTime;

/// A worker with a part writes the part once a second. A worker that has not written for this long is gone, with its part.
const ALIVE: Duration = Duration::from_secs(4);
/// The number of workers that are added up at most.
const MAX_WORKERS: usize = 512;
/// A worker's number, its part and the time of writing: eight, four and eight bytes, little-endian.
const BYTES: usize = 20;

/// The parts of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerTotals(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    worker: u64,
    part: u32,
    at: UnixTime,
}

impl Part {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (worker, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_first_chunk()?;
        let (at, _) = rest.split_first_chunk()?;
        let at = UnixTime::from_millis(u64::from_le_bytes(*at));
        Some(Self { worker: u64::from_le_bytes(*worker), part: u32::from_le_bytes(*part), at })
    }

    fn encode(self) -> impl Iterator<Item = u8> {
        let at = self.at.as_millis().to_le_bytes();
        self.worker.to_le_bytes().into_iter().chain(self.part.to_le_bytes()).chain(at)
    }

    /// A clock that stepped back makes no worker immortal.
    fn is_alive(&self, now: UnixTime) -> bool {
        now.since(self.at).max(self.at.since(now)) < ALIVE
    }
}

impl WorkerTotals {
    /// Reads shared bytes. An incomplete part is skipped.
    pub fn decode(bytes: &[u8]) -> Self {
        Self(bytes.chunks_exact(BYTES).take(MAX_WORKERS).filter_map(Part::decode).collect())
    }

    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|part| part.encode()).collect()
    }

    /// The totals with this worker's part and without the workers that are gone. `None`: the worker had no part and has none,
    /// so there is nothing to write.
    pub fn with(&self, worker: u64, part: u32, now: UnixTime) -> Option<Self> {
        let has_one = self.0.iter().any(|part| part.worker == worker);
        if part == 0 && !has_one {
            return None;
        }
        let others = self.0.iter().filter(|part| part.worker != worker && part.is_alive(now)).copied();
        let this = (part > 0).then_some(Part { worker, part, at: now });
        Some(Self(this.into_iter().chain(others).take(MAX_WORKERS).collect()))
    }

    /// The sum of the parts of living workers.
    pub fn sum(&self, now: UnixTime) -> u64 {
        self.0.iter().filter(|part| part.is_alive(now)).fold(0, |sum, part| sum.saturating_add(part.part.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn parts_add_up_and_end_with_their_workers() {
        let one = WorkerTotals::default().with(1, 3, at(0)).unwrap();
        let both = one.with(2, 4, at(2)).unwrap();
        assert_eq!((one.sum(at(2)), both.sum(at(2))), (3, 7));
        // The first was killed, or its configuration ended.
        assert_eq!(both.sum(at(4)), 4);
        assert_eq!(both.with(2, 4, at(5)).unwrap(), WorkerTotals::default().with(2, 4, at(5)).unwrap());
        let none = both.with(1, 0, at(2)).unwrap();
        assert_eq!((none.sum(at(2)), none.with(1, 0, at(2))), (4, None));
        // A clock that steps back by a day.
        assert_eq!(WorkerTotals::default().with(1, 3, at(86_400)).unwrap().sum(at(0)), 0);
    }

    #[test]
    fn it_is_kept_as_bytes_and_hostile_ones_do_no_harm() {
        let totals = WorkerTotals::default().with(1, 3, at(0)).unwrap().with(u64::MAX, u32::MAX, at(1)).unwrap();
        let bytes = totals.encode();
        assert_eq!(WorkerTotals::decode(&bytes), totals);
        assert_eq!(WorkerTotals::decode(&bytes[..39]).0.len(), 1);
        let many = WorkerTotals::decode(&[0xff; BYTES * 10_000]);
        assert_eq!((many.0.len(), many.sum(at(0))), (MAX_WORKERS, 0));
        assert_eq!(many.with(1, 1, at(0)).unwrap().0.len(), 1);
    }
}
