//! When a JWKS stops being fresh, when the background refresh starts, and how long a failed fetch pauses the next: functions
//! of what the issuer stated, the policy, and a random number that is drawn once per fetch. Failures and the budget of tokens are
//! added by [`super::transition::refresh_due`].

use std::time::Duration;

use super::{
    http_cache::Freshness,
    policy::{MaxStale, RotationPolicy, LONGEST_RETRY_AFTER},
};
use crate::time::UnixTime;

/// The background refresh starts when this part of the lifetime is left.
const REFRESH_AHEAD_DIVISOR: u32 = 5;
/// More pauses than these take longer than any request waits.
const MAX_DOUBLINGS: usize = 16;

/// How long a JWKS is fresh, counted from its fetch.
pub fn lifetime(freshness: &Freshness, policy: &RotationPolicy) -> Duration {
    match freshness.lifetime.filter(|_| policy.honor_cache_headers) {
        // As if `min_ttl` and `max_ttl` bound what the issuer would have stated.
        Some(Duration::ZERO) => policy.no_cache_ttl.max(policy.min_ttl).min(policy.max_ttl),
        Some(stated) => stated.saturating_sub(freshness.age).max(policy.min_ttl).min(policy.max_ttl),
        None => policy.cache_duration,
    }
}

/// When a JWKS stops being fresh.
pub fn expires_at(fetched_at: UnixTime, freshness: &Freshness, policy: &RotationPolicy) -> UnixTime {
    fetched_at.plus(lifetime(freshness, policy))
}

/// When a JWKS stops being usable although every later fetch failed.
pub fn unusable_at(fetched_at: UnixTime, freshness: &Freshness, policy: &RotationPolicy) -> UnixTime {
    let expires_at = expires_at(fetched_at, freshness, policy);
    match (policy.max_stale, freshness.stale_if_error.filter(|_| policy.honor_cache_headers)) {
        (MaxStale::For(bound), Some(stated)) => expires_at.plus(bound.min(stated)),
        (MaxStale::For(bound), None) => expires_at.plus(bound),
        (MaxStale::Unbounded, _) => UnixTime::from_millis(u64::MAX),
    }
}

/// When the background refresh of a JWKS starts: at a random point of the first half of `refresh_ahead` before the expiry, so
/// that proxies which fetched together do not refresh together. Never before half the lifetime is over.
pub fn refresh_at(fetched_at: UnixTime, freshness: &Freshness, jitter: u32, policy: &RotationPolicy) -> UnixTime {
    let lifetime = lifetime(freshness, policy);
    let fifth = lifetime.checked_div(REFRESH_AHEAD_DIVISOR).unwrap_or_default();
    let half = lifetime.checked_div(2).unwrap_or_default();
    let ahead = policy.refresh_ahead.unwrap_or(fifth).min(half);
    fetched_at.plus(lifetime).minus(upper_half(ahead, jitter))
}

/// The pause after this many failures in a row. It doubles with each failure up to a bound, less a random part of up to a
/// half. A longer `Retry-After` of the issuer takes its place.
pub fn backoff(failures: u32, retry_after: Option<Duration>, jitter: u32, policy: &RotationPolicy) -> Duration {
    upper_half(longest_backoff(failures, policy), jitter).max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

/// How long requests wait for retries: the pauses after the failures that they outlast, and a second.
pub fn retry_patience(policy: &RotationPolicy) -> Duration {
    let pauses = (1..=policy.retries).take(MAX_DOUBLINGS).map(|failures| longest_backoff(failures, policy));
    pauses.fold(Duration::from_secs(1), Duration::saturating_add)
}

/// The longest pause after this many failures in a row.
fn longest_backoff(failures: u32, policy: &RotationPolicy) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    policy.first_backoff.saturating_mul(factor).min(policy.longest_backoff)
}

/// Between half of `longest` and `longest`, in proportion to `jitter`.
fn upper_half(longest: Duration, jitter: u32) -> Duration {
    let half = longest.checked_div(2).unwrap_or_default();
    let nanos = half.as_nanos().saturating_mul(u128::from(jitter)) >> u32::BITS;
    half.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        keys::document::Limits,
        rotation::policy::{EmptySet, DEFAULT_FIRST_BACKOFF, DEFAULT_LONGEST_BACKOFF},
    };

    pub(in crate::rotation) const POLICY: RotationPolicy = RotationPolicy {
        cache_duration: Duration::from_secs(100),
        honor_cache_headers: true,
        no_cache_ttl: Duration::from_secs(60),
        min_ttl: Duration::from_secs(30),
        max_ttl: Duration::from_secs(1000),
        refresh_ahead: None,
        max_stale: MaxStale::For(Duration::from_secs(50)),
        empty_set: EmptySet::Keep,
        retired_key_grace: Duration::ZERO,
        unknown_kid_min_interval: Duration::from_secs(10),
        second_look: Duration::from_secs(1),
        unknown_kid_max_wait: Duration::from_secs(5),
        fetch_timeout: Duration::from_secs(2),
        retries: 0,
        first_backoff: DEFAULT_FIRST_BACKOFF,
        longest_backoff: DEFAULT_LONGEST_BACKOFF,
        limits: Limits { max_document_bytes: 65_536, max_keys: 100 },
    };

    const EPOCH: UnixTime = UnixTime::from_millis(0);

    fn stated(lifetime: Option<u64>, stale_if_error: Option<u64>) -> Freshness {
        Freshness {
            lifetime: lifetime.map(Duration::from_secs),
            age: Duration::ZERO,
            stale_if_error: stale_if_error.map(Duration::from_secs),
        }
    }

    fn seconds(time: UnixTime) -> u64 {
        time.as_millis() / 1000
    }

    #[test]
    fn the_issuers_word_counts_within_floor_and_ceiling() {
        for (stated, expected) in [(None, 100), (Some(0), 60), (Some(5), 30), (Some(60), 60), (Some(5000), 1000)] {
            assert_eq!(seconds(expires_at(EPOCH, &self::stated(stated, None), &POLICY)), expected, "{stated:?}");
        }
        let over = Freshness { age: Duration::from_secs(90), ..self::stated(Some(60), None) };
        assert_eq!(seconds(expires_at(EPOCH, &over, &POLICY)), 30, "over on arrival");
        for (no_cache_ttl, expected) in [(1, 30), (300, 300), (2000, 1000)] {
            let policy = RotationPolicy { no_cache_ttl: Duration::from_secs(no_cache_ttl), ..POLICY };
            assert_eq!(seconds(expires_at(EPOCH, &self::stated(Some(0), None), &policy)), expected, "no_cache_ttl");
        }
        let ignoring = RotationPolicy { honor_cache_headers: false, ..POLICY };
        assert_eq!(seconds(expires_at(EPOCH, &stated(Some(5000), None), &ignoring)), 100);
    }

    #[test]
    fn staleness_is_bounded_by_the_shorter_word_unless_it_is_unbounded_by_name() {
        for (stated, expected) in [(None, 150), (Some(10), 110), (Some(500), 150)] {
            assert_eq!(seconds(unusable_at(EPOCH, &self::stated(None, stated), &POLICY)), expected, "{stated:?}");
        }
        let unbounded = RotationPolicy { max_stale: MaxStale::Unbounded, ..POLICY };
        assert_eq!(unusable_at(EPOCH, &stated(None, Some(1)), &unbounded).as_millis(), u64::MAX);
    }

    #[test]
    fn refreshes_start_ahead_of_expiry_and_spread() {
        let at = |jitter, policy: &RotationPolicy| seconds(refresh_at(EPOCH, &stated(None, None), jitter, policy));
        assert_eq!((at(0, &POLICY), at(u32::MAX / 2, &POLICY), at(u32::MAX, &POLICY)), (90, 85, 80));
        let early = RotationPolicy { refresh_ahead: Some(Duration::from_secs(99)), ..POLICY };
        assert_eq!((at(0, &early), at(u32::MAX, &early)), (75, 50));
    }

    #[test]
    fn failures_back_off_twice_as_long_each_time_and_spread() {
        let wait = |failures, jitter| backoff(failures, None, jitter, &POLICY).as_millis();
        assert_eq!((wait(1, 0), wait(1, u32::MAX)), (100, 199));
        assert_eq!((wait(2, u32::MAX), wait(3, u32::MAX)), (399, 799));
        assert_eq!((wait(30, u32::MAX), wait(u32::MAX, 0)), (29_999, 15_000));
        assert_eq!(backoff(1, Some(Duration::from_secs(60)), 0, &POLICY), Duration::from_secs(60));
        assert_eq!(backoff(1, Some(Duration::from_secs(86_400)), 0, &POLICY), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn requests_wait_for_the_granted_retries_and_a_second() {
        let with = |retries, first_backoff| {
            let longest_backoff = Duration::from_secs(10);
            retry_patience(&RotationPolicy { retries, first_backoff, longest_backoff, ..POLICY }).as_millis()
        };
        let [second, fifth] = [Duration::from_secs(1), Duration::from_millis(200)];
        assert_eq!((with(0, fifth), with(1, fifth), with(3, fifth)), (1_000, 1_200, 2_400));
        assert_eq!((with(1, second), with(3, second), with(6, second)), (2_000, 8_000, 36_000));
        assert!(with(u32::MAX, second) > 100_000);
    }
}
