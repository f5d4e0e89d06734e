//! The transition of a shared [`Record`]: when a fetch may start, and what the end of a fetch changes.
//!
//! [`apply`] is pure. The caller runs it under compare-and-swap, so that all workers of the process write one history.
//!
//! ```text
//!            ┌── Missing ──┐ fetch            ┌──── good fetch ────┐
//!            │             ▼                  │                    │
//!            │          Fetching ──────────▶ Fresh ─ expires_at ▶ Stale ─ + max_stale ▶ Expired
//!            └── failed ───┘                  └─ refresh ahead ────┘
//! ```

use std::{rc::Rc, time::Duration};

use super::{
    http_cache::{Freshness, Validators},
    lease::Lease,
    policy::RotationPolicy,
    record::{CachedJwks, Fingerprint, Record},
    replace, schedule,
};
use crate::{keys::document::Document, time::UnixTime};

/// A fetch ends by its timeout. Its callback then needs a moment to run and to share the result.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// Why a fetch is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// There are no keys, or the keys are about to expire or have expired.
    Schedule,
    /// A token named a key that the set does not have.
    UnknownKid,
    /// A signature does not match the key that the token names. The issuer may have put another key under the same name.
    BadSignature,
}

impl Cause {
    /// The first cause in their order.
    pub const FIRST: Self = Self::Schedule;
    /// The last cause in their order.
    pub const LAST: Self = Self::BadSignature;
}

/// Something that happens to a key set.
#[derive(Debug)]
pub enum Event {
    /// A fetch is wanted.
    Refresh(Cause),
    /// A fetch is wanted, and the record was restored: as it may miss what is newer, the fetch is due whatever the record says.
    Refetch,
    /// Fetch number `fetch` ended. `jitter` is a random number.
    FetchEnded { fetch: u64, outcome: Outcome, jitter: u32 },
    /// Fetch number `fetch` ended with the configuration of its worker. Nobody knows what the issuer would have answered.
    Abandon(u64),
    /// Fetch number `fetch` still runs, although its end was expected: its worker is late.
    Renew(u64),
    /// The JWKS of this generation cannot be read: another plugin wrote it.
    Discard(u64),
}

/// What a fetch brought.
#[derive(Debug)]
pub enum Outcome {
    /// A good JWKS.
    Jwks(Box<FetchedJwks>),
    /// The JWKS with this fingerprint is still the issuer's (304).
    NotModified { document: Fingerprint, freshness: Freshness },
    /// Nothing usable. `retry_after` is the pause that the issuer asked for.
    Failed { retry_after: Option<Duration> },
}

/// A JWKS that was just fetched. The worker that fetched the JWKS takes over the parsed document.
#[derive(Debug)]
pub struct FetchedJwks {
    pub body: Rc<[u8]>,
    pub document: Document,
    pub freshness: Freshness,
    pub validators: Validators,
    /// The digest of the endpoint that sent the JWKS.
    pub source: u64,
    /// The URI of the JWKS, if the issuer's metadata named it.
    pub location: String,
}

/// What follows from an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The caller holds the lease and must start the fetch of this number.
    Fetch(u64),
    /// No fetch may start before this time.
    NotBefore(UnixTime),
    /// Another fetch runs.
    InFlight,
    /// The fetch is over and its result is in the record.
    Completed,
    /// The fetch is over without a result. Another may start at once.
    Abandoned,
    /// The fetch had lost its lease, or the JWKS is another by now. Nothing changed.
    Superseded,
    /// The JWKS is gone from the record.
    Discarded,
}

/// One transition at a record's time. `None` instead of a record: nothing changed, and there is nothing to store.
pub fn apply(record: &Record, event: &Event, policy: &RotationPolicy, now: UnixTime) -> (Option<Record>, Effect) {
    let record = record.clone();
    match event {
        Event::Refresh(cause) => refresh(record, *cause, refresh_due, policy, now),
        Event::Refetch => refresh(record, Cause::Schedule, |record, _, _, now| retry_due(record, now), policy, now),
        Event::FetchEnded { fetch, outcome, jitter } => complete_fetch(record, *fetch, outcome, *jitter, policy, now),
        Event::Abandon(fetch) => abandon(record, *fetch, policy, now),
        Event::Renew(fetch) => renew(record, *fetch, policy, now),
        Event::Discard(generation) => discard(record, *generation, now),
    }
}

/// Whether the worker of this fetch may renew its lease.
pub fn is_renewable(record: &Record, fetch: u64, policy: &RotationPolicy) -> bool {
    let longest = lease_length(policy).saturating_mul(2);
    record.started == fetch && record.lease.is_some_and(|lease| lease.is_renewable(longest))
}

fn renew(record: Record, fetch: u64, policy: &RotationPolicy, now: UnixTime) -> (Option<Record>, Effect) {
    match record.lease.filter(|_| is_renewable(&record, fetch, policy)) {
        Some(lease) => {
            let version = next(record.version, now);
            (Some(Record { version, lease: Some(lease.renewed(now)), ..record }), Effect::InFlight)
        }
        None => (None, Effect::Superseded),
    }
}

/// As if the fetch had never begun: what it took of the budget is there again.
fn abandon(record: Record, fetch: u64, policy: &RotationPolicy, now: UnixTime) -> (Option<Record>, Effect) {
    let Some(lease) = record.lease.filter(|_| record.started == fetch) else {
        return (None, Effect::Superseded);
    };
    let changed = Record {
        version: next(record.version, now),
        lease: None,
        unknown_kid_at: record.unknown_kid_at.filter(|_| !record.is_fetching_for_token()),
        looked_at: record.is_looking_again().then(|| lease.taken_at.minus(policy.second_look)),
        ..record
    };
    (Some(changed), Effect::Abandoned)
}

fn discard(record: Record, generation: u64, now: UnixTime) -> (Option<Record>, Effect) {
    match &record.document {
        Some(document) if document.generation == generation => {
            let version = next(record.version, now);
            (Some(Record { version, document: None, ..record }), Effect::Discarded)
        }
        _ => (None, Effect::Superseded),
    }
}

fn refresh(
    record: Record,
    cause: Cause,
    due: impl Fn(&Record, Cause, &RotationPolicy, UnixTime) -> UnixTime,
    policy: &RotationPolicy,
    now: UnixTime,
) -> (Option<Record>, Effect) {
    if record.is_fetching(now) {
        return (None, Effect::InFlight);
    }
    let due = due(&record, cause, policy, now);
    if due > now {
        return (None, Effect::NotBefore(due));
    }
    let fetch = next(record.started, now);
    let has_budget = budget_due(&record, now, policy) <= now;
    let changed = Record {
        version: next(record.version, now),
        started: fetch,
        lease: Some(Lease::take(now, lease_length(policy))),
        unknown_kid_at: if cause == Cause::Schedule || !has_budget { record.unknown_kid_at } else { Some(now) },
        looked_at: None,
        second_look: if !has_budget && second_look_at(&record, policy).is_some() { fetch } else { record.second_look },
        ..record
    };
    (Some(changed), Effect::Fetch(fetch))
}

fn complete_fetch(
    record: Record,
    fetch: u64,
    outcome: &Outcome,
    jitter: u32,
    policy: &RotationPolicy,
    now: UnixTime,
) -> (Option<Record>, Effect) {
    let Some(lease) = record.lease.filter(|_| record.started == fetch) else {
        return (None, Effect::Superseded);
    };
    // The response may have aged on the way since the request (RFC 9111 §4.2.3). No fetch takes longer than its lease: more is
    // a step of the clock.
    let on_the_way = now.since(lease.taken_at).min(lease_length(policy));
    let aged = |stated: Freshness| Freshness { age: stated.age.saturating_add(on_the_way), ..stated };
    let looked_at = record.is_fetching_for_token().then_some(now);
    let version = next(record.version, now);
    let mut changed = Record { version, finished: fetch, lease: None, looked_at, ..record.clone() };
    changed.document = match (outcome, record.document.clone()) {
        (Outcome::Jwks(jwks), old) => {
            let FetchedJwks { body, document, freshness, validators, source, location } = &**jwks;
            let replacement = replace::replace(&record, &document.keys, policy.limits, now);
            (changed.retired, changed.former) = (replacement.retired, replacement.former);
            let generation = match &old {
                Some(old) if old.body == *body && changed.retired == record.retired => old.generation,
                old => next(old.as_ref().map_or(0, |old| old.generation), now),
            };
            changed.reset_backoff();
            changed.has_had_jwks = true;
            Some(CachedJwks {
                fetch,
                generation,
                rotated_at: replacement.rotated_at,
                fetched_at: now,
                freshness: aged(*freshness),
                source: *source,
                location: location.clone(),
                validators: validators.clone(),
                jitter,
                body: body.clone(),
            })
        }
        (Outcome::NotModified { document, freshness: stated }, Some(old)) if old.fingerprint() == *document => {
            changed.reset_backoff();
            // RFC 9111 §4.3.4: what the 304 does not state stays as it was.
            let freshness = Freshness {
                lifetime: stated.lifetime.or(old.freshness.lifetime),
                stale_if_error: stated.stale_if_error.or(old.freshness.stale_if_error),
                ..aged(*stated)
            };
            Some(CachedJwks { fetch, fetched_at: now, freshness, jitter, ..old })
        }
        // The request was about another JWKS than the record has now.
        (Outcome::NotModified { .. }, old) => {
            changed.back_off(None, jitter, policy, now);
            old
        }
        (Outcome::Failed { retry_after }, old) => {
            changed.back_off(*retry_after, jitter, policy, now);
            old
        }
    };
    (Some(changed), Effect::Completed)
}

/// A fetch and its callback take no longer.
fn lease_length(policy: &RotationPolicy) -> Duration {
    policy.fetch_timeout.saturating_add(LEASE_MARGIN)
}

/// The number after this one. Numbers follow the clock, so that none comes again even if shared data was lost.
fn next(number: u64, now: UnixTime) -> u64 {
    number.saturating_add(1).max(now.as_millis())
}

impl Record {
    fn reset_backoff(&mut self) {
        self.failures = 0;
        self.pause = Duration::ZERO;
    }

    fn back_off(&mut self, retry_after: Option<Duration>, jitter: u32, policy: &RotationPolicy, now: UnixTime) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.pause = schedule::backoff(self.failures, retry_after, jitter, policy);
    }
}

/// The earliest time at which any refresh may start if no fetch runs. A failure in the
/// future was before a step of the clock, and counts as over.
pub fn retry_due(record: &Record, now: UnixTime) -> UnixTime {
    if record.failed_at <= now {
        record.retry_at()
    } else {
        now
    }
}

/// The earliest time at which a refresh of this cause may start if no fetch runs. Timestamps from the future are
/// from before a step of the clock, and forbid nothing.
pub fn refresh_due(record: &Record, cause: Cause, policy: &RotationPolicy, now: UnixTime) -> UnixTime {
    let retry = retry_due(record, now);
    let document = record.document.as_ref();
    let for_token = retry.max(budget_due(record, now, policy));
    let look_again = second_look_at(record, policy).map_or(for_token, |at| retry.max(at));
    match (cause, document) {
        (Cause::Schedule, Some(document)) if document.fetched_at <= now => {
            retry.max(schedule::refresh_at(document.fetched_at, &document.freshness, document.jitter, policy))
        }
        (Cause::Schedule, _) => retry,
        (Cause::UnknownKid, _) => for_token.min(look_again),
        (Cause::BadSignature, None) => for_token,
        // A JWKS that was confirmed just now is not doubted because of a bad token.
        (Cause::BadSignature, Some(document)) => for_token.max(document.fetched_at.min(now).plus(policy.min_ttl)),
    }
}

/// When the interval since the last refresh for a token is over.
pub fn budget_due(record: &Record, now: UnixTime, policy: &RotationPolicy) -> UnixTime {
    match record.unknown_kid_at {
        Some(last) if last <= now => last.plus(policy.unknown_kid_min_interval),
        _ => now,
    }
}

/// When the second look of the interval may start. `None`: none is left, or the interval is over before.
pub fn second_look_at(record: &Record, policy: &RotationPolicy) -> Option<UnixTime> {
    let at = record.looked_at.filter(|_| policy.second_look > Duration::ZERO)?.plus(policy.second_look);
    (at < record.unknown_kid_at?.plus(policy.unknown_kid_min_interval)).then_some(at)
}

/// Whether the cached JWKS may be used now: fresh, or stale within its bound.
pub fn is_usable(document: &CachedJwks, policy: &RotationPolicy, now: UnixTime) -> bool {
    now < schedule::unusable_at(document.fetched_at, &document.freshness, policy)
}

#[cfg(test)]
mod tests;
