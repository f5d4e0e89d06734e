//! `remote_jwks`: how a JWKS is fetched, cached and refreshed.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    key_document::seed,
    sources::{sources, Sources},
    value::{check_items, in_range, unsupported},
};
use crate::{
    config::{
        error::Result,
        path::Path,
        schema::{AsyncFetch, BackoffStrategy, RemoteJwks, RetryPolicy, Rotation, Staleness},
    },
    keys::{document::Limits, revoked::RevokedKeys},
    policy::provider::Remote,
    rotation::policy::{self, MaxStale, RotationPolicy},
};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const UP_TO_A_YEAR: RangeInclusive<Duration> = Duration::ZERO..=YEAR;
/// A shorter lifetime would flood the issuer.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=YEAR;
const NO_CACHE_TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=policy::LONGEST_NO_CACHE_TTL;
/// A longer pause would be longer than requests wait.
const SECOND_LOOK: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=policy::LONGEST_GRACE;
const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(1)..=policy::LONGEST_RETRY_AFTER;
/// Limits the time in which a worker parses a JWKS and serves no request.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;
const MAX_KEYS: usize = 10_000;
const MAX_RETRIES: u32 = 100;

/// `issuer` is the provider's. What is valid but a likely mistake is added to `warnings`.
pub(super) fn remote(path: &Path<'_>, wire: &RemoteJwks, issuer: &str, warnings: &mut Vec<String>) -> Result<Remote> {
    let Sources { source, mirrors, headers, timeout } = sources(path, wire, issuer, warnings)?;
    let retry = retry(path, wire.async_fetch.as_ref(), wire.retry_policy.as_ref())?;
    let cache_duration =
        range_or(&path.field("cache_duration"), wire.cache_duration, policy::DEFAULT_CACHE_DURATION, TTL)?;
    let rotation = rotation(&path.field("rotation"), &wire.rotation, cache_duration, timeout, &retry)?;
    let revoked = &wire.rotation.revoked_keys;
    check_items(&path.field("rotation").field("revoked_keys"), revoked, |key| !key.is_empty(), "must not be empty")?;
    let seed = |wire| seed(&path.field("seed_jwks"), wire, rotation.limits, warnings);
    let seed = wire.seed_jwks.as_ref().map(seed).transpose()?;
    Ok(Remote { source, mirrors, headers, rotation, revoked: RevokedKeys::new(revoked.iter().cloned()), seed })
}

fn range_or(
    path: &Path<'_>,
    wire: Option<Duration>,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration> {
    wire.map_or(Ok(default), |wire| in_range(path, wire, range))
}

fn number_or(path: &Path<'_>, wire: Option<u32>, default: usize, max: usize) -> Result<usize> {
    match wire.map(usize::try_from) {
        None => Ok(default),
        Some(Ok(number)) if (1..=max).contains(&number) => Ok(number),
        Some(_) => Err(path.error(format!("must be from 1 to {max}"))),
    }
}

fn rotation(
    path: &Path<'_>,
    wire: &Rotation,
    cache_duration: Duration,
    fetch_timeout: Duration,
    retry: &Retry,
) -> Result<RotationPolicy> {
    let duration = |field, wire, default, range| range_or(&path.field(field), wire, default, range);
    let min_ttl = duration("min_ttl", wire.min_ttl, policy::DEFAULT_MIN_TTL, TTL)?;
    let max_ttl = duration("max_ttl", wire.max_ttl, policy::DEFAULT_MAX_TTL, TTL)?;
    if min_ttl > max_ttl {
        return Err(path.field("min_ttl").error("must not be longer than max_ttl"));
    }
    let max_stale = match wire.max_stale {
        None => MaxStale::For(policy::DEFAULT_MAX_STALE),
        Some(Staleness::Unbounded) => MaxStale::Unbounded,
        Some(Staleness::For(wire)) => MaxStale::For(in_range(&path.field("max_stale"), wire, UP_TO_A_YEAR)?),
    };
    let refresh_ahead = wire.refresh_ahead.map(|wire| in_range(&path.field("refresh_ahead"), wire, UP_TO_A_YEAR));
    let limits = Limits::default();
    Ok(RotationPolicy {
        cache_duration,
        honor_cache_headers: wire.honor_cache_headers.unwrap_or(true),
        no_cache_ttl: duration(
            "no_cache_ttl",
            wire.no_cache_ttl,
            cache_duration.min(policy::LONGEST_NO_CACHE_TTL),
            NO_CACHE_TTL,
        )?,
        min_ttl,
        max_ttl,
        refresh_ahead: refresh_ahead.transpose()?,
        max_stale,
        empty_set: wire.empty_set,
        retired_key_grace: duration("retired_key_grace", wire.retired_key_grace, Duration::ZERO, GRACE)?,
        unknown_kid_min_interval: duration(
            "unknown_kid_min_interval",
            wire.unknown_kid_min_interval,
            policy::DEFAULT_UNKNOWN_KID_MIN_INTERVAL,
            INTERVAL,
        )?,
        second_look: duration("second_look", wire.second_look, policy::DEFAULT_SECOND_LOOK, SECOND_LOOK)?,
        unknown_kid_max_wait: duration(
            "unknown_kid_max_wait",
            wire.unknown_kid_max_wait,
            policy::DEFAULT_UNKNOWN_KID_MAX_WAIT,
            INTERVAL,
        )?,
        fetch_timeout,
        retries: retry.retries,
        first_backoff: retry.first_backoff,
        longest_backoff: retry.longest_backoff,
        limits: Limits {
            max_document_bytes: number_or(
                &path.field("max_document_bytes"),
                wire.max_document_bytes,
                limits.max_document_bytes,
                MAX_DOCUMENT_BYTES,
            )?,
            max_keys: number_or(&path.field("max_keys"), wire.max_keys, limits.max_keys, MAX_KEYS)?,
        },
    })
}

/// What happens after a failed fetch.
struct Retry {
    retries: u32,
    first_backoff: Duration,
    longest_backoff: Duration,
}

/// The back-off, which always applies, with the settings of Envoy's `retry_policy` and `async_fetch`.
fn retry(path: &Path<'_>, async_fetch: Option<&AsyncFetch>, policy: Option<&RetryPolicy>) -> Result<Retry> {
    let mut retry = Retry {
        retries: 0,
        first_backoff: policy::DEFAULT_FIRST_BACKOFF,
        longest_backoff: policy::DEFAULT_LONGEST_BACKOFF,
    };
    if let Some(AsyncFetch { failed_refetch_duration: Some(wire), .. }) = async_fetch {
        let path = path.field("async_fetch");
        retry.longest_backoff = in_range(&path.field("failed_refetch_duration"), *wire, BACKOFF)?;
        retry.first_backoff = retry.first_backoff.min(retry.longest_backoff);
    }
    let Some(policy) = policy else { return Ok(retry) };
    let path = path.field("retry_policy");
    unsupported(
        &path,
        [
            ("retry_priority", &policy.retry_priority),
            ("retry_host_predicate", &policy.retry_host_predicate),
            ("host_selection_retry_max_attempts", &policy.host_selection_retry_max_attempts),
        ],
        "Wasm filters cannot select a host; the load balancing of the cluster does",
    )?;
    // Envoy's default.
    retry.retries = policy.num_retries.unwrap_or(1);
    if retry.retries > MAX_RETRIES {
        return Err(path.field("num_retries").error(format!("must be at most {MAX_RETRIES}")));
    }
    if let Some(BackoffStrategy { base_interval, max_interval }) = &policy.retry_back_off {
        let path = path.field("retry_back_off");
        retry.first_backoff = in_range(&path.field("base_interval"), *base_interval, BACKOFF)?;
        retry.longest_backoff = range_or(&path.field("max_interval"), *max_interval, retry.longest_backoff, BACKOFF)?;
        retry.longest_backoff = retry.longest_backoff.max(retry.first_backoff);
    }
    Ok(retry)
}
