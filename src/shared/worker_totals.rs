//! Numbers that several workers contribute to, by subject. Each worker writes its parts; the reader adds up the parts of living
//! workers.

use std::time::Duration;

use crate::time::UnixTime;

/// A worker with parts writes its parts once a second. A worker that has not written for this long is gone, with its parts.
const ALIVE: Duration = Duration::from_secs(4);
/// The number of parts that are added up at most.
const MAX_PARTS: usize = 4_096;
/// A worker's number, the subject, the part and the time of writing: eight, eight, four and eight bytes, little-endian.
const BYTES: usize = 28;

/// The parts of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerTotals(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    worker: u64,
    subject: u64,
    part: u32,
    at: UnixTime,
}

impl Part {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (worker, rest) = bytes.split_first_chunk()?;
        let (subject, rest) = rest.split_first_chunk()?;
        let (part, rest) = rest.split_first_chunk()?;
        let (at, _) = rest.split_first_chunk()?;
        let [worker, subject, at] = [*worker, *subject, *at].map(u64::from_le_bytes);
        Some(Self { worker, subject, part: u32::from_le_bytes(*part), at: UnixTime::from_millis(at) })
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.worker.to_le_bytes());
        bytes.extend_from_slice(&self.subject.to_le_bytes());
        bytes.extend_from_slice(&self.part.to_le_bytes());
        bytes.extend_from_slice(&self.at.as_millis().to_le_bytes());
    }

    /// A clock that stepped back makes no worker immortal.
    fn is_alive(&self, now: UnixTime) -> bool {
        now.since(self.at).max(self.at.since(now)) < ALIVE
    }
}

impl WorkerTotals {
    /// Reads shared bytes. An incomplete part is skipped.
    pub fn decode(bytes: &[u8]) -> Self {
        Self(bytes.chunks_exact(BYTES).take(MAX_PARTS).filter_map(Part::decode).collect())
    }

    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.iter().for_each(|part| part.write(&mut bytes));
        bytes
    }

    /// The totals with this worker's parts, by subject, and without the workers that are gone.
    pub fn with(&self, worker: u64, parts: &[(u64, u32)], now: UnixTime) -> Self {
        let others = self.0.iter().filter(|part| part.worker != worker && part.is_alive(now)).copied();
        let these = parts.iter().map(|(subject, part)| Part { worker, subject: *subject, part: *part, at: now });
        Self(these.chain(others).take(MAX_PARTS).collect())
    }

    /// The sum of the parts of living workers in this subject.
    pub fn sum(&self, subject: u64, now: UnixTime) -> u64 {
        let parts = self.0.iter().filter(|part| part.subject == subject && part.is_alive(now));
        parts.fold(0, |sum, part| sum.saturating_add(part.part.into()))
    }

    /// Whether there is no part.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn parts_add_up_by_subject_and_end_with_their_workers() {
        let both = WorkerTotals::default().with(1, &[(7, 3), (8, 1)], at(0)).with(2, &[(7, 4)], at(2));
        assert_eq!((both.sum(7, at(2)), both.sum(8, at(2)), both.sum(9, at(2))), (7, 1, 0));
        // The first was killed, or its configuration ended.
        assert_eq!((both.sum(7, at(4)), both.sum(8, at(4))), (4, 0));
        assert_eq!(both.with(2, &[(7, 4)], at(5)), WorkerTotals::default().with(2, &[(7, 4)], at(5)));
        assert_eq!(both.with(1, &[], at(2)).sum(7, at(2)), 4);
        // A clock that steps back by a day.
        assert_eq!(WorkerTotals::default().with(1, &[(7, 3)], at(86_400)).sum(7, at(0)), 0);
    }

    #[test]
    fn it_is_kept_as_bytes_and_hostile_ones_do_no_harm() {
        let totals = WorkerTotals::default().with(1, &[(7, 3)], at(0)).with(u64::MAX, &[(7, u32::MAX)], at(1));
        let bytes = totals.encode();
        assert_eq!(WorkerTotals::decode(&bytes), totals);
        assert_eq!(WorkerTotals::decode(&bytes[..BYTES * 2 - 1]).0.len(), 1);
        let many = WorkerTotals::decode(&[0xff; BYTES * 10_000]);
        assert_eq!((many.0.len(), many.sum(u64::MAX, at(0))), (MAX_PARTS, 0));
        assert_eq!(many.with(1, &[(7, 1)], at(0)).0.len(), 1);
    }
}
