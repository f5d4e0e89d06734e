//! What a provider's configuration says about fetching and keeping a key set.

use std::time::Duration;

use crate::keys::document::Limits;

/// `remote_jwks` and `remote_jwks.rotation`, checked.
#[derive(Clone, Copy, Debug)]
pub struct RotationPolicy {
    /// Lifetime of a JWKS whose headers state none.
    pub cache_duration: Duration,
    /// Whether the headers are read.
    pub honor_cache_headers: bool,
    /// Lifetime of a JWKS whose headers state that none is left from the start: `no-cache`, `no-store`, `max-age=0`.
    pub no_cache_ttl: Duration,
    /// Lower bound of a stated lifetime.
    pub min_ttl: Duration,
    /// Upper bound of a stated lifetime.
    pub max_ttl: Duration,
    /// How long before the end of the lifetime the background refresh may start. `None`: a fifth of the lifetime.
    pub refresh_ahead: Option<Duration>,
    /// How long past its lifetime a JWKS stays usable while the issuer fails.
    pub max_stale: MaxStale,
    /// What a JWKS without keys means.
    pub empty_set: EmptySet,
    /// How long a key that left the JWKS still verifies.
    pub retired_key_grace: Duration,
    /// The least time between two refreshes that tokens cause, whether the first succeeded or not.
    pub unknown_kid_min_interval: Duration,
    /// How long after a refresh that a token caused another refresh may start within the interval. Zero: none.
    pub second_look: Duration,
    /// How long a request waits for a refresh that runs, or is due within this time.
    pub unknown_kid_max_wait: Duration,
    /// The timeouts of the requests of one fetch, added up.
    pub fetch_timeout: Duration,
    /// How many failures in a row the waiting requests outlast.
    pub retries: u32,
    /// The longest pause after the first failure.
    pub first_backoff: Duration,
    /// The longest pause after any number of failures.
    pub longest_backoff: Duration,
    /// Bounds of a JWKS.
    pub limits: Limits,
}

/// A bound on staleness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    /// This long, or as long as `stale-if-error` says if that is shorter.
    For(Duration),
    /// Without end; only where the configuration says so.
    Unbounded,
}

/// What a well-formed JWKS without any key means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptySet {
    /// A mistake: the fetch failed, and the last JWKS stays.
    #[default]
    Keep,
    /// That the issuer revokes all keys.
    Revoke,
}

/// Envoy's default `cache_duration`.
pub const DEFAULT_CACHE_DURATION: Duration = Duration::from_secs(600);
/// The upper bound of `no_cache_ttl`: some issuers send `no-store` only near a rotation.
pub const LONGEST_NO_CACHE_TTL: Duration = Duration::from_secs(300);
pub const DEFAULT_MIN_TTL: Duration = Duration::from_secs(30);
pub const DEFAULT_MAX_TTL: Duration = Duration::from_secs(24 * 3600);
pub const DEFAULT_MAX_STALE: Duration = Duration::from_secs(3600);
pub const DEFAULT_UNKNOWN_KID_MIN_INTERVAL: Duration = Duration::from_secs(10);
/// Not shorter than the interval. With a shorter wait, one token with an invented `kid` would have the tokens of a new key
/// denied until the next refresh may start.
pub const DEFAULT_UNKNOWN_KID_MAX_WAIT: Duration = DEFAULT_UNKNOWN_KID_MIN_INTERVAL;
/// Replicas of an issuer lag by less.
pub const DEFAULT_SECOND_LOOK: Duration = Duration::from_secs(1);
pub const DEFAULT_FIRST_BACKOFF: Duration = Duration::from_millis(200);
pub const DEFAULT_LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// The upper bound of `retired_key_grace`: a key that its issuer has withdrawn is not trusted for longer.
pub const LONGEST_GRACE: Duration = Duration::from_secs(86_400);
/// The upper bound of an issuer's `Retry-After`.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
