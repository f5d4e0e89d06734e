//! The wire form: the proto3-JSON of Envoy's `jwt_authn.v3.JwtAuthentication`, with the additional fields of jwks-gate.
//!
//! An unknown field is an error. docs/configuration.md and the JSON Schema are generated from the doc comments here. The
//! comment of a field may begin with "Addition." or "Required." and end with "Default: `…`.".

mod provider;
mod rules;

use std::{fmt, time::Duration};

use serde_json::Value;

pub(super) use self::{provider::*, rules::*};
use super::{
    error::{ConfigError, Result},
    path::Path,
    read::{message, read, unexpected, Named, Read},
};
use crate::rotation::policy::EmptySet;

/// A field of Envoy's that jwks-gate does not support. `compile` rejects a configuration that sets the field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsupported;

/// A text that nothing prints.
#[derive(Clone, Default)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

message! {
    /// The configuration: Envoy's `JwtAuthentication`.
    JwtAuthentication {
        /// Token issuers and their keys, by provider name.
        providers: Named<JwtProvider>,
        /// The first rule that matches a request decides which tokens the request needs. A request that no rule matches is
        /// allowed.
        rules: Vec<RequirementRule>,
        /// Requirements by name, for `requirement_name`.
        requirement_map: Named<JwtRequirement>,
        /// Allows CORS preflight requests (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) without a token.
        bypass_cors_preflight: bool,
        /// Sends denials without a body and without `www-authenticate`.
        strip_failure_response: bool,
        /// Added to the name of each counter, after `jwks_gate`. Letters, digits, `.`, `_` and `-`.
        stat_prefix: String,
        /// Wasm filters cannot read the filter state that selects the requirement.
        filter_state_rules: Option<Unsupported>,
        /// Addition. `report` denies no request and counts the requests that `enforce` would deny. Default: `enforce`.
        mode: Mode,
        /// Addition. Format of the body of a denial; `json` is a problem details object (RFC 9457). Default: `text`.
        error_format: ErrorFormat,
        /// Addition. `https` URI of the protected resource metadata, which each challenge names (RFC 9728).
        resource_metadata: Option<String>,
        /// Addition. Path at which the filter answers GET and HEAD requests itself, without a token: 503 until each fetched key set
        /// that a requirement names has had keys once, then 200 ([cold-start.md](cold-start.md#a-ready-path)). Unset: no such path.
        ready_path: Option<String>,
        /// Addition. Also writes the decision `allowed` to the filter state. All other decisions are always written.
        decision_in_filter_state: bool,
        /// Addition. Maximum number of requests that wait for keys, per worker; at most 100000. If the room is full, the
        /// provider or the client whose requests take most of the room loses its newest one to others that take less;
        /// otherwise the new request gets a 503 ([key-sets.md](key-sets.md#the-room-for-waiting-requests)). Default: `1024`.
        max_parked_requests: Option<u32>,
        /// Addition. Secret that authenticates what workers share, at least 16 bytes. Without a secret, any Wasm plugin with the
        /// same `vm_id` can inject keys; under Istio, every plugin of the proxy. Filters of one plugin share keys only under the
        /// same secret. Envoy's config dump shows the field; instead, the variable `JWKS_GATE_SHARED_DATA_SECRET` of the VM's
        /// environment can hold the secret ([SECURITY.md](../SECURITY.md#the-secret)). The field overrides the variable.
        shared_data_secret: String,
        /// Addition. Maximum length of a token in bytes, from 1024 to 8388608. A longer token is denied unread. The default is
        /// as large as all headers of a request may be in Envoy unless `max_request_headers_kb` is set. Default: `61440`.
        max_token_bytes: Option<u32>,
        /// Addition. Verifies signatures with the host's `verify_signature`, for each algorithm that passes a self-test. The
        /// Wasm VM verifies all other signatures, except `ES384` and `ES512`, which it verifies only in a build with
        /// `all-curves`. With `false` the shipped build thus denies `ES384` and `ES512`. Default: `true`.
        use_host_crypto: Option<bool>,
    }

    /// A regular expression in RE2 syntax: no look-around, no back-references.
    RegexMatcher {
        /// Required. Regular expression that must match the whole string, of at most 4096 bytes. A longer path, header or
        /// parameter gets a 431 ([long values](jwt_authn.md#regular-expressions-and-long-values)); a longer `sub` does not
        /// match.
        regex: String,
        /// Accepted for compatibility; has no effect.
        _google_re2: Option<Value>,
    }

    /// Envoy's `StringMatcher`: exactly one pattern, and `ignore_case`.
    StringMatcher {
        /// The value equals this string.
        exact: Option<String>,
        /// The value starts with this string.
        prefix: Option<String>,
        /// The value ends with this string.
        suffix: Option<String>,
        /// The value contains this string.
        contains: Option<String>,
        /// A regular expression that must match the whole value.
        safe_regex: Option<RegexMatcher>,
        /// Ignores the case of ASCII letters. No effect on `safe_regex`.
        ignore_case: bool,
        /// Envoy extensions are not available to Wasm filters.
        custom: Option<Unsupported>,
    }

    /// A message without fields.
    Empty {}
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Enforce,
    Report,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ErrorFormat {
    #[default]
    Text,
    Json,
}

/// A duration, or the word `unbounded`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Staleness {
    For(Duration),
    #[default]
    Unbounded,
}

/// A list of strings, of which one may stand alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(pub(super) Vec<String>);

/// A list of tenants, or the word `any`.
#[derive(Clone, Debug)]
pub(super) enum Tenants {
    Any,
    Listed(Vec<String>),
}

impl Default for Tenants {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Read for Unsupported {
    fn set(&mut self, _: Value, _: &Path<'_>) -> Result<()> {
        Ok(())
    }
}

impl Read for Secret {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        self.0.set(value, path)
    }
}

/// Which of two words the value is: the index. Not generic: each type would have a copy.
fn one_of(value: &Value, path: &Path<'_>, words: [&str; 2]) -> Result<usize> {
    let [first, second] = words;
    match words.iter().position(|word| value == *word) {
        Some(index) => Ok(index),
        None => unexpected(value, path, &format!("\"{first}\" or \"{second}\"")),
    }
}

impl Read for Mode {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = if one_of(&value, path, ["enforce", "report"])? == 0 { Self::Enforce } else { Self::Report };
        Ok(())
    }
}

impl Read for ErrorFormat {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = if one_of(&value, path, ["text", "json"])? == 0 { Self::Text } else { Self::Json };
        Ok(())
    }
}

impl Read for Texts {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        self.0.set(value, path)
    }
}

impl Read for Tenants {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = if value == "any" { Self::Any } else { Self::Listed(read(value, path)?) };
        Ok(())
    }
}

impl Read for EmptySet {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = if one_of(&value, path, ["keep", "revoke"])? == 0 { Self::Keep } else { Self::Revoke };
        Ok(())
    }
}

impl Read for Staleness {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = if value == "unbounded" {
            Self::Unbounded
        } else {
            read(value, path).map(Self::For).map_err(|error| ConfigError {
                reason: format!("{}; \"unbounded\" is also valid", error.reason),
                ..error
            })?
        };
        Ok(())
    }
}
