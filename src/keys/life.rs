//! The life of a key set: when a fetch may start, and what its end changes.
//!
//! A pure transition, [`step`], over the shared [`Record`]; the caller runs it under compare-and-swap, so that all workers
//! of the process make one history out of it.
//!
//! ```text
//!            ┌── Missing ──┐ fetch            ┌──── good fetch ────┐
//!            │             ▼                  │                    │
//!            │          Fetching ──────────▶ Fresh ─ expires_at ▶ Stale ─ + max_stale ▶ Expired
//!            └── failed ───┘                  └─ refresh ahead ────┘
//! ```

use std::time::Duration;

use super::{
    document::Limits,
    lease::Lease,
    record::{Record, Stored},
};
use crate::time::UnixTime;

/// What a provider's configuration says about its key set's life.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Lifetime of a document.
    pub cache_duration: Duration,
    /// How long past its expiry a document stays usable while the issuer fails.
    pub max_stale: Duration,
    /// At most one refresh for an unknown `kid` starts in this time, whatever became of it.
    pub unknown_kid_min_interval: Duration,
    /// How long a request waits for a refresh, running or due within this time.
    pub unknown_kid_max_wait: Duration,
    /// How long one fetch may take.
    pub fetch_timeout: Duration,
    /// Bounds of a document.
    pub limits: Limits,
}

/// Envoy's `cache_duration` where none is configured.
pub const DEFAULT_CACHE_DURATION: Duration = Duration::from_secs(600);
/// Bounded staleness: past this, old keys are no better than none.
pub const DEFAULT_MAX_STALE: Duration = Duration::from_secs(3600);
/// See [`Terms::unknown_kid_min_interval`].
pub const DEFAULT_UNKNOWN_KID_MIN_INTERVAL: Duration = Duration::from_secs(10);
/// See [`Terms::unknown_kid_max_wait`].
pub const DEFAULT_UNKNOWN_KID_MAX_WAIT: Duration = Duration::from_secs(5);

/// A fetch ends by its timeout; its callback then needs a moment to be run and shared.
const LEASE_MARGIN: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// The background refresh starts when this part of the lifetime is left.
const REFRESH_AHEAD_DIVISOR: u32 = 5;

/// Why a fetch is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There are no keys, or they are about to expire or have.
    Schedule,
    /// A token named a key that the set does not have.
    UnknownKid,
}

/// Something that happens to a key set.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants a fetch.
    Refresh(Cause),
    /// Fetch number `fetch` ended with a good document, or failed.
    Fetched {
        /// Its number, from [`Effect::Fetch`].
        fetch: u64,
        /// The document's bytes, already found good; `None` for any failure.
        body: Option<Vec<u8>>,
    },
}

/// What follows from an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The caller holds the lease and must start fetch number `.0`.
    Fetch(u64),
    /// Nobody may start one before this.
    NotBefore(UnixTime),
    /// A fetch is already under way.
    Running,
    /// The fetch is over and its result is in the record.
    Settled,
    /// The fetch had lost its lease; its result counts for nothing.
    Late,
}

/// One transition. `None` instead of a record: nothing changed, there is nothing to store.
pub fn step(record: &Record, event: Event, terms: &Terms, now: UnixTime) -> (Option<Record>, Effect) {
    match event {
        Event::Refresh(cause) => refresh(record, cause, terms, now),
        Event::Fetched { fetch, body } => settle(record, fetch, body, terms, now),
    }
}

fn refresh(record: &Record, cause: Cause, terms: &Terms, now: UnixTime) -> (Option<Record>, Effect) {
    if record.is_fetching(now) {
        return (None, Effect::Running);
    }
    let due = refresh_due(record, cause, terms, now);
    if due > now {
        return (None, Effect::NotBefore(due));
    }
    let fetch = record.started.saturating_add(1);
    let next = Record {
        version: record.version.saturating_add(1),
        started: fetch,
        lease: Some(Lease::take(now, terms.fetch_timeout.saturating_add(LEASE_MARGIN))),
        unknown_kid_at: if cause == Cause::UnknownKid { Some(now) } else { record.unknown_kid_at },
        ..record.clone()
    };
    (Some(next), Effect::Fetch(fetch))
}

fn settle(
    record: &Record,
    fetch: u64,
    body: Option<Vec<u8>>,
    terms: &Terms,
    now: UnixTime,
) -> (Option<Record>, Effect) {
    if record.lease.is_none() || record.started != fetch {
        return (None, Effect::Late);
    }
    let mut next = Record { version: record.version.saturating_add(1), finished: fetch, lease: None, ..record.clone() };
    match body {
        Some(body) => {
            let generation = match &record.document {
                Some(old) if old.body == body => old.generation,
                // Never a number that another set had, even if shared data was lost meanwhile.
                Some(old) => old.generation.saturating_add(1).max(now.as_millis()),
                None => now.as_millis(),
            };
            next.failures = 0;
            next.retry_at = now;
            next.document =
                Some(Stored { fetch, generation, fetched_at: now, expires_at: now.plus(terms.cache_duration), body });
        }
        None => {
            next.failures = record.failures.saturating_add(1);
            next.retry_at = now.plus(backoff(next.failures));
        }
    }
    (Some(next), Effect::Settled)
}

/// The earliest time at which a refresh of this cause may start, were none under way.
pub fn refresh_due(record: &Record, cause: Cause, terms: &Terms, now: UnixTime) -> UnixTime {
    // Times that lie further ahead than we would ever have set them were set before the clock stepped back.
    let retry = record.retry_at.min(now.plus(LAST_BACKOFF));
    let scheduled = match &record.document {
        None => now,
        Some(d) if d.fetched_at > now => now,
        Some(d) => {
            let lifetime = d.expires_at.since(d.fetched_at);
            d.expires_at.minus(lifetime.checked_div(REFRESH_AHEAD_DIVISOR).unwrap_or_default())
        }
    };
    match cause {
        Cause::Schedule => retry.max(scheduled),
        Cause::UnknownKid => match record.unknown_kid_at {
            Some(last) if last <= now => retry.max(last.plus(terms.unknown_kid_min_interval)),
            _ => retry,
        },
    }
}

/// Whether the record's document may be used now: fresh, or stale within its bound.
pub fn is_usable(document: &Stored, terms: &Terms, now: UnixTime) -> bool {
    now < document.expires_at.plus(terms.max_stale)
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LAST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        cache_duration: Duration::from_secs(100),
        max_stale: Duration::from_secs(50),
        unknown_kid_min_interval: Duration::from_secs(10),
        unknown_kid_max_wait: Duration::from_secs(5),
        fetch_timeout: Duration::from_secs(2),
        limits: Limits { max_document_bytes: 65_536, max_keys: 100 },
    };

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn apply(record: &mut Record, event: Event, now: UnixTime) -> Effect {
        let (next, effect) = step(record, event, &TERMS, now);
        if let Some(next) = next {
            assert!(next.version > record.version);
            *record = next;
        }
        effect
    }

    fn fetched(record: &mut Record, body: Option<&str>, now: UnixTime) -> Effect {
        let fetch = record.started;
        apply(record, Event::Fetched { fetch, body: body.map(|b| b.as_bytes().to_vec()) }, now)
    }

    fn fresh(body: &str) -> Record {
        let mut record = Record::default();
        assert_eq!(apply(&mut record, Event::Refresh(Cause::Schedule), at(0)), Effect::Fetch(1));
        assert_eq!(fetched(&mut record, Some(body), at(0)), Effect::Settled);
        record
    }

    #[test]
    fn one_fetch_at_a_time() {
        let mut record = Record::default();
        assert_eq!(apply(&mut record, Event::Refresh(Cause::Schedule), at(0)), Effect::Fetch(1));
        assert_eq!(apply(&mut record, Event::Refresh(Cause::Schedule), at(1)), Effect::Running);
        assert_eq!(apply(&mut record, Event::Refresh(Cause::UnknownKid), at(2)), Effect::Running);
    }

    #[test]
    fn a_dead_holder_costs_only_its_lease_and_its_late_result_counts_for_nothing() {
        let mut record = Record::default();
        apply(&mut record, Event::Refresh(Cause::Schedule), at(0));
        assert_eq!(apply(&mut record, Event::Refresh(Cause::Schedule), at(3)), Effect::Fetch(2));
        let late = Event::Fetched { fetch: 1, body: Some(b"old".to_vec()) };
        assert_eq!(apply(&mut record, late, at(4)), Effect::Late);
        assert_eq!(record.document, None);
        assert_eq!(fetched(&mut record, Some("new"), at(4)), Effect::Settled);
    }

    #[test]
    fn a_result_is_settled_once() {
        let mut record = fresh("a");
        assert_eq!(fetched(&mut record, Some("b"), at(1)), Effect::Late);
    }

    #[test]
    fn refreshed_ahead_of_expiry_and_not_before() {
        let mut record = fresh("a");
        assert_eq!(apply(&mut record, Event::Refresh(Cause::Schedule), at(79)), Effect::NotBefore(at(80)));
        assert_eq!(apply(&mut record, Event::Refresh(Cause::Schedule), at(80)), Effect::Fetch(2));
    }

    #[test]
    fn unknown_kids_start_one_refresh_per_interval_whatever_became_of_it() {
        for body in [Some("a"), None] {
            let mut record = fresh("a");
            assert_eq!(apply(&mut record, Event::Refresh(Cause::UnknownKid), at(5)), Effect::Fetch(2));
            fetched(&mut record, body, at(5));
            assert_eq!(apply(&mut record, Event::Refresh(Cause::UnknownKid), at(14)), Effect::NotBefore(at(15)));
            assert_eq!(apply(&mut record, Event::Refresh(Cause::UnknownKid), at(15)), Effect::Fetch(3));
        }
    }

    #[test]
    fn a_failure_keeps_the_old_set_and_backs_off() {
        let mut record = fresh("a");
        let old = record.document.clone();
        let mut waits = Vec::new();
        let mut now = at(90);
        for _ in 0..12 {
            assert!(matches!(apply(&mut record, Event::Refresh(Cause::Schedule), now), Effect::Fetch(_)));
            fetched(&mut record, None, now);
            waits.push(record.retry_at.since(now));
            now = record.retry_at;
        }
        assert_eq!(record.document, old);
        assert!(waits.windows(2).all(|w| w[0] <= w[1]), "{waits:?}");
        assert_eq!((waits[0], waits[11]), (FIRST_BACKOFF, LAST_BACKOFF));
    }

    #[test]
    fn stale_keys_are_usable_within_their_bound_only() {
        let record = fresh("a");
        let document = record.document.unwrap();
        assert!(is_usable(&document, &TERMS, at(149)));
        assert!(!is_usable(&document, &TERMS, at(150)));
    }

    #[test]
    fn the_generation_follows_the_content() {
        let mut record = fresh("a");
        let first = record.document.as_ref().unwrap().generation;
        for (body, same) in [("a", true), ("b", false)] {
            let now = at(if same { 85 } else { 170 });
            apply(&mut record, Event::Refresh(Cause::Schedule), now);
            fetched(&mut record, Some(body), now);
            let document = record.document.as_ref().unwrap();
            assert_eq!(document.generation == first, same);
            assert_eq!(document.fetch, record.started);
        }
    }

    #[test]
    fn a_clock_that_steps_back_a_day_delays_no_refresh_beyond_the_last_backoff() {
        let day = 86_400;
        let mut record = fresh("a");
        apply(&mut record, Event::Refresh(Cause::UnknownKid), at(50));
        let now = UnixTime::from_millis(at(0).as_millis() - day * 1000);
        // The lease, the interval and the schedule all lie in what is now the future.
        assert!(
            matches!(apply(&mut record, Event::Refresh(Cause::UnknownKid), now), Effect::NotBefore(t) if t <= now.plus(LAST_BACKOFF))
        );
        assert!(matches!(
            apply(&mut record, Event::Refresh(Cause::Schedule), now.plus(LAST_BACKOFF)),
            Effect::NotBefore(_) | Effect::Fetch(_)
        ));
        fetched(&mut record, None, now);
        assert!(matches!(
            apply(&mut record, Event::Refresh(Cause::Schedule), now.plus(LAST_BACKOFF)),
            Effect::Fetch(_)
        ));
    }
}
