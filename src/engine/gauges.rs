//! The gauges of key sets. Each value follows from the record and the configuration alone, so that a value changes only when one
//! of the two does. Ages are for the reader of the gauges to compute.

use std::{collections::BTreeSet, time::Duration};

use super::{key_sets::KeySets, provider_keys::ProviderKeys};
use crate::{
    ids::ProviderId,
    metrics::{Gauge, ProviderStat, Series},
    policy::{plan::Plan, provider::Remote},
    rotation::schedule,
    time::UnixTime,
};

/// The last second of the year 9999: the largest timestamp, and the end of keys whose `max_stale` is unbounded.
const LATEST_TIMESTAMP: u64 = 253_402_300_799;

/// The gauges of these remote providers' key sets, but for [`Gauge::ParkedNow`]. All workers that have the same record report equal
/// values.
pub(super) fn of(plan: &Plan, key_sets: &KeySets, providers: BTreeSet<ProviderId>) -> Vec<(Series, u64)> {
    let of = |provider| {
        let remote = plan.remote(provider)?;
        let values = key_set_gauges(key_sets.of(provider), remote);
        Some(values.map(|(gauge, value)| (Series { provider, stat: ProviderStat::Gauge(gauge) }, value)))
    };
    providers.into_iter().filter_map(of).flatten().collect()
}

/// The gauges of a configuration that ended. Envoy keeps a stat, and its last value would keep an alert firing.
pub(super) fn when_over(plan: &Plan) -> Vec<(Series, u64)> {
    let of = |(provider, _)| {
        Gauge::ALL.into_iter().map(move |gauge| (Series { provider, stat: ProviderStat::Gauge(gauge) }, 0))
    };
    plan.remotes().flat_map(of).collect()
}

fn key_set_gauges(keys: &ProviderKeys, remote: &Remote) -> [(Gauge, u64); 9] {
    let cached = keys.record.document.as_ref();
    let published = cached.and(keys.keys.as_ref()).map_or(0, |keys| keys.len() as u64);
    let expires = cached.map(|cached| schedule::expires_at(cached.fetched_at, &cached.freshness, &remote.rotation));
    let ends = cached.map(|cached| schedule::unusable_at(cached.fetched_at, &cached.freshness, &remote.rotation));
    [
        (Gauge::Keys, published),
        (Gauge::KeysFetchedTimestampSeconds, timestamp(cached.map(|cached| cached.fetched_at))),
        (Gauge::KeysExpiresTimestampSeconds, timestamp(expires)),
        (Gauge::KeysUnusableTimestampSeconds, timestamp(ends)),
        (Gauge::KeysRotatedTimestampSeconds, timestamp(cached.map(|cached| cached.rotated_at))),
        (Gauge::SeedEndsTimestampSeconds, timestamp(keys.seed().map(|seed| seed.not_after))),
        (Gauge::FetchFailuresInARow, u64::from(keys.record.failures)),
        (Gauge::KeySetGeneration, cached.map_or(0, |cached| cached.generation)),
        (Gauge::InConfiguration, 1),
    ]
}

/// Whole Unix seconds; 0 without a time.
fn timestamp(time: Option<UnixTime>) -> u64 {
    let since_epoch = time.map_or(Duration::ZERO, |time| time.since(UnixTime::default()));
    since_epoch.as_secs().min(LATEST_TIMESTAMP)
}

#[cfg(test)]
mod tests {
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
    use serde_json::json;

    use super::*;
    use crate::{
        config,
        rotation::record::{CachedJwks, Record},
    };

    /// The gauges that follow from the cached JWKS: count, fetched, expires, unusable, rotated.
    fn of_the_jwks(document: Option<CachedJwks>, max_stale: &str) -> [u64; 5] {
        let config = json!({"providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"},
            "cache_duration": "100s",
            "rotation": {"max_stale": max_stale},
        }}}});
        let plan = config::parse(config.to_string().as_bytes()).unwrap();
        let (_, remote) = plan.remotes().next().unwrap();
        let mut keys = ProviderKeys::default();
        keys.update(Record { document, ..Record::default() }, None, remote, UnixTime::default());
        let [count, fetched, expires, unusable, rotated, ..] = key_set_gauges(&keys, remote);
        [count, fetched, expires, unusable, rotated].map(|(_, value)| value)
    }

    #[test]
    fn timestamps_are_those_of_the_record_and_the_configuration() {
        let at = UnixTime::from_millis;
        let key = |kid| json!({"kty": "RSA", "kid": kid, "e": "AQAB", "n": BASE64.encode([0xff; 256])});
        let document = CachedJwks {
            rotated_at: at(1_700_000_000_999),
            fetched_at: at(1_700_000_500_000),
            body: json!({"keys": [key("a"), key("b")]}).to_string().into_bytes().into(),
            ..CachedJwks::default()
        };
        let expected = [2, 1_700_000_500, 1_700_000_600, 1_700_000_630, 1_700_000_000];
        assert_eq!(of_the_jwks(Some(document.clone()), "30s"), expected);
        let expected = [2, 1_700_000_500, 1_700_000_600, 253_402_300_799, 1_700_000_000];
        assert_eq!(of_the_jwks(Some(document), "unbounded"), expected);
        assert_eq!(of_the_jwks(None, "unbounded"), [0; 5]);
    }
}
