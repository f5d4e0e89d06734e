//! The wire form: the proto3-JSON of Envoy's `jwt_authn.v3.JwtAuthentication`, in both spellings, plus `rotation`.
//!
//! Strict: a field that is not here is refused, not ignored.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    de::{self, Deserializer, IgnoredAny},
    Deserialize,
};
use serde_json::Value;

use crate::time::parse_duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtAuthentication {
    #[serde(default)]
    pub(super) providers: BTreeMap<String, JwtProvider>,
    #[serde(default)]
    pub(super) rules: Vec<RequirementRule>,
    #[serde(alias = "maxParkedRequests")]
    pub(super) max_parked_requests: Option<u32>,
    #[serde(alias = "useHostCrypto")]
    pub(super) use_host_crypto: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtProvider {
    #[serde(default)]
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) audiences: Vec<String>,
    #[serde(alias = "remoteJwks")]
    pub(super) remote_jwks: Option<RemoteJwks>,
    #[serde(alias = "localJwks")]
    pub(super) local_jwks: Option<DataSource>,
    #[serde(default)]
    pub(super) forward: bool,
    #[serde(default, alias = "fromHeaders")]
    pub(super) from_headers: Vec<JwtHeader>,
    pub(super) subjects: Option<StringMatcher>,
    #[serde(default, alias = "requireExpiration")]
    pub(super) require_expiration: bool,
    #[serde(alias = "maxLifetime")]
    pub(super) max_lifetime: Option<ProtoDuration>,
    #[serde(default, alias = "clockSkewSeconds")]
    pub(super) clock_skew_seconds: u32,
    #[serde(alias = "jwtCacheConfig")]
    pub(super) jwt_cache_config: Option<JwtCacheConfig>,
    pub(super) algorithms: Option<Vec<String>>,
    #[serde(default)]
    pub(super) types: Vec<String>,
    #[serde(default, alias = "requiredClaims")]
    pub(super) required_claims: Vec<RequiredClaim>,
    #[serde(default, alias = "requiredScopes")]
    pub(super) required_scopes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtCacheConfig {
    #[serde(default, alias = "jwtCacheSize")]
    pub(super) jwt_cache_size: u32,
    #[serde(default, alias = "jwtMaxTokenSize")]
    pub(super) jwt_max_token_size: u32,
    /// Ours: Envoy's is off where it is not configured.
    #[serde(default)]
    pub(super) disabled: bool,
}

/// `envoy.type.matcher.v3.StringMatcher`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StringMatcher {
    pub(super) exact: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) suffix: Option<String>,
    pub(super) contains: Option<String>,
    #[serde(alias = "safeRegex")]
    pub(super) safe_regex: Option<RegexMatcher>,
    #[serde(default, alias = "ignoreCase")]
    pub(super) ignore_case: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegexMatcher {
    pub(super) regex: String,
    /// Says nothing: it is the only engine that Envoy has.
    #[serde(default, alias = "googleRe2", rename = "google_re2")]
    pub(super) _google_re2: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequiredClaim {
    pub(super) claim: String,
    pub(super) equals: Option<Value>,
    pub(super) contains: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoteJwks {
    #[serde(alias = "httpUri")]
    pub(super) http_uri: HttpUri,
    #[serde(alias = "cacheDuration")]
    pub(super) cache_duration: Option<ProtoDuration>,
    #[serde(default)]
    pub(super) rotation: Rotation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpUri {
    pub(super) uri: String,
    pub(super) cluster: String,
    pub(super) timeout: ProtoDuration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    #[serde(alias = "honorCacheHeaders")]
    pub(super) honor_cache_headers: Option<bool>,
    #[serde(alias = "minTtl")]
    pub(super) min_ttl: Option<ProtoDuration>,
    #[serde(alias = "maxTtl")]
    pub(super) max_ttl: Option<ProtoDuration>,
    #[serde(alias = "refreshAhead")]
    pub(super) refresh_ahead: Option<ProtoDuration>,
    #[serde(alias = "unknownKidMinInterval")]
    pub(super) unknown_kid_min_interval: Option<ProtoDuration>,
    #[serde(alias = "unknownKidMaxWait")]
    pub(super) unknown_kid_max_wait: Option<ProtoDuration>,
    #[serde(alias = "maxStale")]
    pub(super) max_stale: Option<Staleness>,
    #[serde(alias = "retiredKeyGrace")]
    pub(super) retired_key_grace: Option<ProtoDuration>,
    #[serde(default, alias = "revokedKeys")]
    pub(super) revoked_keys: Vec<String>,
    #[serde(alias = "maxDocumentBytes")]
    pub(super) max_document_bytes: Option<u32>,
    #[serde(alias = "maxKeys")]
    pub(super) max_keys: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataSource {
    #[serde(alias = "inlineString")]
    pub(super) inline_string: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtHeader {
    pub(super) name: String,
    #[serde(default, alias = "valuePrefix")]
    pub(super) value_prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequirementRule {
    #[serde(rename = "match")]
    pub(super) matcher: RouteMatch,
    pub(super) requires: Option<JwtRequirement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteMatch {
    pub(super) prefix: Option<String>,
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtRequirement {
    #[serde(alias = "providerName")]
    pub(super) provider_name: String,
}

/// A `google.protobuf.Duration`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProtoDuration(pub(super) Duration);

impl<'de> Deserialize<'de> for ProtoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = ProtoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"300s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ProtoDuration, E> {
                parse_duration(text).map(ProtoDuration).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// A duration, or that there is no bound: only by name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Staleness {
    For(ProtoDuration),
    Unbounded,
}

impl<'de> Deserialize<'de> for Staleness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "unbounded" => Ok(Self::Unbounded),
            text => parse_duration(text)
                .map(|duration| Self::For(ProtoDuration(duration)))
                .map_err(|reason| de::Error::custom(format_args!("{reason}, or \"unbounded\""))),
        }
    }
}
