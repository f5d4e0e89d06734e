//! What is counted. A value to return, never a call: the shell adds the counts to Envoy's stats.

use crate::token::TokenError;

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
    RefusedFor(TokenError),
    /// CORS preflights that passed without a token.
    PreflightBypassed,
    /// Requests refused because we could not know: 503.
    Unavailable,
    /// Requests that report mode let through and that would have been refused for their token.
    WouldRefuse,
    /// Those among them that would have been refused for this.
    WouldRefuseFor(TokenError),
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
            Self::WouldRefuse,
            Self::WouldBeUnavailable,
        ];
        plain.into_iter().chain(TokenError::ALL.map(Self::RefusedFor)).chain(TokenError::ALL.map(Self::WouldRefuseFor))
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
            Self::RefusedFor(error) => return format!("denied.{}", error.reason()),
            Self::PreflightBypassed => "cors_preflight_bypassed",
            Self::Unavailable => "unavailable",
            Self::WouldRefuse => "would_deny",
            Self::WouldRefuseFor(error) => return format!("would_deny.{}", error.reason()),
            Self::WouldBeUnavailable => "would_be_unavailable",
        };
        name.to_owned()
    }
}

/// What happened since the counts were last taken.
#[derive(Debug, Default)]
pub struct Counts(Vec<(Metric, u32)>);

impl Counts {
    /// Counts one.
    pub fn add(&mut self, metric: Metric) {
        self.add_many(metric, 1);
    }

    /// Counts so many.
    pub fn add_many(&mut self, metric: Metric, times: u32) {
        match self.0.iter_mut().find(|(own, _)| *own == metric) {
            Some((_, count)) => *count = count.saturating_add(times),
            None if times > 0 => self.0.push((metric, times)),
            None => {}
        }
    }

    /// What was counted, metric by metric; what was not is left out.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u32)> + use<'_> {
        self.0.iter().copied()
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
