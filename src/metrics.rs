//! What is counted. A value to return, never a call: the shell adds the counts to Envoy's stats.

/// A counter. Names end up in Envoy as `wasmcustom.<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests let through with verified tokens.
    Allowed,
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
    /// Requests refused because we could not know: 503.
    Unavailable,
}

impl Metric {
    /// Every metric, in the order of [`Counts`].
    pub const ALL: [Self; 7] = [
        Self::Allowed,
        Self::FetchSucceeded,
        Self::FetchFailed,
        Self::KeySkipped,
        Self::Parked,
        Self::Refused,
        Self::Unavailable,
    ];

    /// Its stat name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "jwks_gate.allowed",
            Self::FetchSucceeded => "jwks_gate.jwks_fetch_success",
            Self::FetchFailed => "jwks_gate.jwks_fetch_failed",
            Self::KeySkipped => "jwks_gate.jwks_keys_skipped",
            Self::Parked => "jwks_gate.parked",
            Self::Refused => "jwks_gate.denied",
            Self::Unavailable => "jwks_gate.unavailable",
        }
    }
}

/// What happened since the counts were last taken.
#[derive(Debug, Default)]
pub struct Counts([u32; Metric::ALL.len()]);

impl Counts {
    /// Counts one.
    pub fn add(&mut self, metric: Metric) {
        if let Some(count) = self.0.get_mut(metric as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// What was counted, metric by metric; what was not is left out.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u32)> + use<'_> {
        Metric::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_own_place_and_name() {
        for metric in Metric::ALL {
            let mut counts = Counts::default();
            counts.add(metric);
            assert_eq!(counts.iter().collect::<Vec<_>>(), [(metric, 1)]);
        }
        let mut names: Vec<_> = Metric::ALL.iter().map(|m| m.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Metric::ALL.len());
    }
}
