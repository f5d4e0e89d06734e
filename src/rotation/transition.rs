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
    http_cache::{Freshness, Validators},
    lease::Lease,
    record::{CachedJwks, Record},
    retired::{self, Retired},
    schedule::{self, RotationPolicy},
};
use crate::{keys::document, time::UnixTime};

/// A fetch ends by its timeout; its callback then needs a moment to be run and shared.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// Why a fetch is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// There are no keys, or they are about to expire or have.
    Schedule,
    /// A token named a key that the set does not have.
    UnknownKid,
    /// A signature is not by the key that the token names; the issuer may have put another one under the same name.
    BadSignature,
}

/// Something that happens to a key set.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants a fetch.
    Refresh(Cause),
    /// Fetch number `fetch` ended.
    Fetched {
        /// Its number, from [`Effect::Fetch`].
        fetch: u64,
        /// What it brought.
        outcome: Outcome,
        /// A random number.
        jitter: u32,
    },
    /// The document of this generation cannot be read: somebody else wrote it.
    Discard(u64),
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A document that was already found good.
    Document {
        /// Its bytes.
        body: Vec<u8>,
        /// What its headers say about its lifetime.
        freshness: Freshness,
        /// What makes the next request conditional.
        validators: Validators,
    },
    /// The document in hand is still the issuer's (304).
    NotModified(Freshness),
    /// Nothing that can be used; the issuer may have asked for a pause.
    Failed {
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
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
    /// The fetch had lost its lease, or the document is another by now: nothing changed.
    Late,
    /// The document is gone from the record.
    Discarded,
}

/// One transition. `None` instead of a record: nothing changed, there is nothing to store.
pub fn step(record: &Record, event: Event, terms: &RotationPolicy, now: UnixTime) -> (Option<Record>, Effect) {
    let mut current = record.clone().as_of(now);
    current.retired.retain(|retired| retired.can_still_verify(now));
    if let Some(document) = current.document.as_mut().filter(|_| current.retired != record.retired) {
        document.generation = next(document.generation, now);
    }
    // A step of the clock must be put right once, not anew at each look.
    let moved = (current != *record).then(|| Record { version: current.version.saturating_add(1), ..current.clone() });
    let (changed, effect) = match event {
        Event::Refresh(cause) => refresh(current, cause, terms, now),
        Event::Fetched { fetch, outcome, jitter } => settle(current, fetch, outcome, jitter, terms, now),
        Event::Discard(generation) => discard(current, generation, now),
    };
    let seen = |record: Record| Record {
        retired: record.retired.into_iter().map(|retired| retired.seen(now)).collect(),
        ..record
    };
    (changed.or(moved).map(seen), effect)
}

fn discard(record: Record, generation: u64, now: UnixTime) -> (Option<Record>, Effect) {
    match &record.document {
        Some(document) if document.generation == generation => {
            let version = next(record.version, now);
            (Some(Record { version, document: None, ..record }), Effect::Discarded)
        }
        _ => (None, Effect::Late),
    }
}

fn refresh(record: Record, cause: Cause, terms: &RotationPolicy, now: UnixTime) -> (Option<Record>, Effect) {
    if record.is_fetching(now) {
        return (None, Effect::Running);
    }
    let due = refresh_due(&record, cause, terms, now);
    if due > now {
        return (None, Effect::NotBefore(due));
    }
    let fetch = next(record.started, now);
    let changed = Record {
        version: next(record.version, now),
        started: fetch,
        lease: Some(Lease::take(now, terms.fetch_timeout.saturating_add(LEASE_MARGIN))),
        unknown_kid_at: if cause == Cause::Schedule { record.unknown_kid_at } else { Some(now) },
        ..record
    };
    (Some(changed), Effect::Fetch(fetch))
}

fn settle(
    record: Record,
    fetch: u64,
    outcome: Outcome,
    jitter: u32,
    terms: &RotationPolicy,
    now: UnixTime,
) -> (Option<Record>, Effect) {
    let Some(lease) = record.lease.filter(|_| record.started == fetch) else {
        return (None, Effect::Late);
    };
    // It may have aged on the way since it was asked for (RFC 9111 §4.2.3).
    let aged = |stated: Freshness| Freshness { age: stated.age.saturating_add(now.since(lease.taken_at)), ..stated };
    let mut changed = Record { version: next(record.version, now), finished: fetch, lease: None, ..record };
    let old = changed.document.take();
    changed.document = match (outcome, old) {
        (Outcome::Document { body, freshness, validators }, old) => {
            let before = std::mem::take(&mut changed.retired);
            if let Some(old) = &old {
                changed.retired = retired::retire(old, &body, &before, terms.limits, now);
            }
            let generation = match &old {
                Some(old) if old.body == body && changed.retired == before => old.generation,
                old => next(old.as_ref().map_or(0, |old| old.generation), now),
            };
            let rotated_at = old.as_ref().map_or(now, |old| rotated_at(old, &body, &before, now));
            changed.renew();
            let freshness = aged(freshness);
            Some(CachedJwks { fetch, generation, rotated_at, fetched_at: now, freshness, validators, jitter, body })
        }
        (Outcome::NotModified(stated), Some(old)) => {
            changed.renew();
            // RFC 9111 §4.3.4: what the 304 does not say stays as it was.
            let freshness = Freshness {
                lifetime: stated.lifetime.or(old.freshness.lifetime),
                stale_if_error: stated.stale_if_error.or(old.freshness.stale_if_error),
                ..aged(stated)
            };
            Some(CachedJwks { fetch, fetched_at: now, freshness, jitter, ..old })
        }
        (Outcome::NotModified(_), None) => {
            changed.fail(None, jitter, terms, now);
            None
        }
        (Outcome::Failed { retry_after }, old) => {
            changed.fail(retry_after, jitter, terms, now);
            old
        }
    };
    (Some(changed), Effect::Settled)
}

/// When the keys were rotated last, now that `body` takes the place of `old`. That a key leaves is no rotation, nor that one
/// comes back, as from servers of an issuer that do not agree.
fn rotated_at(old: &CachedJwks, body: &[u8], retired: &[Retired], now: UnixTime) -> UnixTime {
    if old.body == body {
        return old.rotated_at;
    }
    let published = document::raw_keys(&old.body);
    let known = published.iter().chain(retired.iter().map(|retired| &retired.jwk));
    let known: Vec<&[u8]> = known.map(Vec::as_slice).collect();
    if document::introduces_key(body, &known) {
        now
    } else {
        old.rotated_at
    }
}

/// The number after this one. It follows the clock, so that no number comes again even if shared data was lost.
fn next(number: u64, now: UnixTime) -> u64 {
    number.saturating_add(1).max(now.as_millis())
}

impl Record {
    fn renew(&mut self) {
        self.failures = 0;
        self.pause = Duration::ZERO;
    }

    fn fail(&mut self, retry_after: Option<Duration>, jitter: u32, terms: &RotationPolicy, now: UnixTime) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.pause = schedule::backoff(self.failures, retry_after, jitter, terms);
    }
}

/// The earliest time at which a refresh of this cause may start, were none under way. What lies in the future
/// counts as in [`Record::as_of`].
pub fn refresh_due(record: &Record, cause: Cause, terms: &RotationPolicy, now: UnixTime) -> UnixTime {
    let retry = if record.failed_at <= now { record.retry_at() } else { now };
    let document = record.document.as_ref();
    let asked_for = match record.unknown_kid_at {
        Some(last) if last <= now => retry.max(last.plus(terms.unknown_kid_min_interval)),
        _ => retry,
    };
    match (cause, document) {
        (Cause::Schedule, Some(document)) if document.fetched_at <= now => {
            retry.max(schedule::refresh_at(document, terms))
        }
        (Cause::Schedule, _) => retry,
        (Cause::UnknownKid, _) | (Cause::BadSignature, None) => asked_for,
        // A document that was confirmed just now need not be doubted because of a bad token.
        (Cause::BadSignature, Some(document)) => asked_for.max(document.fetched_at.min(now).plus(terms.min_ttl)),
    }
}

/// Whether the record's document may be used now: fresh, or stale within its bound.
pub fn is_usable(document: &CachedJwks, terms: &RotationPolicy, now: UnixTime) -> bool {
    now < schedule::unusable_at(document.fetched_at, &document.freshness, terms)
}

#[cfg(test)]
mod tests;
