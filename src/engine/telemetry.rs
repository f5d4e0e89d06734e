//! What the engine counts and measures.

use std::time::Duration;

use super::provider_keys::ProviderKeys;
use crate::{
    ids::ProviderId,
    metrics::{Counter, Counts, Histogram, Metric, RequestOutcome},
    policy::{plan::Mode, provider::Remote, reply::Denial, requirement::Evaluation},
    rotation::{policy::MaxStale, schedule},
    time::UnixTime,
};

/// The counts since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Telemetry(Counts);

impl Telemetry {
    pub(super) fn add(&mut self, metric: Metric) {
        self.0.add(metric);
    }

    pub(super) fn add_many(&mut self, metric: Metric, times: u32) {
        self.0.add_many(metric, times);
    }

    pub(super) fn add_of(&mut self, provider: ProviderId, counter: Counter) {
        self.0.add_of(provider, counter);
    }

    pub(super) fn add_many_of(&mut self, provider: ProviderId, counter: Counter, times: u32) {
        self.0.add_many_of(provider, counter, times);
    }

    pub(super) fn observe(&mut self, provider: ProviderId, histogram: Histogram, time: Duration) {
        self.0.observe(provider, histogram, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Counts an allowed request.
    pub(super) fn allowed(&mut self, evaluation: &Evaluation) {
        self.add(Metric::Allowed);
        let permits = evaluation.permits();
        if evaluation.is_foreign && permits.is_empty() {
            self.add(Metric::Foreign);
        }
        for permit in permits {
            self.add_of(permit.provider(), Counter::Requests(RequestOutcome::Allowed));
            if permit.is_by_retired_key() {
                self.add_of(permit.provider(), Counter::Requests(RequestOutcome::AllowedByRetiredKey));
            }
        }
    }

    /// Counts a denied request, or one that report mode lets through although it would be denied. `provider` is the provider
    /// that denied its token.
    pub(super) fn denied(&mut self, mode: Mode, denial: Denial, provider: Option<ProviderId>) {
        match (mode, denial) {
            (Mode::Enforce, Denial::Token(error)) => {
                self.add(Metric::Denied);
                self.add(Metric::DeniedFor(error.kind()));
            }
            (Mode::Report, Denial::Token(error)) => {
                self.add(Metric::WouldDeny);
                self.add(Metric::WouldDenyFor(error.kind()));
            }
            (Mode::Enforce, Denial::KeysUnavailable(_) | Denial::TooManyParked) => self.add(Metric::Unavailable),
            (Mode::Report, Denial::KeysUnavailable(_) | Denial::TooManyParked) => self.add(Metric::WouldBeUnavailable),
        }
        if let Some(provider) = provider {
            let counter = match mode {
                Mode::Enforce => Counter::Requests(RequestOutcome::Denied(denial.reason())),
                Mode::Report => Counter::WouldDeny(denial.reason()),
            };
            self.add_of(provider, counter);
        }
    }

    /// Takes the counts. `cache_hits` are the hits of each provider's token cache.
    pub(super) fn take(&mut self, cache_hits: impl Iterator<Item = (ProviderId, u32)>) -> Counts {
        for (provider, hits) in cache_hits.filter(|(_, hits)| *hits > 0) {
            self.add_many(Metric::CacheHit, hits);
            self.add_many_of(provider, Counter::CacheHits, hits);
        }
        std::mem::take(&mut self.0)
    }
}

/// The keys that a provider has while its issuer fails, for the log.
pub(super) fn keys_in_hand(keys: &ProviderKeys, remote: &Remote, now: UnixTime) -> String {
    let Some(cached) = &keys.record.document else {
        let seed = keys.usable_keys(Some(&remote.rotation), now);
        return seed.map_or("there are no keys yet".to_owned(), |seed| format!("keys of seed_jwks: {}", seed.len()));
    };
    let age = now.since(cached.fetched_at).as_secs();
    let end = schedule::unusable_at(cached.fetched_at, &cached.freshness, &remote.rotation);
    match keys.usable_keys(Some(&remote.rotation), now) {
        None => format!("the keys are {age} s old and no longer usable"),
        Some(keys) => {
            let left = match remote.rotation.max_stale {
                MaxStale::Unbounded => "usable without end".to_owned(),
                MaxStale::For(_) => format!("usable for another {} s", end.since(now).as_secs()),
            };
            format!("usable keys: {}, {age} s old, {left}", keys.len())
        }
    }
}
