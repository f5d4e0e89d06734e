//! `providers`: whose tokens are taken, what is asked of them, and what is passed on of them.

use std::{rc::Rc, time::Duration};

use base64::{engine::general_purpose::STANDARD, Engine as _};
use serde_json::Value;

use super::{header_name, remote::remote, string_matcher, within, Bounds, Result};
use crate::{
    config::{
        error::ConfigError,
        schema::{DataSource, JwtCacheConfig, JwtClaimToHeader, JwtHeader, JwtProvider, RequiredClaim},
    },
    keys::{document, Algorithm},
    policy::{
        forward::{ClaimHeader, Forward},
        provider::{KeySource, Provider},
        token_location::TokenLocation,
    },
    token::{
        cache,
        claims::normalize_audience,
        validation::{normalize_media_type, ClaimRule, ClaimValue, TokenPolicy, DEFAULT_CLOCK_SKEW},
    },
};

/// Headers that the filter must not take a token from or remove.
const RESERVED_HEADERS: [&str; 2] = ["host", "transfer-encoding"];
const LIFETIME: Bounds = (Duration::from_millis(1), Duration::from_secs(315_576_000_000));
/// As large as Envoy's longest tokens, and ten times as many.
const DEFAULT_CACHE: cache::Limits = cache::Limits { entries: 1000, max_token_bytes: 4096 };
const MOST_CACHED_TOKENS: usize = 100_000;

/// A provider, and where it looks for tokens.
pub(super) fn provider(path: &str, name: String, wire: JwtProvider) -> Result<(Provider, Vec<TokenLocation>)> {
    let forward = forward(path, &wire)?;
    let sources = sources(path, &wire, &forward)?;
    let keys = match (wire.remote_jwks, wire.local_jwks) {
        (Some(wire), None) => KeySource::Remote(Box::new(remote(&format!("{path}.remote_jwks"), wire)?)),
        (None, Some(wire)) => local(&format!("{path}.local_jwks"), wire)?,
        (Some(_), Some(_)) => {
            return Err(ConfigError::new(path, "has both remote_jwks and local_jwks; give one of them"))
        }
        (None, None) => return Err(ConfigError::new(path, "has neither remote_jwks nor local_jwks")),
    };
    let nonempty = |field: &str, list: &[String]| match list.iter().position(|item| item.trim().is_empty()) {
        Some(place) => Err(ConfigError::new(format!("{path}.{field}[{place}]"), "must not be empty")),
        None => Ok(()),
    };
    nonempty("audiences", &wire.audiences)?;
    nonempty("types", &wire.types)?;
    nonempty("required_scopes", &wire.required_scopes)?;
    if let Some(place) = wire.required_scopes.iter().position(|scope| !is_scope(scope)) {
        return Err(ConfigError::new(
            format!("{path}.required_scopes[{place}]"),
            "must be one scope (RFC 6749 §3.3): printable, without spaces, quotes and backslashes",
        ));
    }
    let algorithms = algorithms(path, wire.algorithms.as_deref(), &keys)?;
    let mut claims = Vec::new();
    for (place, wire) in wire.required_claims.into_iter().enumerate() {
        claims.push(required_claim(&format!("{path}.required_claims[{place}]"), wire)?);
    }
    let max_lifetime =
        wire.max_lifetime.map(|wire| within(format!("{path}.max_lifetime"), wire, LIFETIME)).transpose()?;
    let rules = TokenPolicy {
        issuer: Some(wire.issuer).filter(|issuer| !issuer.is_empty()),
        audiences: wire.audiences.iter().map(|audience| normalize_audience(audience).to_owned()).collect(),
        subjects: wire.subjects.map(|wire| string_matcher(&format!("{path}.subjects"), wire)).transpose()?,
        algorithms,
        types: wire.types.iter().map(|typ| normalize_media_type(typ)).collect(),
        clock_skew: match wire.clock_skew_seconds {
            // As in Envoy, whose proto3 field cannot tell 0 from nothing.
            0 => DEFAULT_CLOCK_SKEW,
            seconds => Duration::from_secs(seconds.into()),
        },
        require_expiration: wire.require_expiration,
        max_lifetime,
        claims,
        scopes: wire.required_scopes,
        forwarded_claims: forward.claims().map(str::to_owned).collect(),
    };
    let cache = cache_limits(path, wire.jwt_cache_config.as_ref())?;
    Ok((Provider { name, policies: vec![rules], cache, forward, keys }, sources))
}

fn is_scope(scope: &str) -> bool {
    scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

fn sources(path: &str, wire: &JwtProvider, forward: &Forward) -> Result<Vec<TokenLocation>> {
    let mut sources = Vec::new();
    for (place, JwtHeader { name, value_prefix }) in wire.from_headers.iter().enumerate() {
        let at = format!("{path}.from_headers[{place}].name");
        let header = header_name(name).filter(|header| !RESERVED_HEADERS.contains(&header.as_str()));
        let header = header.ok_or_else(|| ConfigError::new(&*at, format!("{name:?} cannot carry a token")))?;
        if forward.headers().any(|own| own == header) {
            return Err(ConfigError::new(at, format!("{header:?} is also written with what tokens say")));
        }
        add(&mut sources, TokenLocation::Header { name: header, prefix: value_prefix.clone() });
    }
    for (field, names, source) in [
        ("from_params", &wire.from_params, TokenLocation::Param as fn(String) -> TokenLocation),
        ("from_cookies", &wire.from_cookies, TokenLocation::Cookie),
    ] {
        for (place, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(ConfigError::new(format!("{path}.{field}[{place}]"), "must not be empty"));
            }
            add(&mut sources, source(name.clone()));
        }
    }
    if sources.is_empty() {
        sources = TokenLocation::defaults();
    }
    Ok(sources)
}

/// Keeps them in order, and each once.
fn add(sources: &mut Vec<TokenLocation>, source: TokenLocation) {
    if let Err(at) = sources.binary_search(&source) {
        sources.insert(at, source);
    }
}

fn forward(path: &str, wire: &JwtProvider) -> Result<Forward> {
    let header = |field: String, name: &str| match header_name(name) {
        Some(name) if name != "host" => Ok(name),
        _ => Err(ConfigError::new(field, format!("{name:?} is no header that can be set"))),
    };
    let mut claims = Vec::new();
    for (place, JwtClaimToHeader { header_name, claim_name }) in wire.claim_to_headers.iter().enumerate() {
        let at = |field| format!("{path}.claim_to_headers[{place}].{field}");
        let names: Vec<_> = claim_name.split('.').map(str::to_owned).collect();
        if claim_name.is_empty() {
            return Err(ConfigError::new(at("claim_name"), "must not be empty"));
        }
        claims.push(ClaimHeader { header: header(at("header_name"), header_name)?, path: names });
    }
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let payload_header = given(&wire.forward_payload_header)
        .map(|name| header(format!("{path}.forward_payload_header"), &name))
        .transpose()?;
    let normalize = wire.normalize_payload_in_metadata.as_ref();
    Ok(Forward {
        token: wire.forward,
        payload_header,
        pad_payload: wire.pad_forward_payload_header,
        claims,
        payload_state: given(&wire.payload_in_metadata),
        header_state: given(&wire.header_in_metadata),
        failure_state: given(&wire.failed_status_in_metadata),
        space_delimited: normalize.map(|wire| wire.space_delimited_claims.clone()).unwrap_or_default(),
        clear_route_cache: wire.clear_route_cache,
    })
}

/// Which algorithms a provider takes. A secret that everybody can fetch is none.
fn algorithms(path: &str, wire: Option<&[String]>, keys: &KeySource) -> Result<Vec<Algorithm>> {
    let holds_secrets = match keys {
        KeySource::Local(keys) => keys.contains_secrets(),
        KeySource::Remote(_) => false,
    };
    let field = format!("{path}.algorithms");
    let mut algorithms = Vec::new();
    for (place, name) in wire.into_iter().flatten().enumerate() {
        let at = format!("{field}[{place}]");
        let Some(algorithm) = Algorithm::from_name(name) else {
            return Err(ConfigError::new(at, format!("{name:?} is not an algorithm that is verified here")));
        };
        if algorithm.is_symmetric() && !holds_secrets {
            return Err(ConfigError::new(at, format!("{name} needs a secret key in local_jwks")));
        }
        algorithms.push(algorithm);
    }
    match wire {
        None if holds_secrets => {
            Err(ConfigError::new(field, "must list the HS algorithms that the secret keys in local_jwks are for"))
        }
        None => Ok(Algorithm::ASYMMETRIC.to_vec()),
        Some([]) => Err(ConfigError::new(field, "must not be empty")),
        Some(_) if holds_secrets && !algorithms.iter().any(|algorithm| algorithm.is_symmetric()) => {
            Err(ConfigError::new(field, "must list the HS algorithms that the secret keys in local_jwks are for"))
        }
        Some(_) => Ok(algorithms),
    }
}

fn required_claim(path: &str, wire: RequiredClaim) -> Result<ClaimRule> {
    let names: Vec<_> = wire.claim.split('.').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(ConfigError::new(format!("{path}.claim"), "must be a claim's name, or names joined by dots"));
    }
    let scalar = |field: &str, value: &Value| match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(()),
        _ => Err(ConfigError::new(format!("{path}.{field}"), "must be a string, a number or a boolean")),
    };
    let value = match (wire.equals, wire.contains) {
        (Some(value), None) => scalar("equals", &value).map(|()| ClaimValue::Equals(value))?,
        (None, Some(value)) => scalar("contains", &value).map(|()| ClaimValue::Contains(value))?,
        (None, None) => ClaimValue::Any,
        (Some(_), Some(_)) => return Err(ConfigError::new(path, "has both equals and contains; give one of them")),
    };
    Ok(ClaimRule { path: names, value })
}

/// Envoy's defaults for its `jwt_cache_config`; where there is none, it has no cache, and we have a larger one.
fn cache_limits(path: &str, wire: Option<&JwtCacheConfig>) -> Result<cache::Limits> {
    let Some(wire) = wire else { return Ok(DEFAULT_CACHE) };
    if wire.disabled {
        return Ok(cache::Limits { entries: 0, max_token_bytes: 0 });
    }
    let or = |number: u32, default: usize| match usize::try_from(number) {
        Ok(0) => default,
        Ok(number) => number,
        Err(_) => usize::MAX,
    };
    let entries = or(wire.jwt_cache_size, 100);
    if entries > MOST_CACHED_TOKENS {
        let path = format!("{path}.jwt_cache_config.jwt_cache_size");
        return Err(ConfigError::new(path, format!("must be at most {MOST_CACHED_TOKENS}")));
    }
    Ok(cache::Limits { entries, max_token_bytes: or(wire.jwt_max_token_size, DEFAULT_CACHE.max_token_bytes) })
}

fn local(path: &str, wire: DataSource) -> Result<KeySource> {
    for (field, refused) in [
        ("filename", wire.filename),
        ("environment_variable", wire.environment_variable),
        ("watched_directory", wire.watched_directory),
    ] {
        if refused.is_some() {
            return Err(ConfigError::new(
                format!("{path}.{field}"),
                "a filter in a VM cannot read files or the environment: give the keys as inline_string",
            ));
        }
    }
    let (field, bytes) = match (wire.inline_string, wire.inline_bytes) {
        (Some(text), None) => ("inline_string", text.into_bytes()),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text);
            ("inline_bytes", bytes.map_err(|_| ConfigError::new(format!("{path}.inline_bytes"), "must be base64"))?)
        }
        _ => return Err(ConfigError::new(path, "must have exactly one of inline_string and inline_bytes")),
    };
    let at = format!("{path}.{field}");
    let document = document::parse_local(&bytes).map_err(|error| ConfigError::new(&*at, error.to_string()))?;
    if let Some((place, error)) = document.skipped.first() {
        return Err(ConfigError::new(at, format!("keys[{place}] cannot be used: {error}")));
    }
    Ok(KeySource::Local(Rc::new(document.keys)))
}
