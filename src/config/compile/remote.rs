//! `remote_jwks`: how an issuer's keys are fetched, and what their life is.

use std::time::Duration;

use super::{within, Bounds, Result};
use crate::{
    config::{
        error::ConfigError,
        schema::{AsyncFetch, BackoffStrategy, HttpUri, RemoteJwks, RetryPolicy, Staleness},
    },
    keys::{document::Limits, revoked::RevokedKeys},
    policy::provider::Remote,
    rotation::policy::{self, MaxStale, RotationPolicy},
};

/// Shorter than a millisecond is no timeout at all for Envoy; longer than an hour is surely a mistake.
const FETCH_TIMEOUT: Bounds = (Duration::from_millis(1), Duration::from_secs(3600));
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const UP_TO_A_YEAR: Bounds = (Duration::ZERO, YEAR);
/// Shorter would be a stampede that the configuration ordered.
const TTL: Bounds = (Duration::from_secs(1), YEAR);
const INTERVAL: Bounds = (Duration::from_millis(1), Duration::from_secs(86_400));
const GRACE: Bounds = (Duration::ZERO, policy::LONGEST_GRACE);
const BACKOFF: Bounds = (Duration::from_millis(1), policy::LONGEST_RETRY_AFTER);
/// What a worker parses at one go must not hold up its requests.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;
const MAX_KEYS: usize = 10_000;
const MAX_RETRIES: u32 = 100;

pub(super) fn remote(path: &str, wire: RemoteJwks) -> Result<Remote> {
    let HttpUri { uri, cluster, timeout } = &wire.http_uri;
    let at = |field: &str| format!("{path}.{field}");
    if cluster.is_empty() {
        return Err(ConfigError::new(at("http_uri.cluster"), "must name an Envoy cluster"));
    }
    let timeout = timeout.ok_or_else(|| ConfigError::new(at("http_uri.timeout"), "must be given"))?;
    let (scheme, authority, target) = split_uri(uri).map_err(|reason| ConfigError::new(at("http_uri.uri"), reason))?;
    let terms = terms(path, within(at("http_uri.timeout"), timeout, FETCH_TIMEOUT)?, &wire)?;
    if let Some(place) = wire.rotation.revoked_keys.iter().position(String::is_empty) {
        return Err(ConfigError::new(at(&format!("rotation.revoked_keys[{place}]")), "must not be empty"));
    }
    let revoked = RevokedKeys::new(wire.rotation.revoked_keys);
    Ok(Remote { cluster: cluster.clone(), scheme, authority, path: target, rotation: terms, revoked })
}

fn terms(path: &str, fetch_timeout: Duration, remote: &RemoteJwks) -> Result<RotationPolicy> {
    let wire = &remote.rotation;
    let retry = retry(path, remote)?;
    let duration = |field: &str, wire: Option<Duration>, default, bounds| {
        wire.map_or(Ok(default), |wire| within(format!("{path}.{field}"), wire, bounds))
    };
    let number = |field: &str, wire: Option<u32>, default: usize, most: usize| match wire {
        None => Ok(default),
        Some(number) => match usize::try_from(number) {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(ConfigError::new(format!("{path}.{field}"), format!("must be from 1 to {most}"))),
        },
    };
    let min_ttl = duration("rotation.min_ttl", wire.min_ttl, policy::DEFAULT_MIN_TTL, TTL)?;
    let max_ttl = duration("rotation.max_ttl", wire.max_ttl, policy::DEFAULT_MAX_TTL, TTL)?;
    if min_ttl > max_ttl {
        return Err(ConfigError::new(format!("{path}.rotation.min_ttl"), "must not be longer than max_ttl"));
    }
    let max_stale = match wire.max_stale {
        None => MaxStale::For(policy::DEFAULT_MAX_STALE),
        Some(Staleness::Unbounded) => MaxStale::Unbounded,
        Some(Staleness::For(wire)) => MaxStale::For(within(format!("{path}.rotation.max_stale"), wire, UP_TO_A_YEAR)?),
    };
    let limits = Limits::default();
    Ok(RotationPolicy {
        cache_duration: duration("cache_duration", remote.cache_duration, policy::DEFAULT_CACHE_DURATION, TTL)?,
        honor_cache_headers: wire.honor_cache_headers.unwrap_or(true),
        min_ttl,
        max_ttl,
        refresh_ahead: wire
            .refresh_ahead
            .map(|wire| within(format!("{path}.rotation.refresh_ahead"), wire, UP_TO_A_YEAR))
            .transpose()?,
        max_stale,
        retired_key_grace: duration("rotation.retired_key_grace", wire.retired_key_grace, Duration::ZERO, GRACE)?,
        unknown_kid_min_interval: duration(
            "rotation.unknown_kid_min_interval",
            wire.unknown_kid_min_interval,
            policy::DEFAULT_UNKNOWN_KID_MIN_INTERVAL,
            INTERVAL,
        )?,
        unknown_kid_max_wait: duration(
            "rotation.unknown_kid_max_wait",
            wire.unknown_kid_max_wait,
            policy::DEFAULT_UNKNOWN_KID_MAX_WAIT,
            INTERVAL,
        )?,
        fetch_timeout,
        retries: retry.retries,
        first_backoff: retry.first_backoff,
        longest_backoff: retry.longest_backoff,
        limits: Limits {
            max_document_bytes: number(
                "rotation.max_document_bytes",
                wire.max_document_bytes,
                limits.max_document_bytes,
                MAX_DOCUMENT_BYTES,
            )?,
            max_keys: number("rotation.max_keys", wire.max_keys, limits.max_keys, MAX_KEYS)?,
        },
    })
}

/// What failed fetches lead to.
struct Retry {
    retries: u32,
    first_backoff: Duration,
    longest_backoff: Duration,
}

/// Envoy's `retry_policy` and `async_fetch` in terms of our back-off, which is there without them.
fn retry(path: &str, remote: &RemoteJwks) -> Result<Retry> {
    let mut retry = Retry {
        retries: 0,
        first_backoff: policy::DEFAULT_FIRST_BACKOFF,
        longest_backoff: policy::DEFAULT_LONGEST_BACKOFF,
    };
    if let Some(AsyncFetch { failed_refetch_duration: Some(wire), .. }) = &remote.async_fetch {
        retry.longest_backoff = within(format!("{path}.async_fetch.failed_refetch_duration"), *wire, BACKOFF)?;
        retry.first_backoff = retry.first_backoff.min(retry.longest_backoff);
    }
    let Some(policy) = &remote.retry_policy else { return Ok(retry) };
    let RetryPolicy { num_retries, retry_back_off, .. } = policy;
    for (field, refused) in [
        ("retry_priority", &policy.retry_priority),
        ("retry_host_predicate", &policy.retry_host_predicate),
        ("host_selection_retry_max_attempts", &policy.host_selection_retry_max_attempts),
    ] {
        if refused.is_some() {
            let reason = "a filter in a VM cannot choose hosts; the cluster's own load balancing does";
            return Err(ConfigError::new(format!("{path}.retry_policy.{field}"), reason));
        }
    }
    // Envoy retries once where the policy names no number.
    retry.retries = num_retries.unwrap_or(1);
    if retry.retries > MAX_RETRIES {
        return Err(ConfigError::new(
            format!("{path}.retry_policy.num_retries"),
            format!("must be at most {MAX_RETRIES}"),
        ));
    }
    if let Some(BackoffStrategy { base_interval, max_interval }) = retry_back_off {
        let at = |field: &str| format!("{path}.retry_policy.retry_back_off.{field}");
        retry.first_backoff = within(at("base_interval"), *base_interval, BACKOFF)?;
        let longest = max_interval.map(|wire| within(at("max_interval"), wire, BACKOFF)).transpose()?;
        retry.longest_backoff = longest.unwrap_or(retry.longest_backoff).max(retry.first_backoff);
    }
    Ok(retry)
}

/// Scheme, authority and path-with-query of an absolute HTTP URI (RFC 9110 §4.2).
fn split_uri(uri: &str) -> std::result::Result<(&'static str, String, String), &'static str> {
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must hold printable ASCII without spaces only");
    }
    let (scheme, rest) = if let Some(rest) = uri.strip_prefix("https://") {
        ("https", rest)
    } else if let Some(rest) = uri.strip_prefix("http://") {
        ("http", rest)
    } else {
        return Err("must begin with http:// or https://");
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') {
        return Err("must name a host, without user information");
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((scheme, authority.to_owned(), format!("{slash}{target}")))
}
