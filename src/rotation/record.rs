//! The shared form of a key set's life: one value in shared data per issuer, replaced only by compare-and-swap.
//!
//! Any plugin may write to the same namespace (under Istio all `vm_id`s are empty), and an older build of this one may
//! have written before us: whatever does not decode counts as absent.

use std::time::Duration;

use super::{
    http_cache::{Freshness, Validators, MAX_VALIDATOR_BYTES},
    lease::Lease,
    retired::Retired,
};
use crate::time::UnixTime;

/// All that the process knows about an issuer's keys. It holds facts only: what follows from them is for each
/// configuration to say, so that a new one may take over an old one's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Grows with every change, so that a worker sees from eight bytes whether it is up to date.
    pub version: u64,
    /// The number of the newest fetch that was started; later ones have higher numbers.
    pub started: u64,
    /// The number of the last fetch that ended, well or badly.
    pub finished: u64,
    /// Held by fetch number `started`.
    pub lease: Option<Lease>,
    /// Fetches that failed since the last good one.
    pub failures: u32,
    /// When the last of them ended.
    pub failed_at: UnixTime,
    /// How long after that no fetch starts.
    pub pause: Duration,
    /// When the last refresh was started because a token asked for it.
    pub unknown_kid_at: Option<UnixTime>,
    /// The last good document.
    pub document: Option<CachedJwks>,
    /// Keys that were in an earlier document.
    pub retired: Vec<Retired>,
}

/// A document as it was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedJwks {
    /// The fetch that brought or confirmed it.
    pub fetch: u64,
    /// Grows when the keys change; workers parse once per generation.
    pub generation: u64,
    /// When a key came that was not there before, or the first document did.
    pub rotated_at: UnixTime,
    /// When it was fetched or confirmed.
    pub fetched_at: UnixTime,
    /// What the issuer says about its lifetime.
    pub freshness: Freshness,
    /// What makes the next request conditional.
    pub validators: Validators,
    /// A random number, that spreads the refreshes of many proxies.
    pub jitter: u32,
    /// The JWKS itself.
    pub body: Vec<u8>,
}

/// Format marker; another layout takes another one.
const MAGIC: &[u8; 8] = b"jwksgat4";
const ABSENT: u64 = u64::MAX;

impl Record {
    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        let lease = self.lease.map(|lease| (lease.taken_at.as_millis(), lease.until.as_millis()));
        for number in [self.version, self.started, self.finished] {
            out.number(number);
        }
        out.optional(lease.map(|(taken_at, _)| taken_at));
        out.optional(lease.map(|(_, until)| until));
        out.number(u64::from(self.failures));
        out.number(self.failed_at.as_millis());
        out.duration(self.pause);
        out.optional(self.unknown_kid_at.map(UnixTime::as_millis));
        out.number(u64::from(self.document.is_some()));
        if let Some(document) = &self.document {
            out.number(document.fetch);
            out.number(document.generation);
            out.number(document.rotated_at.as_millis());
            out.number(document.fetched_at.as_millis());
            out.freshness(document.freshness);
            out.number(u64::from(document.jitter));
            out.text(document.validators.etag.as_deref());
            out.text(document.validators.last_modified.as_deref());
            out.bytes(&document.body);
        }
        out.number(self.retired.len() as u64);
        for retired in &self.retired {
            out.number(retired.gone_at.as_millis());
            out.duration(retired.gone_for);
            out.duration(retired.unconfirmed_for);
            out.freshness(retired.freshness);
            out.bytes(&retired.jwk);
        }
        out.0
    }

    /// Reads shared bytes; `None` if they are not a whole record of this format.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes.strip_prefix(MAGIC.as_slice())?);
        let (version, started, finished) = (from.number()?, from.number()?, from.number()?);
        let (taken_at, until) = (from.time()?, from.time()?);
        let failures = u32::try_from(from.number()?).ok()?;
        let failed_at = UnixTime::from_millis(from.number()?);
        let pause = from.duration()?;
        let unknown_kid_at = from.time()?;
        let document = match from.number()? {
            0 => None,
            _ => Some(CachedJwks {
                fetch: from.number()?,
                generation: from.number()?,
                rotated_at: UnixTime::from_millis(from.number()?),
                fetched_at: UnixTime::from_millis(from.number()?),
                freshness: from.freshness()?,
                jitter: u32::try_from(from.number()?).ok()?,
                validators: Validators { etag: from.text()?, last_modified: from.text()? },
                body: from.bytes()?.to_vec(),
            }),
        };
        let mut retired = Vec::new();
        for _ in 0..from.number()? {
            retired.push(Retired {
                gone_at: UnixTime::from_millis(from.number()?),
                gone_for: from.duration()?,
                unconfirmed_for: from.duration()?,
                freshness: from.freshness()?,
                jwk: from.bytes()?.to_vec(),
            });
        }
        let lease = taken_at.zip(until).map(|(taken_at, until)| Lease { taken_at, until });
        let record =
            Self { version, started, finished, lease, failures, failed_at, pause, unknown_kid_at, document, retired };
        from.0.is_empty().then_some(record)
    }

    /// This record under a clock that shows `now`. What it dates into the future was written before the clock stepped
    /// back: keys and leases count as of now, so that no step makes them last for ever, and what keeps us from asking
    /// the issuer is forgotten.
    pub fn as_of(mut self, now: UnixTime) -> Self {
        if self.failed_at > now {
            (self.failed_at, self.pause) = (now, Duration::ZERO);
        }
        self.unknown_kid_at = self.unknown_kid_at.filter(|at| *at <= now);
        self.lease = self.lease.map(|lease| lease.as_of(now));
        if let Some(document) = &mut self.document {
            document.rotated_at = document.rotated_at.min(now);
            document.fetched_at = document.fetched_at.min(now);
        }
        self.retired = self.retired.into_iter().map(|retired| retired.as_of(now)).collect();
        self
    }

    /// Whether anything in it lies in the future.
    pub fn has_future_timestamps(&self, now: UnixTime) -> bool {
        let lease = self.lease.map(|lease| lease.taken_at);
        let document = self.document.as_ref().map(|document| document.fetched_at);
        let retired = self.retired.iter().map(Retired::seen_at);
        let mut all = [Some(self.failed_at), self.unknown_kid_at, lease, document].into_iter().flatten().chain(retired);
        all.any(|at| at > now)
    }

    /// What makes the fetch that is under way conditional. A file's date does not tell whether it was put back to an older
    /// one; when a token speaks for a change, only an entity tag may deny it.
    pub fn validators(&self) -> Validators {
        let Some(document) = &self.document else { return Validators::default() };
        let asked_for = self.lease.is_some_and(|lease| self.unknown_kid_at == Some(lease.taken_at));
        let last_modified = document.validators.last_modified.clone().filter(|_| !asked_for);
        Validators { last_modified, ..document.validators.clone() }
    }

    /// What can change the verdict on a request that waits for a key: the end of a fetch, and other keys.
    pub fn decision_fingerprint(&self) -> (u64, u32, Option<(u64, u64)>) {
        (self.finished, self.failures, self.document.as_ref().map(|document| (document.fetch, document.generation)))
    }

    /// No fetch starts before this.
    pub fn retry_at(&self) -> UnixTime {
        self.failed_at.plus(self.pause)
    }

    /// Whether a fetch is under way.
    pub fn is_fetching(&self, now: UnixTime) -> bool {
        self.lease.is_some_and(|lease| lease.is_held(now))
    }
}

/// Numbers little-endian, bytes behind their length.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn optional(&mut self, number: Option<u64>) {
        self.number(number.unwrap_or(ABSENT));
    }

    fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn freshness(&mut self, freshness: Freshness) {
        self.optional(freshness.lifetime.map(|lifetime| lifetime.as_secs()));
        self.duration(freshness.age);
        self.optional(freshness.stale_if_error.map(|bound| bound.as_secs()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: Option<&str>) {
        self.bytes(text.unwrap_or_default().as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, tail) = self.0.split_first_chunk::<8>()?;
        self.0 = tail;
        Some(u64::from_le_bytes(*number))
    }

    fn optional(&mut self) -> Option<Option<u64>> {
        self.number().map(|number| (number != ABSENT).then_some(number))
    }

    fn time(&mut self) -> Option<Option<UnixTime>> {
        Some(self.optional()?.map(UnixTime::from_millis))
    }

    fn seconds(&mut self) -> Option<Option<Duration>> {
        Some(self.optional()?.map(Duration::from_secs))
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    fn freshness(&mut self) -> Option<Freshness> {
        Some(Freshness { lifetime: self.seconds()?, age: self.duration()?, stale_if_error: self.seconds()? })
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(bytes)
    }

    fn text(&mut self) -> Option<Option<String>> {
        let bytes = self.bytes()?;
        let plain = bytes.len() <= MAX_VALIDATOR_BYTES && bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e));
        let text = plain.then(|| std::str::from_utf8(bytes).ok()).flatten()?;
        Some((!text.is_empty()).then(|| text.to_owned()))
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
            failed_at: at(8),
            pause: Duration::from_millis(22),
            unknown_kid_at: Some(at(5)),
            document: Some(CachedJwks {
                fetch: 3,
                generation: 2,
                rotated_at: at(1),
                fetched_at: at(1),
                freshness: freshness(9),
                validators: Validators { etag: Some("\"a\"".to_owned()), last_modified: None },
                jitter: 77,
                body: b"{}".to_vec(),
            }),
            retired: vec![
                Retired {
                    gone_at: at(6),
                    gone_for: Duration::from_millis(1),
                    unconfirmed_for: Duration::from_millis(3),
                    freshness: freshness(2),
                    jwk: b"{1}".to_vec(),
                },
                Retired { gone_at: at(7), ..Retired::default() },
            ],
        }
    }

    fn freshness(seconds: u64) -> Freshness {
        let age = Duration::from_millis(seconds * 100);
        Freshness { lifetime: Some(Duration::from_secs(seconds)), age, stale_if_error: None }
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

    #[test]
    fn nothing_lies_in_the_future_after_the_clock_stepped_back() {
        let at = UnixTime::from_millis;
        let now = at(4);
        assert!(full().has_future_timestamps(now) && !full().has_future_timestamps(at(10)));
        let record = full().as_of(now);
        assert_eq!((record.retry_at(), record.unknown_kid_at), (now, None));
        assert_eq!(record.lease, Some(Lease { taken_at: now, until: at(14) }), "its length stays");
        assert_eq!(record.document.as_ref().map(|d| d.fetched_at), Some(at(1)));
        assert!(record.retired.iter().all(|retired| retired.seen_at() == now));
        assert_eq!(record.retired[0].gone_at, at(3), "what is over of its grace stays so");
        assert!(!record.has_future_timestamps(now));
        assert_eq!(full().as_of(at(1000)), full());
    }
}
