//! What is counted. A value to return, never a call: the shell adds the counts to Envoy's stats.

use crate::token::{ProviderId, TokenError};

/// A counter, a gauge or a histogram of one provider. Names and values are ours and few: nothing of a token is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Whose.
    pub provider: ProviderId,
    /// What is counted or measured.
    pub family: &'static str,
    /// The kind of it; empty if there is one only.
    pub value: &'static str,
}

impl Series {
    /// Its stat name: `jwks_gate.provider.<provider>.<family>.<value>`. Envoy's `stats_tags` make labels of provider and value.
    pub fn name(self, prefix: &str, provider: &str) -> String {
        let dot = |text: &str| if text.is_empty() || text.ends_with('.') { "" } else { "." };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let mut provider: String = provider.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        // The expressions that make labels go by this word.
        if provider == "provider" {
            provider.push('_');
        }
        let (family, value) = (self.family, self.value);
        format!(
            "jwks_gate.{prefix}{}provider.{provider}.{family}{}{value}",
            dot(prefix),
            if value.is_empty() { "" } else { "." }
        )
    }
}

/// A counter. Names end up in Envoy as `wasmcustom.<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests let through with verified tokens.
    Allowed,
    /// Tokens that had been verified before under the same keys.
    CacheHit,
    /// Fetches that brought a good document.
    FetchSucceeded,
    /// Fetches that did not.
    FetchFailed,
    /// Keys of fetched documents that cannot be used.
    KeySkipped,
    /// Requests that had to wait for keys.
    Parked,
    /// Requests refused for their token: 401 and 403.
    Refused,
    /// Those among them that were refused for this.
    DeniedFor(TokenError),
    /// CORS preflights that passed without a token.
    PreflightBypassed,
    /// Requests refused because we could not know: 503.
    Unavailable,
    /// Requests that report mode let through and that would have been refused for their token.
    WouldDeny,
    /// Those among them that would have been refused for this.
    WouldDenyFor(TokenError),
    /// Requests that report mode let through and that would have got a 503.
    WouldBeUnavailable,
}

impl Metric {
    /// Every metric.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Allowed,
            Self::CacheHit,
            Self::FetchSucceeded,
            Self::FetchFailed,
            Self::KeySkipped,
            Self::Parked,
            Self::PreflightBypassed,
            Self::Refused,
            Self::Unavailable,
            Self::WouldDeny,
            Self::WouldBeUnavailable,
        ];
        plain.into_iter().chain(TokenError::ALL.map(Self::DeniedFor)).chain(TokenError::ALL.map(Self::WouldDenyFor))
    }

    /// Its stat name; a prefix, if there is one, stands in it.
    pub fn name(self, prefix: &str) -> String {
        let dot = if prefix.is_empty() || prefix.ends_with('.') { "" } else { "." };
        format!("jwks_gate.{prefix}{dot}{}", self.own_name())
    }

    fn own_name(self) -> String {
        let name = match self {
            Self::Allowed => "allowed",
            Self::CacheHit => "jwt_cache_hit",
            Self::FetchSucceeded => "jwks_fetch_success",
            Self::FetchFailed => "jwks_fetch_failed",
            Self::KeySkipped => "jwks_keys_skipped",
            Self::Parked => "parked",
            Self::Refused => "denied",
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
    series: Vec<(Series, u32)>,
    millis: Vec<(Series, u64)>,
}

impl Counts {
    /// Counts one.
    pub fn add(&mut self, metric: Metric) {
        self.add_many(metric, 1);
    }

    /// Counts so many.
    pub fn add_many(&mut self, metric: Metric, times: u32) {
        match self.metrics.iter_mut().find(|(own, _)| *own == metric) {
            Some((_, count)) => *count = count.saturating_add(times),
            None if times > 0 => self.metrics.push((metric, times)),
            None => {}
        }
    }

    /// Counts one of a provider's.
    pub fn add_of(&mut self, provider: ProviderId, family: &'static str, value: &'static str) {
        self.add_many_of(provider, family, value, 1);
    }

    /// Counts so many of a provider's; where there was none yet, the counter is there then.
    pub fn add_many_of(&mut self, provider: ProviderId, family: &'static str, value: &'static str, times: u32) {
        let series = Series { provider, family, value };
        match self.series.iter_mut().find(|(own, _)| *own == series) {
            Some((_, count)) => *count = count.saturating_add(times),
            None => self.series.push((series, times)),
        }
    }

    /// Notes how long something of a provider's took, in milliseconds.
    pub fn took(&mut self, provider: ProviderId, family: &'static str, millis: u64) {
        self.millis.push((Series { provider, family, value: "" }, millis));
    }

    /// What was counted of each provider.
    pub fn of_providers(&self) -> impl Iterator<Item = (Series, u32)> + use<'_> {
        self.series.iter().copied()
    }

    /// What took how many milliseconds.
    pub fn times(&self) -> impl Iterator<Item = (Series, u64)> + use<'_> {
        self.millis.iter().copied()
    }

    /// What was counted, metric by metric; what was not is left out.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u32)> + use<'_> {
        self.metrics.iter().copied()
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
