//! The wire form: the proto3-JSON of Envoy's `jwt_authn.v3.JwtAuthentication`, in both spellings, and our own fields.
//!
//! Strict: a field that is not here is refused, not ignored.

use std::time::Duration;

use serde_json::Value;

use super::{
    error::ConfigError,
    read::{message, unexpected, Named, Read},
};

/// A field of Envoy's that cannot be had here: it is refused with the reason.
pub(super) type Refused = Option<Value>;

message! {
    /// Envoy's `JwtAuthentication`.
    JwtAuthentication {
        providers: Named<JwtProvider>,
        rules: Vec<RequirementRule>,
        requirement_map: Named<JwtRequirement>,
        bypass_cors_preflight: bool,
        strip_failure_response: bool,
        stat_prefix: String,
        filter_state_rules: Refused,
        /// Ours.
        mode: Mode,
        /// Ours.
        error_format: ErrorFormat,
        /// Ours.
        resource_metadata: Option<String>,
        /// Ours: also of requests that are let through; of others it is always there.
        decision_in_filter_state: bool,
        /// Ours.
        max_parked_requests: Option<u32>,
        /// Ours.
        use_host_crypto: Option<bool>,
    }

    JwtProvider {
        issuer: String,
        audiences: Vec<String>,
        subjects: Option<StringMatcher>,
        require_expiration: bool,
        max_lifetime: Option<Duration>,
        remote_jwks: Option<RemoteJwks>,
        local_jwks: Option<DataSource>,
        forward: bool,
        from_headers: Vec<JwtHeader>,
        from_params: Vec<String>,
        from_cookies: Vec<String>,
        forward_payload_header: String,
        pad_forward_payload_header: bool,
        payload_in_metadata: String,
        normalize_payload_in_metadata: Option<NormalizePayload>,
        header_in_metadata: String,
        failed_status_in_metadata: String,
        clock_skew_seconds: u32,
        jwt_cache_config: Option<JwtCacheConfig>,
        claim_to_headers: Vec<JwtClaimToHeader>,
        clear_route_cache: bool,
        /// Ours.
        algorithms: Option<Vec<String>>,
        /// Ours.
        types: Vec<String>,
        /// Ours.
        required_claims: Vec<RequiredClaim>,
        /// Ours.
        required_scopes: Vec<String>,
    }

    NormalizePayload {
        space_delimited_claims: Vec<String>,
    }

    JwtClaimToHeader {
        header_name: String,
        claim_name: String,
    }

    JwtCacheConfig {
        jwt_cache_size: u32,
        jwt_max_token_size: u32,
        /// Ours: Envoy's is off where it is not configured.
        disabled: bool,
    }

    /// `envoy.type.matcher.v3.StringMatcher`.
    StringMatcher {
        exact: Option<String>,
        prefix: Option<String>,
        suffix: Option<String>,
        contains: Option<String>,
        safe_regex: Option<RegexMatcher>,
        ignore_case: bool,
        custom: Refused,
    }

    RegexMatcher {
        regex: String,
        /// Says nothing: it is the only engine that Envoy has.
        _google_re2: Option<Value>,
    }

    /// Ours.
    RequiredClaim {
        claim: String,
        equals: Option<Value>,
        contains: Option<Value>,
    }

    RemoteJwks {
        http_uri: HttpUri,
        cache_duration: Option<Duration>,
        async_fetch: Option<AsyncFetch>,
        retry_policy: Option<RetryPolicy>,
        /// Ours.
        rotation: Rotation,
    }

    HttpUri {
        uri: String,
        cluster: String,
        timeout: Option<Duration>,
    }

    AsyncFetch {
        /// Keys are fetched before the first request in any case, and no listener waits for them: requests do.
        _fast_listener: bool,
        failed_refetch_duration: Option<Duration>,
    }

    /// `envoy.config.core.v3.RetryPolicy`.
    RetryPolicy {
        num_retries: Option<u32>,
        retry_back_off: Option<BackoffStrategy>,
        /// Every failure is retried.
        _retry_on: String,
        retry_priority: Refused,
        retry_host_predicate: Refused,
        host_selection_retry_max_attempts: Refused,
    }

    BackoffStrategy {
        base_interval: Duration,
        max_interval: Option<Duration>,
    }

    /// Ours.
    Rotation {
        honor_cache_headers: Option<bool>,
        min_ttl: Option<Duration>,
        max_ttl: Option<Duration>,
        refresh_ahead: Option<Duration>,
        unknown_kid_min_interval: Option<Duration>,
        unknown_kid_max_wait: Option<Duration>,
        max_stale: Option<Staleness>,
        retired_key_grace: Option<Duration>,
        revoked_keys: Vec<String>,
        max_document_bytes: Option<u32>,
        max_keys: Option<u32>,
    }

    /// `envoy.config.core.v3.DataSource`.
    DataSource {
        inline_string: Option<String>,
        inline_bytes: Option<String>,
        filename: Refused,
        environment_variable: Refused,
        watched_directory: Refused,
    }

    JwtHeader {
        name: String,
        value_prefix: String,
    }

    RequirementRule {
        r#match: RouteMatch,
        requires: Option<JwtRequirement>,
        requirement_name: Option<String>,
    }

    /// `envoy.config.route.v3.RouteMatch`.
    RouteMatch {
        prefix: Option<String>,
        path: Option<String>,
        safe_regex: Option<RegexMatcher>,
        path_separated_prefix: Option<String>,
        connect_matcher: Option<Empty>,
        case_sensitive: Option<bool>,
        headers: Vec<HeaderMatcher>,
        query_parameters: Vec<QueryParameterMatcher>,
        path_match_policy: Refused,
        runtime_fraction: Refused,
        grpc: Refused,
        tls_context: Refused,
        dynamic_metadata: Refused,
        filter_state: Refused,
        cookies: Refused,
    }

    /// `envoy.config.route.v3.HeaderMatcher`.
    HeaderMatcher {
        name: String,
        string_match: Option<StringMatcher>,
        exact_match: Option<String>,
        prefix_match: Option<String>,
        suffix_match: Option<String>,
        contains_match: Option<String>,
        safe_regex_match: Option<RegexMatcher>,
        range_match: Option<Int64Range>,
        present_match: Option<bool>,
        invert_match: bool,
        treat_missing_header_as_empty: bool,
    }

    /// `envoy.type.v3.Int64Range`.
    Int64Range {
        start: i64,
        end: i64,
    }

    /// `envoy.config.route.v3.QueryParameterMatcher`.
    QueryParameterMatcher {
        name: String,
        string_match: Option<StringMatcher>,
        present_match: Option<bool>,
    }

    /// One of these, or nothing.
    JwtRequirement {
        provider_name: Option<String>,
        provider_and_audiences: Option<ProviderWithAudiences>,
        requires_any: Option<JwtRequirements>,
        requires_all: Option<JwtRequirements>,
        allow_missing: Option<Empty>,
        allow_missing_or_failed: Option<Empty>,
        extract_only_without_validation: Option<ExtractOnlyWithoutValidation>,
    }

    ExtractOnlyWithoutValidation {
        verification_status_header: String,
    }

    ProviderWithAudiences {
        provider_name: String,
        audiences: Vec<String>,
    }

    /// `JwtRequirementOrList` and `JwtRequirementAndList`.
    JwtRequirements {
        requirements: Vec<JwtRequirement>,
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

impl Read for Mode {
    fn read(value: Value, path: &str) -> Result<Self, ConfigError> {
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
    fn read(value: Value, path: &str) -> Result<Self, ConfigError> {
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
    fn read(value: Value, path: &str) -> Result<Self, ConfigError> {
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
