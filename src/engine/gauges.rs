//! The gauges of key sets.

use std::collections::BTreeSet;

use super::{key_sets::KeySets, provider_keys::ProviderKeys};
use crate::{
    ids::ProviderId,
    metrics::{Gauge, ProviderStat, Series},
    policy::{plan::Plan, provider::Remote},
    rotation::schedule,
    time::UnixTime,
};

/// The value of a gauge for a time without end: a year.
const LONGEST_SECONDS: u64 = 365 * 86_400;

/// The gauges of these remote providers' key sets, but for [`Gauge::ParkedNow`]. All workers that have the same record report equal
/// values.
pub(super) fn of(
    plan: &Plan,
    key_sets: &KeySets,
    providers: BTreeSet<ProviderId>,
    now: UnixTime,
) -> Vec<(Series, u64)> {
    let of = |provider| {
        let remote = plan.remote(provider)?;
        let values = key_set_gauges(key_sets.of(provider), remote, now);
        Some(values.map(|(gauge, value)| (Series { provider, stat: ProviderStat::Gauge(gauge) }, value)))
    };
    providers.into_iter().filter_map(of).flatten().collect()
}

/// The gauges of a configuration that ended. Envoy keeps a stat, and its last value would keep an alert firing.
pub(super) fn when_over(plan: &Plan) -> Vec<(Series, u64)> {
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
