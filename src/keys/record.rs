//! The shared form of a key set's life: one value in shared data per issuer, replaced only by compare-and-swap.
//!
//! Any plugin may write to the same namespace (under Istio all `vm_id`s are empty), and an older build of this one may
//! have written before us: whatever does not decode counts as absent.

use super::lease::Lease;
use crate::time::UnixTime;

/// All that the process knows about an issuer's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Grows with every change, so that a worker sees from eight bytes whether it is up to date.
    pub version: u64,
    /// How many fetches were ever started; the number of the newest one.
    pub started: u64,
    /// The number of the last fetch that ended, well or badly.
    pub finished: u64,
    /// Held by fetch number `started`.
    pub lease: Option<Lease>,
    /// Fetches that failed since the last good one.
    pub failures: u32,
    /// No fetch starts before this.
    pub retry_at: UnixTime,
    /// When the last refresh for an unknown `kid` was started.
    pub unknown_kid_at: Option<UnixTime>,
    /// The last good document.
    pub document: Option<Stored>,
}

/// A document as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The fetch that brought or confirmed it.
    pub fetch: u64,
    /// Grows when the content changes; workers parse once per generation.
    pub generation: u64,
    /// When it was fetched.
    pub fetched_at: UnixTime,
    /// When it stops being fresh.
    pub expires_at: UnixTime,
    /// The JWKS itself.
    pub body: Vec<u8>,
}

/// Format marker; another layout takes another one.
const MAGIC: &[u8; 8] = b"jwksgat1";
const ABSENT: u64 = u64::MAX;

impl Record {
    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let body: &[u8] = self.document.as_ref().map_or(&[], |d| &d.body);
        let mut out = Vec::with_capacity(body.len().saturating_add(128));
        out.extend_from_slice(MAGIC);
        let lease = self.lease.map_or((ABSENT, ABSENT), |l| (l.taken_at.as_millis(), l.until.as_millis()));
        let document = self
            .document
            .as_ref()
            .map_or([ABSENT; 4], |d| [d.fetch, d.generation, d.fetched_at.as_millis(), d.expires_at.as_millis()]);
        let numbers = [
            self.version,
            self.started,
            self.finished,
            lease.0,
            lease.1,
            u64::from(self.failures),
            self.retry_at.as_millis(),
            self.unknown_kid_at.map_or(ABSENT, UnixTime::as_millis),
        ];
        for number in numbers.into_iter().chain(document).chain([body.len() as u64]) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(body);
        out
    }

    /// Reads shared bytes; `None` if they are not a whole record of this format.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC.as_slice())?;
        let mut next = || {
            let (number, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            Some(u64::from_le_bytes(*number))
        };
        let time = |millis| (millis != ABSENT).then(|| UnixTime::from_millis(millis));
        let (version, started, finished) = (next()?, next()?, next()?);
        let (taken_at, until) = (time(next()?), time(next()?));
        let failures = u32::try_from(next()?).ok()?;
        let retry_at = UnixTime::from_millis(next()?);
        let unknown_kid_at = time(next()?);
        let (fetch, generation, fetched_at, expires_at) = (next()?, next()?, time(next()?), time(next()?));
        let length = usize::try_from(next()?).ok()?;
        if rest.len() != length {
            return None;
        }
        let document = match (fetched_at, expires_at) {
            (Some(fetched_at), Some(expires_at)) if fetch != ABSENT => {
                Some(Stored { fetch, generation, fetched_at, expires_at, body: rest.to_vec() })
            }
            _ => None,
        };
        let lease = taken_at.zip(until).map(|(taken_at, until)| Lease { taken_at, until });
        Some(Self { version, started, finished, lease, failures, retry_at, unknown_kid_at, document })
    }

    /// Whether a fetch is under way.
    pub fn is_fetching(&self, now: UnixTime) -> bool {
        self.lease.is_some_and(|lease| lease.is_held(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Record {
        let at = UnixTime::from_millis;
        Record {
            version: 7,
            started: 4,
            finished: 3,
            lease: Some(Lease { taken_at: at(10), until: at(20) }),
            failures: 2,
            retry_at: at(30),
            unknown_kid_at: Some(at(5)),
            document: Some(Stored {
                fetch: 3,
                generation: 2,
                fetched_at: at(1),
                expires_at: at(9),
                body: b"{}".to_vec(),
            }),
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        for record in [full(), Record::default()] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn anything_else_counts_as_absent() {
        let good = full().encode();
        for cut in 0..good.len() {
            assert_eq!(Record::decode(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Record::decode(&[good.clone(), vec![0]].concat()), None);
        for place in 0..good.len() {
            let mut bent = good.clone();
            bent[place] ^= 0xff;
            let _ = Record::decode(&bent); // must not panic
        }
    }
}
