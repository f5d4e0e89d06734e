//! What is counted and measured. Counts are values to return, never calls: the shell adds them to Envoy's stats.
//!
//! Names and labels are few and the filter's own: nothing of a token is in them.

use crate::{ids::ProviderId, token::TokenError};

/// A statistic of one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub provider: ProviderId,
    pub stat: ProviderStat,
}

/// The kinds of statistics of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderStat {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A counter of one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Tokens found in the token cache.
    CacheHits,
    /// Fetches that failed, by cause.
    FetchErrors(FetchCause),
    /// Fetches that ended.
    Fetches(FetchResult),
    /// Refreshes that tokens wanted.
    Refreshes(Refresh),
    /// Requests by outcome.
    Requests(RequestOutcome),
    /// JWKSs that introduced a key.
    Rotations,
    /// Requests that report mode let through, by the reason for which they would be denied.
    WouldDeny(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchResult {
    Document,
    NotModified,
    Failed,
    /// The fetch ended after another had been started, and changed nothing.
    Superseded,
}

/// Why a fetch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchCause {
    /// The name of the issuer's host does not resolve.
    Dns,
    /// The connection was refused, broke, or could not be had.
    Connect,
    Tls,
    /// The issuer did not answer in time.
    Timeout,
    /// The issuer answered neither 200 nor an expected 304.
    Status,
    /// The response is no usable JWKS.
    Document,
    /// The response is a JWKS without keys.
    EmptySet,
    /// The response is no metadata document that names the JWKS.
    Metadata,
    Other,
}

impl FetchCause {
    /// Every cause.
    pub const ALL: [Self; 9] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Status,
        Self::Document,
        Self::EmptySet,
        Self::Metadata,
        Self::Other,
    ];

    /// The cause as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Document => "document",
            Self::EmptySet => "empty_set",
            Self::Metadata => "metadata",
            Self::Other => "other",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refresh {
    Started,
    /// A refresh lacked a key that requests wait for, so the issuer is asked once more.
    SecondLook,
    /// The budget of `unknown_kid_min_interval` was spent.
    Suppressed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestOutcome {
    Allowed,
    AllowedByRetiredKey,
    Parked,
    /// Denied, for this reason.
    Denied(&'static str),
}

/// A histogram of one provider, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Histogram {
    /// How long fetches took.
    FetchMs,
    /// How long requests were parked.
    WaitMs,
}

/// A gauge of one provider's key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gauge {
    /// Published keys that can verify tokens.
    Keys,
    /// When the JWKS was fetched or confirmed. Timestamps are Unix seconds; 0 means that there are no keys yet.
    KeysFetchedTimestampSeconds,
    /// When the lifetime of the JWKS ends.
    KeysExpiresTimestampSeconds,
    /// When the JWKS stops being usable although every later fetch fails.
    KeysUnusableTimestampSeconds,
    /// When a key last appeared, or the first JWKS did.
    KeysRotatedTimestampSeconds,
    /// When the seed ends, while it takes the place of the first JWKS.
    SeedEndsTimestampSeconds,
    FetchFailuresInARow,
    KeySetGeneration,
    InConfiguration,
    /// Requests that wait for keys, in all workers.
    ParkedNow,
}

impl Gauge {
    /// Every gauge.
    pub const ALL: [Self; 10] = [
        Self::Keys,
        Self::KeysFetchedTimestampSeconds,
        Self::KeysExpiresTimestampSeconds,
        Self::KeysUnusableTimestampSeconds,
        Self::KeysRotatedTimestampSeconds,
        Self::SeedEndsTimestampSeconds,
        Self::FetchFailuresInARow,
        Self::KeySetGeneration,
        Self::InConfiguration,
        Self::ParkedNow,
    ];

    /// The gauge's name within its provider.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::KeysFetchedTimestampSeconds => "keys_fetched_timestamp_seconds",
            Self::KeysExpiresTimestampSeconds => "keys_expires_timestamp_seconds",
            Self::KeysUnusableTimestampSeconds => "keys_unusable_timestamp_seconds",
            Self::KeysRotatedTimestampSeconds => "keys_rotated_timestamp_seconds",
            Self::SeedEndsTimestampSeconds => "seed_ends_timestamp_seconds",
            Self::FetchFailuresInARow => "fetch_failures_in_a_row",
            Self::KeySetGeneration => "key_set_generation",
            Self::InConfiguration => "in_configuration",
            Self::ParkedNow => "parked_now",
        }
    }
}

impl ProviderStat {
    /// The family, and the member of the family where it has more than one.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Counter(Counter::CacheHits) => ("cache_hits", ""),
            Self::Counter(Counter::Fetches(FetchResult::Document)) => ("fetches", "document"),
            Self::Counter(Counter::Fetches(FetchResult::NotModified)) => ("fetches", "not_modified"),
            Self::Counter(Counter::Fetches(FetchResult::Failed)) => ("fetches", "failed"),
            Self::Counter(Counter::Fetches(FetchResult::Superseded)) => ("fetches", "superseded"),
            Self::Counter(Counter::FetchErrors(cause)) => ("fetch_errors", cause.name()),
            Self::Counter(Counter::Refreshes(Refresh::Started)) => ("refreshes", "started"),
            Self::Counter(Counter::Refreshes(Refresh::SecondLook)) => ("refreshes", "second_look"),
            Self::Counter(Counter::Refreshes(Refresh::Suppressed)) => ("refreshes", "suppressed"),
            Self::Counter(Counter::Requests(RequestOutcome::Allowed)) => ("requests", "allowed"),
            Self::Counter(Counter::Requests(RequestOutcome::AllowedByRetiredKey)) => {
                ("requests", "allowed_by_retired_key")
            }
            Self::Counter(Counter::Requests(RequestOutcome::Parked)) => ("requests", "parked"),
            Self::Counter(Counter::Requests(RequestOutcome::Denied(reason))) => ("requests", reason),
            Self::Counter(Counter::Rotations) => ("rotations", ""),
            Self::Counter(Counter::WouldDeny(reason)) => ("would_deny", reason),
            Self::Gauge(gauge) => (gauge.name(), ""),
            Self::Histogram(Histogram::FetchMs) => ("fetch_ms", ""),
            Self::Histogram(Histogram::WaitMs) => ("wait_ms", ""),
        }
    }
}

impl Series {
    /// The stat name: `jwks_gate.provider.<provider>.<family>.<member>`. Envoy's `stats_tags` turn provider and member into
    /// labels.
    pub fn name(self, prefix: &str, provider: &str) -> String {
        let dot = |text: &str| if text.is_empty() || text.ends_with('.') { "" } else { "." };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let mut provider: String = provider.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        // The expressions of `stats_tags` search for this word.
        if provider == "provider" {
            provider.push('_');
        }
        let (family, member) = self.stat.names();
        let member_dot = if member.is_empty() { "" } else { "." };
        format!("jwks_gate.{prefix}{}provider.{provider}.{family}{member_dot}{member}", dot(prefix))
    }
}

/// A counter of the filter. Envoy shows it as `wasmcustom.<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests allowed with verified tokens.
    Allowed,
    /// Requests allowed with tokens of no configured issuer only.
    Foreign,
    /// Tokens found in the token cache.
    CacheHit,
    /// Fetches that brought or confirmed a JWKS.
    FetchSucceeded,
    /// Fetches that failed.
    FetchFailed,
    /// Keys of fetched JWKSs that cannot be used.
    KeySkipped,
    /// Reads of shared data that found a value of another plugin.
    SharedDataRejected,
    /// Requests that waited for keys.
    Parked,
    /// Requests denied for their token: 401 and 403.
    Denied,
    /// Requests denied for their token, by error.
    DeniedFor(TokenError),
    /// CORS preflights that passed without a token.
    PreflightBypassed,
    /// Requests denied because the keys were not available: 503.
    Unavailable,
    /// Requests that report mode let through and that would be denied for their token.
    WouldDeny,
    /// The same by error.
    WouldDenyFor(TokenError),
    /// Requests that report mode let through and that would be answered 503.
    WouldBeUnavailable,
}

impl Metric {
    /// Every metric.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Allowed,
            Self::Foreign,
            Self::CacheHit,
            Self::FetchSucceeded,
            Self::FetchFailed,
            Self::KeySkipped,
            Self::SharedDataRejected,
            Self::Parked,
            Self::PreflightBypassed,
            Self::Denied,
            Self::Unavailable,
            Self::WouldDeny,
            Self::WouldBeUnavailable,
        ];
        plain.into_iter().chain(TokenError::ALL.map(Self::DeniedFor)).chain(TokenError::ALL.map(Self::WouldDenyFor))
    }

    /// The stat name, with the configured prefix.
    pub fn name(self, prefix: &str) -> String {
        let dot = if prefix.is_empty() || prefix.ends_with('.') { "" } else { "." };
        format!("jwks_gate.{prefix}{dot}{}", self.short_name())
    }

    fn short_name(self) -> String {
        let name = match self {
            Self::Allowed => "allowed",
            Self::Foreign => "allowed_foreign",
            Self::CacheHit => "jwt_cache_hit",
            Self::FetchSucceeded => "jwks_fetch_success",
            Self::FetchFailed => "jwks_fetch_failed",
            Self::KeySkipped => "jwks_keys_skipped",
            Self::SharedDataRejected => "shared_data_rejected",
            Self::Parked => "parked",
            Self::Denied => "denied",
            Self::DeniedFor(error) => return format!("denied.{}", error.reason()),
            Self::PreflightBypassed => "cors_preflight_bypassed",
            Self::Unavailable => "unavailable",
            Self::WouldDeny => "would_deny",
            Self::WouldDenyFor(error) => return format!("would_deny.{}", error.reason()),
            Self::WouldBeUnavailable => "would_be_unavailable",
        };
        name.to_owned()
    }
}

/// What happened since the counts were last taken.
#[derive(Debug, Default)]
pub struct Counts {
    metrics: Vec<(Metric, u32)>,
    counters: Vec<(ProviderId, Counter, u32)>,
    observations: Vec<(ProviderId, Histogram, u64)>,
}

impl Counts {
    pub fn add(&mut self, metric: Metric) {
        self.add_many(metric, 1);
    }

    pub fn add_many(&mut self, metric: Metric, times: u32) {
        match self.metrics.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, count)) => *count = count.saturating_add(times),
            None if times > 0 => self.metrics.push((metric, times)),
            None => {}
        }
    }

    pub fn add_of(&mut self, provider: ProviderId, counter: Counter) {
        self.add_many_of(provider, counter, 1);
    }

    /// Adds to a provider's counter. Adding zero makes the counter appear in Envoy's stats.
    pub fn add_many_of(&mut self, provider: ProviderId, counter: Counter, times: u32) {
        match self.counters.iter_mut().find(|(of, known, _)| (*of, *known) == (provider, counter)) {
            Some((_, _, count)) => *count = count.saturating_add(times),
            None => self.counters.push((provider, counter, times)),
        }
    }

    /// Records a duration in milliseconds.
    pub fn observe(&mut self, provider: ProviderId, histogram: Histogram, millis: u64) {
        self.observations.push((provider, histogram, millis));
    }

    /// The filter's counters that grew.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u32)> + use<'_> {
        self.metrics.iter().copied()
    }

    /// The providers' counters that grew or appear.
    pub fn counters(&self) -> impl Iterator<Item = (Series, u32)> + use<'_> {
        let series = |(provider, counter, times): &(ProviderId, Counter, u32)| {
            (Series { provider: *provider, stat: ProviderStat::Counter(*counter) }, *times)
        };
        self.counters.iter().map(series)
    }

    /// The recorded durations, in milliseconds.
    pub fn observations(&self) -> impl Iterator<Item = (Series, u64)> + use<'_> {
        let series = |(provider, histogram, millis): &(ProviderId, Histogram, u64)| {
            (Series { provider: *provider, stat: ProviderStat::Histogram(*histogram) }, *millis)
        };
        self.observations.iter().map(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_own_name_and_count() {
        let mut counts = Counts::default();
        for metric in Metric::all() {
            counts.add(metric);
            counts.add(metric);
        }
        assert!(
            counts.iter().map(|(metric, _)| metric).eq(Metric::all()) && counts.iter().all(|(_, count)| count == 2)
        );
        let mut names: Vec<_> = Metric::all().map(|metric| metric.name("")).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Metric::all().count());
    }
}
