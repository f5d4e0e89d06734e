//! The shared form of a key set: one value in shared data per issuer, replaced only by compare-and-swap.
//!
//! Any plugin may write to the same namespace (under Istio all `vm_id`s are empty), and an older build of this plugin may have
//! written before: bytes that do not decode count as absent.

use std::{rc::Rc, time::Duration};

use super::{
    http_cache::{Freshness, Validators, MAX_VALIDATOR_BYTES},
    lease::Lease,
    retired::RetiredKey,
};
use crate::{
    shared::codec::{Reader, Writer},
    time::UnixTime,
};

/// All that the process knows about an issuer's keys. A record holds facts only. What follows from the facts is for each
/// configuration to say, so that a new configuration can take over the record of an old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Grows with every change. A worker sees from these eight bytes whether it is up to date.
    pub version: u64,
    /// The number of the newest fetch that was started. Later fetches have higher numbers.
    pub started: u64,
    /// The number of the last fetch that ended, well or badly.
    pub finished: u64,
    /// Held by fetch number `started`.
    pub lease: Option<Lease>,
    /// The number of failed fetches since the last good one.
    pub failures: u32,
    /// When the last fetch failed.
    pub failed_at: UnixTime,
    /// How long after `failed_at` no fetch starts.
    pub pause: Duration,
    /// When a token last caused a refresh.
    pub unknown_kid_at: Option<UnixTime>,
    /// The last good JWKS.
    pub document: Option<CachedJwks>,
    /// Keys of earlier JWKSs.
    pub retired: Vec<RetiredKey>,
}

/// A JWKS as it was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedJwks {
    /// The fetch that brought or confirmed the JWKS.
    pub fetch: u64,
    /// Grows when the keys change. Workers parse once per generation.
    pub generation: u64,
    /// When a key first appeared, or the first JWKS did.
    pub rotated_at: UnixTime,
    /// When the JWKS was fetched or confirmed.
    pub fetched_at: UnixTime,
    /// What the issuer stated about the lifetime.
    pub freshness: Freshness,
    /// What makes the next request conditional.
    pub validators: Validators,
    /// A random number that spreads the refreshes of many proxies.
    pub jitter: u32,
    /// The JWKS itself.
    pub body: Rc<[u8]>,
}

/// A clock that steps back by more than this makes the plugin discard its own records.
const LONGEST_CLOCK_STEP: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The format marker. Another layout takes another marker.
const MARKER: &[u8; 8] = b"jwksgat4";

impl Record {
    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(MARKER);
        for number in [self.version, self.started, self.finished] {
            out.number(number);
        }
        out.optional_time(self.lease.map(|lease| lease.taken_at));
        out.optional_time(self.lease.map(|lease| lease.until));
        out.number(u64::from(self.failures));
        out.time(self.failed_at);
        out.duration(self.pause);
        out.optional_time(self.unknown_kid_at);
        out.number(u64::from(self.document.is_some()));
        if let Some(document) = &self.document {
            out.number(document.fetch);
            out.number(document.generation);
            out.time(document.rotated_at);
            out.time(document.fetched_at);
            write_freshness(&mut out, document.freshness);
            out.number(u64::from(document.jitter));
            out.bytes(document.validators.etag.as_deref().unwrap_or_default().as_bytes());
            out.bytes(document.validators.last_modified.as_deref().unwrap_or_default().as_bytes());
            out.bytes(&document.body);
        }
        out.number(self.retired.len() as u64);
        for retired in &self.retired {
            out.time(retired.gone_at);
            out.duration(retired.gone_for);
            out.duration(retired.unconfirmed_for);
            write_freshness(&mut out, retired.freshness);
            out.bytes(&retired.jwk);
        }
        out.into_bytes()
    }

    /// Reads shared bytes at `now`. `None`: the bytes are no record that this plugin can have written.
    ///
    /// Numbers follow the clock. A number far beyond the clock is another plugin's: it would leave no room for the next one.
    pub fn read(bytes: &[u8], now: UnixTime) -> Option<Self> {
        let latest = now.plus(LONGEST_CLOCK_STEP).as_millis();
        let record = Self::decode(bytes)?;
        let document = record.document.iter().flat_map(|document| [document.fetch, document.generation]);
        let mut numbers = [record.version, record.started, record.finished].into_iter().chain(document);
        numbers.all(|number| number <= latest).then_some(record)
    }

    /// Reads shared bytes. `None`: the bytes are no whole record of this format.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes, MARKER)?;
        let (version, started, finished) = (from.number()?, from.number()?, from.number()?);
        let (taken_at, until) = (from.optional_time()?, from.optional_time()?);
        let (failures, failed_at, pause) = (from.small_number()?, from.time()?, from.duration()?);
        let unknown_kid_at = from.optional_time()?;
        let document = match from.number()? {
            0 => None,
            _ => Some(CachedJwks {
                fetch: from.number()?,
                generation: from.number()?,
                rotated_at: from.time()?,
                fetched_at: from.time()?,
                freshness: read_freshness(&mut from)?,
                jitter: from.small_number()?,
                validators: Validators { etag: read_validator(&mut from)?, last_modified: read_validator(&mut from)? },
                body: from.bytes()?.into(),
            }),
        };
        let mut retired = Vec::new();
        for _ in 0..from.number()? {
            retired.push(RetiredKey {
                gone_at: from.time()?,
                gone_for: from.duration()?,
                unconfirmed_for: from.duration()?,
                freshness: read_freshness(&mut from)?,
                jwk: from.bytes()?.to_vec(),
            });
        }
        let lease = taken_at.zip(until).map(|(taken_at, until)| Lease { taken_at, until });
        let record =
            Self { version, started, finished, lease, failures, failed_at, pause, unknown_kid_at, document, retired };
        from.is_empty().then_some(record)
    }

    /// This record under a clock that shows `now`. A timestamp from the future was written before the clock stepped back. Keys
    /// and leases then count as of `now`, so that no step makes them last for ever, and what forbids a fetch is forgotten. A
    /// document keeps the age that later timestamps prove, so that no step revives an expired document.
    pub fn clamp_to(mut self, now: UnixTime) -> Self {
        let latest = self.last_event_at();
        if self.failed_at > now {
            (self.failed_at, self.pause) = (now, Duration::ZERO);
        }
        self.unknown_kid_at = self.unknown_kid_at.filter(|at| *at <= now);
        self.lease = self.lease.map(|lease| lease.clamp_to(now));
        if let Some(document) = &mut self.document {
            document.rotated_at = document.rotated_at.min(now);
            if document.fetched_at > now {
                document.fetched_at = now.minus(latest.since(document.fetched_at));
            }
        }
        self.retired = self.retired.into_iter().map(|retired| retired.clamp_to(now)).collect();
        self
    }

    /// This record as a worker knows it whose clock showed `seen` before it stepped back to `now`: what is over of a grace was
    /// over at `seen`.
    pub fn observed(mut self, seen: UnixTime, now: UnixTime) -> Self {
        let observe = |retired: RetiredKey| match retired.last_observed_at() > now {
            true => retired.observed_gone(seen),
            false => retired,
        };
        self.retired = self.retired.into_iter().map(observe).collect();
        self
    }

    /// Whether any timestamp lies in the future.
    pub fn has_future_timestamps(&self, now: UnixTime) -> bool {
        let document = self.document.iter().map(|document| document.fetched_at);
        let retired = self.retired.iter().map(RetiredKey::last_observed_at);
        std::iter::once(self.last_event_at()).chain(document).chain(retired).any(|at| at > now)
    }

    /// When a fetch last started or failed, as far as the record tells.
    fn last_event_at(&self) -> UnixTime {
        let lease = self.lease.map(|lease| lease.taken_at);
        [self.unknown_kid_at, lease].into_iter().flatten().fold(self.failed_at, UnixTime::max)
    }

    /// What makes the running fetch conditional. The date of a file does not tell whether an older file was put back, so where
    /// a token speaks for a change, only an entity tag may deny the change.
    pub fn validators(&self) -> Validators {
        let Some(document) = &self.document else { return Validators::default() };
        let last_modified = document.validators.last_modified.clone().filter(|_| !self.is_fetching_for_token());
        Validators { last_modified, ..document.validators.clone() }
    }

    /// Whether a token caused the running fetch.
    pub fn is_fetching_for_token(&self) -> bool {
        self.lease.is_some_and(|lease| self.unknown_kid_at == Some(lease.taken_at))
    }

    /// What can change the verdict on a request that waits for a key: the end of a fetch, and other keys.
    pub fn decision_fingerprint(&self) -> (u64, u32, Option<(u64, u64)>) {
        (self.finished, self.failures, self.document.as_ref().map(|document| (document.fetch, document.generation)))
    }

    /// No fetch starts before this time.
    pub fn retry_at(&self) -> UnixTime {
        self.failed_at.plus(self.pause)
    }

    /// Whether a fetch runs.
    pub fn is_fetching(&self, now: UnixTime) -> bool {
        self.lease.is_some_and(|lease| lease.is_held(now))
    }
}

fn write_freshness(out: &mut Writer, freshness: Freshness) {
    out.optional_seconds(freshness.lifetime);
    out.duration(freshness.age);
    out.optional_seconds(freshness.stale_if_error);
}

fn read_freshness(from: &mut Reader<'_>) -> Option<Freshness> {
    let (lifetime, age, stale_if_error) = (from.optional_seconds()?, from.duration()?, from.optional_seconds()?);
    Some(Freshness { lifetime, age, stale_if_error })
}

/// A validator is sent back to the issuer: printable and bounded. An empty validator is none.
fn read_validator(from: &mut Reader<'_>) -> Option<Option<String>> {
    let bytes = from.bytes()?;
    let is_printable = bytes.len() <= MAX_VALIDATOR_BYTES && bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    let text = is_printable.then(|| std::str::from_utf8(bytes).ok()).flatten()?;
    Some((!text.is_empty()).then(|| text.to_owned()))
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
                body: b"{}"[..].into(),
            }),
            retired: vec![
                RetiredKey {
                    gone_at: at(6),
                    gone_for: Duration::from_millis(1),
                    unconfirmed_for: Duration::from_millis(3),
                    freshness: freshness(2),
                    jwk: b"{1}".to_vec(),
                },
                RetiredKey { gone_at: at(7), ..RetiredKey::default() },
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
            let mut tampered = good.clone();
            tampered[place] ^= 0xff;
            let _ = Record::decode(&tampered); // must not panic
        }
    }

    #[test]
    fn numbers_far_beyond_the_clock_count_as_absent() {
        let now = UnixTime::from_millis(1_700_000_000_000);
        let read = |change: fn(&mut Record)| {
            let mut record = full();
            change(&mut record);
            Record::read(&record.encode(), now).is_some()
        };
        assert!(read(|_| {}) && read(|record| record.version = 1_700_000_000_000 + 86_400_000));
        assert!(!read(|record| record.version = u64::MAX) && !read(|record| record.started = u64::MAX - 1));
        assert!(!read(|record| record.finished = 1 << 50));
        assert!(!read(|record| record.document.as_mut().unwrap().generation = u64::MAX));
        assert!(!read(|record| record.document.as_mut().unwrap().fetch = u64::MAX));
    }

    #[test]
    fn nothing_lies_in_the_future_after_the_clock_stepped_back() {
        let at = UnixTime::from_millis;
        let now = at(4);
        assert!(full().has_future_timestamps(now) && !full().has_future_timestamps(at(10)));
        let record = full().clamp_to(now);
        assert_eq!((record.retry_at(), record.unknown_kid_at), (now, None));
        assert_eq!(record.lease, Some(Lease { taken_at: now, until: at(14) }), "its length stays");
        assert_eq!(record.document.as_ref().map(|d| d.fetched_at), Some(at(1)));
        assert!(record.retired.iter().all(|retired| retired.last_observed_at() == now));
        assert_eq!(record.retired[0].gone_at, at(3), "what is over of its grace stays so");
        assert!(!record.has_future_timestamps(now));
        assert_eq!(full().clamp_to(at(1000)), full());
        // A fetch failed when the document was 60 ms old: the document is not younger after the step.
        let mut expired = full();
        (expired.failed_at, expired.document.as_mut().unwrap().fetched_at) = (at(160), at(100));
        assert_eq!(expired.clamp_to(at(70)).document.map(|document| document.fetched_at), Some(at(10)));
    }
}
