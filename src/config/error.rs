//! The error of an invalid configuration.

use std::fmt;

pub(super) type Result<T> = std::result::Result<T, ConfigError>;

/// Why a configuration was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the invalid field: `providers.auth0.remote_jwks.http_uri.cluster`. Empty: the configuration as a whole.
    pub path: String,
    /// Why the field is invalid.
    pub reason: String,
}

impl ConfigError {
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
