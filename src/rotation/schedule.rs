//! When a document stops being fresh, when it is refreshed, and how long to wait after a failure: pure functions of what
//! the issuer said, what the configuration allows, and a random number drawn once per fetch.

use std::time::Duration;

use super::{http_cache::Freshness, record::CachedJwks};
use crate::{keys::document::Limits, time::UnixTime};

/// What a provider's configuration says about its key set's life.
#[derive(Clone, Copy, Debug)]
pub struct RotationPolicy {
    /// Lifetime of a document whose headers say nothing.
    pub cache_duration: Duration,
    /// Whether they are asked at all.
    pub honor_cache_headers: bool,
    /// Floor of what they say.
    pub min_ttl: Duration,
    /// Ceiling of what they say.
    pub max_ttl: Duration,
    /// How long before the end of the lifetime the background refresh may start; `None`: a fifth of the lifetime.
    pub refresh_ahead: Option<Duration>,
    /// How long past its lifetime a document stays usable while the issuer fails.
    pub max_stale: MaxStale,
    /// How long a key that left the document still verifies.
    pub retired_key_grace: Duration,
    /// At most one refresh starts in this time because tokens ask for it, whatever became of it.
    pub unknown_kid_min_interval: Duration,
    /// How long a request waits for a refresh, running or due within this time.
    pub unknown_kid_max_wait: Duration,
    /// How long one fetch may take.
    pub fetch_timeout: Duration,
    /// After so many failures in a row the requests that wait are told; before, they wait for another fetch.
    pub retries: u32,
    /// How long to wait after the first failure, at most.
    pub first_backoff: Duration,
    /// How long to wait after many, at most.
    pub longest_backoff: Duration,
    /// Bounds of a document.
    pub limits: Limits,
}

/// A bound on staleness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    /// This long, or as long as `stale-if-error` says if that is shorter.
    For(Duration),
    /// For ever: only where somebody wrote so.
    Unbounded,
}

/// Envoy's `cache_duration` where none is configured.
pub const DEFAULT_CACHE_DURATION: Duration = Duration::from_secs(600);
/// See [`RotationPolicy::min_ttl`].
pub const DEFAULT_MIN_TTL: Duration = Duration::from_secs(30);
/// See [`RotationPolicy::max_ttl`].
pub const DEFAULT_MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// Past this, old keys are no better than none.
pub const DEFAULT_MAX_STALE: Duration = Duration::from_secs(3600);
/// A key that the issuer has withdrawn is not to be trusted for longer than this, whatever anybody wishes.
pub const LONGEST_GRACE: Duration = Duration::from_secs(86_400);
/// See [`RotationPolicy::unknown_kid_min_interval`].
pub const DEFAULT_UNKNOWN_KID_MIN_INTERVAL: Duration = Duration::from_secs(10);
/// See [`RotationPolicy::unknown_kid_max_wait`]. Not shorter than the interval: else whoever spends the budget on an invented
/// `kid` could have a new key's tokens refused until the next refresh may start.
pub const DEFAULT_UNKNOWN_KID_MAX_WAIT: Duration = DEFAULT_UNKNOWN_KID_MIN_INTERVAL;

/// See [`RotationPolicy::first_backoff`].
pub const DEFAULT_FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// See [`RotationPolicy::longest_backoff`].
pub const DEFAULT_LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// An issuer that asks to be left alone for longer than this is asked again nevertheless.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The background refresh starts when this part of the lifetime is left.
const REFRESH_AHEAD_DIVISOR: u32 = 5;

/// How long a document is fresh from when it was fetched.
pub fn lifetime(freshness: &Freshness, terms: &RotationPolicy) -> Duration {
    match freshness.lifetime.filter(|_| terms.honor_cache_headers) {
        Some(stated) => stated.saturating_sub(freshness.age).max(terms.min_ttl).min(terms.max_ttl),
        None => terms.cache_duration,
    }
}

/// When it stops being fresh.
pub fn expires_at(document: &CachedJwks, terms: &RotationPolicy) -> UnixTime {
    document.fetched_at.plus(lifetime(&document.freshness, terms))
}

/// When a document that was fetched then can no longer be used, even though the issuer fails.
pub fn unusable_at(fetched_at: UnixTime, freshness: &Freshness, terms: &RotationPolicy) -> UnixTime {
    let expires_at = fetched_at.plus(lifetime(freshness, terms));
    match (terms.max_stale, freshness.stale_if_error.filter(|_| terms.honor_cache_headers)) {
        (MaxStale::For(bound), Some(stated)) => expires_at.plus(bound.min(stated)),
        (MaxStale::For(bound), None) => expires_at.plus(bound),
        (MaxStale::Unbounded, _) => UnixTime::from_millis(u64::MAX),
    }
}

/// When its background refresh starts: somewhere in the first half of `refresh_ahead` before its expiry, so that proxies
/// which fetched together do not refresh together. Never before half the lifetime is over.
pub fn refresh_at(document: &CachedJwks, terms: &RotationPolicy) -> UnixTime {
    let lifetime = lifetime(&document.freshness, terms);
    let fifth = lifetime.checked_div(REFRESH_AHEAD_DIVISOR).unwrap_or_default();
    let half = lifetime.checked_div(2).unwrap_or_default();
    let ahead = terms.refresh_ahead.unwrap_or(fifth).min(half);
    expires_at(document, terms).minus(upper_half(ahead, document.jitter))
}

/// How long to wait after this many failures in a row: twice as long each time, up to a bound, of which a random part of up
/// to a half is let off. What the issuer asks for with `Retry-After` counts if it is longer.
pub fn backoff(failures: u32, retry_after: Option<Duration>, jitter: u32, terms: &RotationPolicy) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let times = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let most = terms.first_backoff.saturating_mul(times).min(terms.longest_backoff);
    upper_half(most, jitter).max(retry_after.unwrap_or_default().min(LONGEST_WAIT))
}

/// From half of `most` to all of it, as `jitter` goes through its range.
fn upper_half(most: Duration, jitter: u32) -> Duration {
    let half = most.checked_div(2).unwrap_or_default();
    let nanos = half.as_nanos().saturating_mul(u128::from(jitter)) >> u32::BITS;
    half.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rotation::http_cache::Freshness;

    pub(in crate::rotation) const TERMS: RotationPolicy = RotationPolicy {
        cache_duration: Duration::from_secs(100),
        honor_cache_headers: true,
        min_ttl: Duration::from_secs(30),
        max_ttl: Duration::from_secs(1000),
        refresh_ahead: None,
        max_stale: MaxStale::For(Duration::from_secs(50)),
        retired_key_grace: Duration::ZERO,
        unknown_kid_min_interval: Duration::from_secs(10),
        unknown_kid_max_wait: Duration::from_secs(5),
        fetch_timeout: Duration::from_secs(2),
        retries: 0,
        first_backoff: DEFAULT_FIRST_BACKOFF,
        longest_backoff: DEFAULT_LONGEST_BACKOFF,
        limits: Limits { max_document_bytes: 65_536, max_keys: 100 },
    };

    fn document(lifetime: Option<u64>, stale_if_error: Option<u64>) -> CachedJwks {
        let freshness = Freshness {
            lifetime: lifetime.map(Duration::from_secs),
            age: Duration::ZERO,
            stale_if_error: stale_if_error.map(Duration::from_secs),
        };
        CachedJwks { freshness, ..CachedJwks::default() }
    }

    fn seconds(time: UnixTime) -> u64 {
        time.as_millis() / 1000
    }

    #[test]
    fn the_issuers_word_counts_within_floor_and_ceiling() {
        for (stated, expected) in [(None, 100), (Some(0), 30), (Some(60), 60), (Some(5000), 1000)] {
            assert_eq!(seconds(expires_at(&document(stated, None), &TERMS)), expected, "{stated:?}");
        }
        let deaf = RotationPolicy { honor_cache_headers: false, ..TERMS };
        assert_eq!(seconds(expires_at(&document(Some(5000), None), &deaf)), 100);
    }

    #[test]
    fn staleness_is_bounded_by_the_shorter_word_unless_it_is_unbounded_by_name() {
        for (stated, expected) in [(None, 150), (Some(10), 110), (Some(500), 150)] {
            assert_eq!(
                seconds(unusable_at(UnixTime::default(), &document(None, stated).freshness, &TERMS)),
                expected,
                "{stated:?}"
            );
        }
        let unbounded = RotationPolicy { max_stale: MaxStale::Unbounded, ..TERMS };
        assert_eq!(
            unusable_at(UnixTime::default(), &document(None, Some(1)).freshness, &unbounded).as_millis(),
            u64::MAX
        );
    }

    #[test]
    fn refreshes_start_ahead_of_expiry_and_spread() {
        let at =
            |jitter, terms: &RotationPolicy| seconds(refresh_at(&CachedJwks { jitter, ..document(None, None) }, terms));
        assert_eq!((at(0, &TERMS), at(u32::MAX / 2, &TERMS), at(u32::MAX, &TERMS)), (90, 85, 80));
        let early = RotationPolicy { refresh_ahead: Some(Duration::from_secs(99)), ..TERMS };
        assert_eq!((at(0, &early), at(u32::MAX, &early)), (75, 50));
    }

    #[test]
    fn failures_back_off_twice_as_long_each_time_and_spread() {
        let wait = |failures, jitter| backoff(failures, None, jitter, &TERMS).as_millis();
        assert_eq!((wait(1, 0), wait(1, u32::MAX)), (100, 199));
        assert_eq!((wait(2, u32::MAX), wait(3, u32::MAX)), (399, 799));
        assert_eq!((wait(30, u32::MAX), wait(u32::MAX, 0)), (29_999, 15_000));
        assert_eq!(backoff(1, Some(Duration::from_secs(60)), 0, &TERMS), Duration::from_secs(60));
        assert_eq!(backoff(1, Some(Duration::from_secs(86_400)), 0, &TERMS), LONGEST_WAIT);
    }
}
