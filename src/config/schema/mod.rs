//! The wire form: the proto3-JSON of Envoy's `jwt_authn.v3.JwtAuthentication`, in both spellings, and our own fields.
//!
//! Strict: a field that is not here is refused, not ignored. The tables of docs/configuration.md and its JSON Schema are made
//! of what is written here: a field's text may begin with "Ours." or "Required." and end with "Default: `…`.".

mod provider;
mod rules;

use std::time::Duration;

use serde_json::Value;

pub(super) use self::{provider::*, rules::*};
use super::{
    error::{ConfigError, Result},
    path::Path,
    read::{message, unexpected, Named, Read},
};

/// A field of Envoy's that cannot be had here: it is refused with the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsupported;

message! {
    /// The configuration: Envoy's `JwtAuthentication`.
    JwtAuthentication {
        /// By name: whose tokens are taken.
        providers: Named<JwtProvider>,
        /// The first whose `match` fits decides; where none fits, the request passes.
        rules: Vec<RequirementRule>,
        /// Requirements by name, for `requirement_name`.
        requirement_map: Named<JwtRequirement>,
        /// `OPTIONS` with `Origin` and `Access-Control-Request-Method` passes without a token.
        bypass_cors_preflight: bool,
        /// Refusals have neither body nor challenge.
        strip_failure_response: bool,
        /// Stands in the names of the counters.
        stat_prefix: String,
        /// A VM cannot read what other filters choose by.
        filter_state_rules: Option<Unsupported>,
        /// Addition. `report` refuses nothing and counts what it would refuse. Default: `enforce`.
        mode: Mode,
        /// Addition. What the body of a refusal is: `json` for problem details (RFC 9457). Default: `text`.
        error_format: ErrorFormat,
        /// Addition. An https URI for the challenge (RFC 9728).
        resource_metadata: Option<String>,
        /// Addition. What was decided and why is in the filter state also of requests that are let through; of others it always is.
        decision_in_filter_state: bool,
        /// Addition. How many requests may wait for keys, in each worker; beyond it 503. Default: `1024`.
        max_parked_requests: Option<u32>,
        /// Addition. Signatures are checked by the host's `verify_signature`, where it proves sound. Default: `true`.
        use_host_crypto: Option<bool>,
    }

    /// A regular expression in RE2's syntax: no look-around, no back-references.
    RegexMatcher {
        /// Required. Must fit all of the text.
        regex: String,
        /// Says nothing: it is the only engine that Envoy has.
        _google_re2: Option<Value>,
    }

    /// One of the patterns, with `ignore_case` or without: Envoy's `StringMatcher`.
    StringMatcher {
        /// The text itself.
        exact: Option<String>,
        /// What it begins with.
        prefix: Option<String>,
        /// What it ends with.
        suffix: Option<String>,
        /// What stands in it.
        contains: Option<String>,
        /// What it fits.
        safe_regex: Option<RegexMatcher>,
        /// ASCII letters are the same in both cases; not for `safe_regex`.
        ignore_case: bool,
        /// No extension of Envoy's can be had in a VM.
        custom: Option<Unsupported>,
    }

    /// A message without fields: that it is there is all.
    Empty {}
}

/// What becomes of a refused request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Enforce,
    Report,
}

/// What a refusal's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ErrorFormat {
    #[default]
    Text,
    Json,
}

/// A duration, or that there is no bound: only by name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Staleness {
    For(Duration),
    Unbounded,
}

impl Read for Unsupported {
    fn read(_: Value, _: &Path<'_>) -> Result<Self> {
        Ok(Self)
    }

    fn absent() -> Self {
        Self
    }
}

impl Read for Mode {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        match value.as_str() {
            Some("enforce") => Ok(Self::Enforce),
            Some("report") => Ok(Self::Report),
            _ => unexpected(&value, path, "\"enforce\" or \"report\""),
        }
    }

    fn absent() -> Self {
        Self::default()
    }
}

impl Read for ErrorFormat {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        match value.as_str() {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => unexpected(&value, path, "\"text\" or \"json\""),
        }
    }

    fn absent() -> Self {
        Self::default()
    }
}

impl Read for Staleness {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        if value == "unbounded" {
            return Ok(Self::Unbounded);
        }
        Duration::read(value, path)
            .map(Self::For)
            .map_err(|error| ConfigError { reason: format!("{}, or \"unbounded\"", error.reason), ..error })
    }

    fn absent() -> Self {
        Self::Unbounded
    }
}
