//! What is wrong with a configuration, and where.

use std::fmt;

pub(super) type Result<T> = std::result::Result<T, ConfigError>;

/// A configuration that is refused whole; whatever ran before keeps running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, from the top: `providers.auth0.remote_jwks.http_uri.cluster`. Empty: the configuration as a whole.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ConfigError {
    /// The mistake `reason` at `path`.
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "configuration" } else { &self.path };
        write!(f, "{path}: {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}
