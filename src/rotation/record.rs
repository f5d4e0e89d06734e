//! The shared form of a key set: one value in shared data per issuer, replaced only by compare-and-swap.
//!
//! Any plugin may write to the same namespace (under Istio all `vm_id`s are empty), and an older build of this plugin may have
//! written before: bytes that do not decode count as absent.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use sha2::{Digest, Sha256};

use super::{
    clock::{RecordClock, LONGEST_AHEAD},
    http_cache::{Freshness, Validators, MAX_VALIDATOR_BYTES},
    lease::Lease,
    retired::RetiredKey,
};
use crate::{
    keys::revoked::FormerName,
    shared::codec::{Reader, Writer},
    time::{UnixTime, LONGEST_CLOCK_STEP},
};

/// All that the process knows about an issuer's keys. A record holds facts only. What follows from the facts is for each
/// configuration to say, so that a new configuration can take over the record of an old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Grows with every change. A worker sees from these eight bytes whether it is up to date.
    pub version: u64,
    /// The record's time ([`super::clock`]) when it was last written. No other time in the record is later, but for the end of
    /// the lease.
    pub written_at: UnixTime,
    /// How far `written_at` was ahead of the writer's clock.
    pub ahead: Duration,
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
    /// When that refresh ended, until another fetch starts: a second look may follow.
    pub looked_at: Option<UnixTime>,
    /// The number of the last fetch that was a second look.
    pub second_look: u64,
    /// Whether the key set has ever had a JWKS, also one that is lost by now.
    pub has_had_jwks: bool,
    /// The last good JWKS.
    pub document: Option<CachedJwks>,
    /// Keys of earlier JWKSs.
    pub retired: Vec<RetiredKey>,
    /// The names that keys have lost, the oldest first. An entry of `revoked_keys` covers a key that was renamed since.
    pub former: Vec<FormerName>,
}

/// A digest that tells whether two values are equal.
pub type Fingerprint = [u8; 32];

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
    /// The digest of the endpoint that sent the JWKS.
    pub source: u64,
    /// The URI of the JWKS, if the issuer's metadata named it. A worker that cannot read the metadata goes there.
    pub location: String,
    /// What makes the next request to that endpoint conditional.
    pub validators: Validators,
    /// A random number that spreads the refreshes of many proxies.
    pub jitter: u32,
    /// The JWKS itself.
    pub body: Rc<[u8]>,
}

/// Longer pauses between fetches, and longer leases, are another plugin's: they would end fetching. No configuration has longer
/// ones, and a lease is renewed to twice its length at most.
const LONGEST_WAIT: Duration = Duration::from_secs(3 * 3600);

/// A longer URI is not taken from metadata.
pub const MAX_LOCATION_BYTES: usize = 2048;

/// The format marker. Another layout takes another marker.
pub const MARKER: &[u8; 8] = b"jwksgat9";

impl Record {
    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(MARKER);
        for number in [self.version, self.started, self.finished] {
            out.number(number);
        }
        out.time(self.written_at);
        out.duration(self.ahead);
        out.optional_time(self.lease.map(|lease| lease.taken_at));
        out.optional_time(self.lease.map(|lease| lease.until));
        out.number(u64::from(self.failures));
        out.time(self.failed_at);
        out.duration(self.pause);
        out.optional_time(self.unknown_kid_at);
        out.optional_time(self.looked_at);
        out.number(self.second_look);
        out.number(u64::from(self.has_had_jwks));
        out.number(u64::from(self.document.is_some()));
        if let Some(document) = &self.document {
            out.number(document.fetch);
            out.number(document.generation);
            out.number(document.source);
            out.bytes(document.location.as_bytes());
            out.time(document.rotated_at);
            out.time(document.fetched_at);
            write_freshness(&mut out, document.freshness);
            out.number(u64::from(document.jitter));
            out.bytes(document.validators.etag.as_deref().unwrap_or_default().as_bytes());
            out.bytes(document.validators.last_modified.as_deref().unwrap_or_default().as_bytes());
            out.bytes(&document.body);
        }
        self.write_earlier_keys(&mut out);
        out.into_bytes()
    }

    fn write_earlier_keys(&self, out: &mut Writer) {
        out.number(self.retired.len() as u64);
        for retired in &self.retired {
            out.time(retired.gone_at);
            out.duration(retired.unconfirmed_for);
            write_freshness(out, retired.freshness);
            out.bytes(&retired.jwk);
        }
        out.number(self.former.len() as u64);
        for name in &self.former {
            out.array(&name.kid);
            out.array(&name.thumbprint);
        }
    }

    /// Reads shared bytes at `now`. `None`: the bytes are no record that this plugin can have written.
    pub fn read(bytes: &[u8], now: UnixTime) -> Option<Self> {
        Self::decode(bytes).filter(|record| record.is_plausible(now))
    }

    /// Whether this plugin can have written the record. Numbers follow the clock: a number far beyond the clock is another
    /// plugin's, and would leave no room for the next one. So is a time after the record was written.
    pub fn is_plausible(&self, now: UnixTime) -> bool {
        let latest = now.plus(LONGEST_CLOCK_STEP).as_millis();
        let document = self.document.iter();
        let numbers = document.clone().flat_map(|document| [document.fetch, document.generation]);
        let mut numbers = [self.version, self.started, self.finished, self.second_look, self.written_at.as_millis()]
            .into_iter()
            .chain(numbers);
        let times = document.flat_map(|document| [document.fetched_at, document.rotated_at]);
        let times = times.chain(self.retired.iter().map(|retired| retired.gone_at));
        let taken_at = self.lease.map(|lease| lease.taken_at);
        let mut times =
            times.chain([Some(self.failed_at), self.unknown_kid_at, self.looked_at, taken_at].into_iter().flatten());
        let longest_wait = self.written_at.plus(LONGEST_WAIT);
        numbers.all(|number| number <= latest)
            && self.ahead <= LONGEST_AHEAD
            && self.written_at <= now.plus(LONGEST_AHEAD)
            && self.pause <= LONGEST_WAIT
            && self.lease.is_none_or(|lease| lease.until <= longest_wait)
            && times.all(|time| time <= self.written_at)
    }

    /// Reads shared bytes. `None`: the bytes are no whole record of this format.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes, MARKER)?;
        let (version, started, finished) = (from.number()?, from.number()?, from.number()?);
        let (written_at, ahead) = (from.time()?, from.duration()?);
        let (taken_at, until) = (from.optional_time()?, from.optional_time()?);
        let (failures, failed_at, pause) = (from.small_number()?, from.time()?, from.duration()?);
        let (unknown_kid_at, looked_at, second_look) = (from.optional_time()?, from.optional_time()?, from.number()?);
        let has_had_jwks = from.number()? != 0;
        let document = match from.number()? {
            0 => None,
            _ => Some(CachedJwks {
                fetch: from.number()?,
                generation: from.number()?,
                source: from.number()?,
                location: read_printable(&mut from, MAX_LOCATION_BYTES)?.to_owned(),
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
                unconfirmed_for: from.duration()?,
                freshness: read_freshness(&mut from)?,
                jwk: from.bytes()?.to_vec(),
            });
        }
        let mut former = Vec::new();
        for _ in 0..from.number()? {
            former.push(FormerName { kid: from.array()?, thumbprint: from.array()? });
        }
        let lease = taken_at.zip(until).map(|(taken_at, until)| Lease { taken_at, until });
        let record = Self {
            version,
            written_at,
            ahead,
            started,
            finished,
            lease,
            failures,
            failed_at,
            pause,
            unknown_kid_at,
            looked_at,
            second_look,
            has_had_jwks,
            document,
            retired,
            former,
        };
        from.is_empty().then_some(record)
    }

    /// This record without the bytes of keys, as of a clock that is behind by `ahead`.
    pub fn outline(&self, ahead: Duration) -> Self {
        let back = |time: UnixTime| time.minus(ahead);
        let document = self.document.as_ref().map(|document| CachedJwks {
            rotated_at: back(document.rotated_at),
            fetched_at: back(document.fetched_at),
            location: document.location.clone(),
            validators: document.validators.clone(),
            body: Rc::default(),
            ..*document
        });
        Self {
            written_at: back(self.written_at),
            lease: self.lease.map(|lease| Lease { taken_at: back(lease.taken_at), until: back(lease.until) }),
            failed_at: back(self.failed_at),
            unknown_kid_at: self.unknown_kid_at.map(back),
            looked_at: self.looked_at.map(back),
            document,
            retired: Vec::new(),
            former: Vec::new(),
            ..*self
        }
    }

    /// This record for a worker that knows `known`, and whose clock is `clock` and shows `now`. If the writer was behind, what
    /// paces fetches has begun in a time that was behind, and moves along: neither an interval nor a lease ends early.
    pub fn caught_up(mut self, known: &Self, clock: RecordClock, now: UnixTime) -> Self {
        self.has_had_jwks = self.knows_of_jwks() || known.knows_of_jwks();
        if (self.started, self.version) == (known.started, known.version) {
            // The worker knows what its own clock has done since.
            let (ahead, written_at) = (known.ahead, self.written_at.max(known.written_at));
            let Self { lease, unknown_kid_at, looked_at, .. } = *known;
            let paced = Self { ahead, written_at, lease, unknown_kid_at, looked_at, ..self };
            return paced.moved_along(clock, now);
        }
        self.moved_along(clock, now)
    }

    fn moved_along(self, clock: RecordClock, now: UnixTime) -> Self {
        let behind = clock.ahead().saturating_sub(self.ahead);
        let is_before_step = self.written_at.minus(self.ahead) > now;
        if behind == Duration::ZERO || is_before_step {
            return self;
        }
        let later = |time: UnixTime| time.plus(behind);
        Self {
            written_at: later(self.written_at),
            ahead: clock.ahead(),
            lease: self.lease.map(|lease| Lease { taken_at: later(lease.taken_at), until: later(lease.until) }),
            unknown_kid_at: self.unknown_kid_at.map(later),
            looked_at: self.looked_at.map(later),
            ..self
        }
    }

    /// Whether the key set has ever had a JWKS, as far as this record tells. The answer never turns to no.
    pub fn knows_of_jwks(&self) -> bool {
        self.has_had_jwks || self.document.is_some()
    }

    /// Whether `known` was written after this record. Each change of a record grows a number, so an earlier record was written
    /// back by another plugin. A newer fetch counts before a newer change.
    pub fn is_older_than(&self, known: &Self) -> bool {
        (self.started, self.version) < (known.started, known.version)
    }

    /// This record with the keys of another, which this record has lost.
    pub fn with_keys_of(self, known: &Self) -> Self {
        let mut former = known.former.clone();
        former.extend(self.former.iter().filter(|name| !known.former.contains(name)));
        Self { document: known.document.clone(), retired: known.retired.clone(), former, ..self }
    }

    /// What the parsed keys follow from, if those with a name on this list are left out.
    pub fn keys_fingerprint(&self, revoked: &BTreeSet<String>) -> Fingerprint {
        let mut out = Writer::default();
        if let Some(document) = &self.document {
            out.number(document.generation);
            out.bytes(&document.body);
        }
        self.write_earlier_keys(&mut out);
        revoked.iter().for_each(|name| out.bytes(name.as_bytes()));
        Sha256::digest(out.into_bytes()).into()
    }

    /// What makes a request of the running fetch conditional, if it goes to the endpoint of this digest. No other endpoint can
    /// tell what became of the JWKS. The date of a file does not tell whether an older file was put back, so where a token speaks
    /// for a change, only an entity tag may deny the change.
    pub fn validators(&self, source: u64) -> Validators {
        let document = self.document.as_ref().filter(|document| document.source == source);
        let Some(document) = document else { return Validators::default() };
        let last_modified = document
            .validators
            .last_modified
            .clone()
            .filter(|_| !self.is_fetching_for_token() && !self.is_looking_again());
        Validators { last_modified, ..document.validators.clone() }
    }

    /// Whether a token caused the running fetch.
    pub fn is_fetching_for_token(&self) -> bool {
        self.lease.is_some_and(|lease| self.unknown_kid_at == Some(lease.taken_at))
    }

    /// Whether the newest fetch is a second look.
    pub fn is_looking_again(&self) -> bool {
        self.second_look == self.started && self.started > 0
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

impl CachedJwks {
    /// What a 304 to a conditional request confirms.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut out = Writer::default();
        for validator in [&self.validators.etag, &self.validators.last_modified] {
            out.bytes(validator.as_deref().unwrap_or_default().as_bytes());
        }
        out.bytes(&self.body);
        Sha256::digest(out.into_bytes()).into()
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
    let text = read_printable(from, MAX_VALIDATOR_BYTES)?;
    Some((!text.is_empty()).then(|| text.to_owned()))
}

fn read_printable<'a>(from: &mut Reader<'a>, most: usize) -> Option<&'a str> {
    let bytes = from.bytes()?;
    let is_printable = bytes.len() <= most && bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    is_printable.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests;
