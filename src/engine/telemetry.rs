//! What the engine counts, measures and explains.

use std::time::Duration;

use super::{key_sets::KeySets, provider_keys::ProviderKeys};
use crate::{
    ids::ProviderId,
    metrics::{Counter, Counts, Gauge, Histogram, Metric, ProviderStat, RequestOutcome, Series},
    policy::{
        plan::Plan,
        provider::Remote,
        reply::{Denial, OWN_STATE},
        requirement::Evaluation,
    },
    rotation::{policy::MaxStale, schedule},
    time::UnixTime,
};

/// The value of a gauge for a time without end: a year.
const LONGEST_SECONDS: u64 = 365 * 86_400;

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
        for permit in evaluation.permits() {
            self.add_of(permit.provider(), Counter::Requests(RequestOutcome::Allowed));
            if permit.is_by_retired_key() {
                self.add_of(permit.provider(), Counter::Requests(RequestOutcome::AllowedByRetiredKey));
            }
        }
    }

    /// Counts a denied request, for the provider that denied its token.
    pub(super) fn denied(&mut self, denial: Denial, provider: Option<ProviderId>) {
        match denial {
            Denial::Token(error) => {
                self.add(Metric::Denied);
                self.add(Metric::DeniedFor(error.kind()));
            }
            Denial::KeysUnavailable(_) | Denial::TooManyParked => self.add(Metric::Unavailable),
        }
        if let Some(provider) = provider {
            self.add_of(provider, Counter::Requests(RequestOutcome::Denied(denial.reason())));
        }
    }

    /// Counts a request that report mode lets through and that would be denied.
    pub(super) fn would_deny(&mut self, denial: Denial, provider: Option<ProviderId>) {
        match denial {
            Denial::Token(error) => {
                self.add(Metric::WouldDeny);
                self.add(Metric::WouldDenyFor(error.kind()));
            }
            Denial::KeysUnavailable(_) | Denial::TooManyParked => self.add(Metric::WouldBeUnavailable),
        }
        if let Some(provider) = provider {
            self.add_of(provider, Counter::WouldDeny(denial.reason()));
        }
    }

    /// Takes the counts.
    pub(super) fn take(&mut self, key_sets: &KeySets) -> Counts {
        for (provider, keys) in key_sets.iter() {
            let hits = keys.cache_hits.take();
            if hits > 0 {
                self.add_many(Metric::CacheHit, hits);
                self.add_many_of(provider, Counter::CacheHits, hits);
            }
        }
        std::mem::take(&mut self.0)
    }
}

/// The gauges of each remote provider's key set, but for [`Gauge::ParkedNow`]. All workers report equal values.
pub(super) fn gauges(plan: &Plan, key_sets: &KeySets, now: UnixTime) -> Vec<(Series, u64)> {
    let of = |(provider, remote)| {
        let values = key_set_gauges(key_sets.of(provider), remote, now);
        values.into_iter().map(move |(gauge, value)| (Series { provider, stat: ProviderStat::Gauge(gauge) }, value))
    };
    plan.remotes().flat_map(of).collect()
}

/// The gauges of a configuration that ended. Envoy keeps a stat, and its last value would keep an alert firing.
pub(super) fn gauges_when_over(plan: &Plan) -> Vec<(Series, u64)> {
    let set_by_key_sets = Gauge::ALL.into_iter().filter(|gauge| *gauge != Gauge::ParkedNow);
    let of = |(provider, _)| {
        set_by_key_sets.clone().map(move |gauge| (Series { provider, stat: ProviderStat::Gauge(gauge) }, 0))
    };
    plan.remotes().flat_map(of).collect()
}

fn key_set_gauges(keys: &ProviderKeys, remote: &Remote, now: UnixTime) -> [(Gauge, u64); 10] {
    let cached = keys.record.document.as_ref();
    let since = |time: Option<UnixTime>| time.map_or(0, |time| now.since(time).as_secs());
    let until = |time: Option<UnixTime>| time.map_or(0, |time| time.since(now).as_secs());
    let expires = cached.map(|cached| schedule::expires_at(cached.fetched_at, &cached.freshness, &remote.rotation));
    let ends = cached.map(|cached| schedule::unusable_at(cached.fetched_at, &cached.freshness, &remote.rotation));
    let usable = keys.usable_keys(Some(&remote.rotation), now);
    [
        (Gauge::Keys, usable.map_or(0, |keys| keys.len() as u64)),
        (Gauge::KeysUsable, u64::from(usable.is_some())),
        (Gauge::KeySetAgeSeconds, since(cached.map(|cached| cached.fetched_at))),
        (Gauge::KeySetExpiresInSeconds, until(expires)),
        (Gauge::KeySetStaleSeconds, since(expires)),
        (Gauge::KeysUnusableInSeconds, until(ends).min(LONGEST_SECONDS)),
        (Gauge::FetchFailuresInARow, u64::from(keys.record.failures)),
        (Gauge::KeysUnchangedSeconds, since(cached.map(|cached| cached.rotated_at))),
        (Gauge::KeySetGeneration, cached.map_or(0, |cached| cached.generation)),
        (Gauge::InConfiguration, 1),
    ]
}

/// The keys that a provider has while its issuer fails, for the log.
pub(super) fn keys_in_hand(keys: &ProviderKeys, remote: &Remote, now: UnixTime) -> String {
    let Some(cached) = &keys.record.document else { return "there are no keys yet".to_owned() };
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

/// What was decided and why, in filter state.
pub(super) struct Explanation {
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
    pub(super) provider: Option<ProviderId>,
}

impl Explanation {
    /// The filter state for access logs and other filters.
    pub(super) fn state(&self, plan: &Plan, key_sets: &KeySets, now: UnixTime) -> Vec<(String, Vec<u8>)> {
        let mut state = vec![("decision", self.decision.to_owned()), ("reason", self.reason.to_owned())];
        if let Some(provider) = self.provider {
            state.push(("provider", plan.providers[provider].name.clone()));
            if let Some(cached) = &key_sets.of(provider).record.document {
                state.push(("key_set_generation", cached.generation.to_string()));
                state.push(("key_set_age", now.since(cached.fetched_at).as_secs().to_string()));
            }
        }
        // An access log writes a dash for state that is absent, and nothing for state that is empty.
        state.retain(|(_, value)| !value.is_empty());
        let named = |(name, value): (&str, String)| (format!("{OWN_STATE}.{name}"), value.into_bytes());
        state.into_iter().map(named).collect()
    }
}

/// The failures of an evaluation in filter state, for the providers that configure a name for them.
pub(super) fn failures(plan: &Plan, evaluation: &Evaluation) -> Vec<(String, Vec<u8>)> {
    let mut state = Vec::new();
    for (provider, denial) in evaluation.denials() {
        if let Some(name) = &plan.providers[provider].forward.failure_state {
            state.push((format!("{name}.code"), denial.reason().as_bytes().to_vec()));
            state.push((format!("{name}.message"), denial.text().as_bytes().to_vec()));
        }
    }
    state
}
