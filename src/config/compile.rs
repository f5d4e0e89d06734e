//! The wire form into the checked one: what cannot work is refused here, once, and never met again.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use serde_json::Value;

use super::{
    error::ConfigError,
    schema::{
        DataSource, HttpUri, JwtAuthentication, JwtCacheConfig, JwtHeader, JwtProvider, ProtoDuration, RemoteJwks,
        RequiredClaim, RequirementRule, Rotation, RouteMatch, Staleness, StringMatcher,
    },
};
use crate::{
    keys::{
        document::{self, Limits},
        revoked::Revoked,
        schedule::{self, MaxStale, Terms},
        Algorithm,
    },
    matcher::{self, Pattern},
    policy::{
        extract::Source,
        provider::{KeySource, Plan, Provider, Remote},
        rules::{PathMatch, Rule},
    },
    token::{
        cache,
        rules::{media_type, ClaimRule, ClaimValue, Rules, DEFAULT_CLOCK_SKEW},
        ProviderId,
    },
};

const MAX_PARKED_REQUESTS: usize = 1024;
/// Headers that the filter must not take a token from or remove.
const RESERVED_HEADERS: [&str; 2] = ["host", "transfer-encoding"];
/// Shorter than a millisecond is no timeout at all for Envoy; longer than an hour is surely a mistake.
const FETCH_TIMEOUT: Bounds = (Duration::from_millis(1), Duration::from_secs(3600));
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const UP_TO_A_YEAR: Bounds = (Duration::ZERO, YEAR);
/// Shorter would be a stampede that the configuration ordered.
const TTL: Bounds = (Duration::from_secs(1), YEAR);
const INTERVAL: Bounds = (Duration::from_millis(1), Duration::from_secs(86_400));
const GRACE: Bounds = (Duration::ZERO, schedule::LONGEST_GRACE);
/// What a worker parses at one go must not hold up its requests.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;
const MAX_KEYS: usize = 10_000;
const MOST_PARKED_REQUESTS: usize = 100_000;
const LIFETIME: Bounds = (Duration::from_millis(1), YEAR);
/// As large as Envoy's longest tokens, and ten times as many.
const DEFAULT_CACHE: cache::Limits = cache::Limits { entries: 1000, max_token_bytes: 4096 };
const MOST_CACHED_TOKENS: usize = 100_000;

type Bounds = (Duration, Duration);
type Result<T> = std::result::Result<T, ConfigError>;

pub(super) fn plan(config: JwtAuthentication) -> Result<Plan> {
    let mut ids = BTreeMap::new();
    let mut providers = Vec::new();
    for (name, wire) in config.providers {
        let path = format!("providers.{name}");
        ids.insert(name.clone(), ProviderId::new(providers.len()));
        providers.push(provider(&path, name, wire)?);
    }
    let rules = config.rules.into_iter().enumerate().map(|(place, wire)| rule(&format!("rules[{place}]"), wire, &ids));
    let rules = rules.collect::<Result<Vec<_>>>()?;
    let max_parked_requests = match config.max_parked_requests.map(usize::try_from) {
        None => MAX_PARKED_REQUESTS,
        Some(Ok(number)) if number <= MOST_PARKED_REQUESTS => number,
        Some(_) => {
            return Err(ConfigError::new("max_parked_requests", format!("must be at most {MOST_PARKED_REQUESTS}")))
        }
    };
    let use_host_crypto = config.use_host_crypto.unwrap_or(true);
    let warnings = warnings(&rules, &providers);
    Ok(Plan { rules, providers, max_parked_requests, use_host_crypto, warnings })
}

/// What `jwt_authn` takes without a word, and what is open because of it.
fn warnings(rules: &[Rule], providers: &[Provider]) -> Vec<String> {
    let anybody = providers.iter().filter(|provider| provider.rules.issuer.is_none());
    let mut warnings: Vec<_> = anybody
        .map(|provider| format!("providers.{}.issuer: not set, so that any iss is taken", provider.name))
        .collect();
    if rules.iter().all(|rule| rule.requires.is_none()) {
        warnings.push("rules: none requires a token, so that every request passes".to_owned());
    }
    warnings
}

fn provider(path: &str, name: String, wire: JwtProvider) -> Result<Provider> {
    let keys = match (wire.remote_jwks, wire.local_jwks) {
        (Some(wire), None) => KeySource::Remote(Box::new(remote(&format!("{path}.remote_jwks"), wire)?)),
        (None, Some(wire)) => local(&format!("{path}.local_jwks"), &wire)?,
        (Some(_), Some(_)) => {
            return Err(ConfigError::new(path, "has both remote_jwks and local_jwks; give one of them"))
        }
        (None, None) => return Err(ConfigError::new(path, "has neither remote_jwks nor local_jwks")),
    };
    if let Some(place) = wire.audiences.iter().position(String::is_empty) {
        return Err(ConfigError::new(format!("{path}.audiences[{place}]"), "must not be empty"));
    }
    let mut sources = Vec::new();
    for (place, wire) in wire.from_headers.into_iter().enumerate() {
        sources.push(source(&format!("{path}.from_headers[{place}]"), wire)?);
    }
    if sources.is_empty() {
        sources.push(Source::bearer());
    }
    let algorithms = algorithms(path, wire.algorithms.as_deref(), &keys)?;
    let mut claims = Vec::new();
    for (place, wire) in wire.required_claims.into_iter().enumerate() {
        claims.push(required_claim(&format!("{path}.required_claims[{place}]"), wire)?);
    }
    let nonempty = |field: &str, list: &[String]| match list.iter().position(|item| item.trim().is_empty()) {
        Some(place) => Err(ConfigError::new(format!("{path}.{field}[{place}]"), "must not be empty")),
        None => Ok(()),
    };
    nonempty("types", &wire.types)?;
    nonempty("required_scopes", &wire.required_scopes)?;
    if let Some(place) = wire.required_scopes.iter().position(|scope| scope.contains(' ')) {
        return Err(ConfigError::new(format!("{path}.required_scopes[{place}]"), "must be one scope, without spaces"));
    }
    let max_lifetime =
        wire.max_lifetime.map(|wire| within(format!("{path}.max_lifetime"), wire, LIFETIME)).transpose()?;
    let rules = Rules {
        issuer: Some(wire.issuer).filter(|issuer| !issuer.is_empty()),
        audiences: wire.audiences,
        subjects: wire.subjects.map(|wire| string_matcher(&format!("{path}.subjects"), wire)).transpose()?,
        algorithms,
        types: wire.types.iter().map(|typ| media_type(typ)).collect(),
        clock_skew: match wire.clock_skew_seconds {
            // As in Envoy, whose proto3 field cannot tell 0 from nothing.
            0 => DEFAULT_CLOCK_SKEW,
            seconds => Duration::from_secs(seconds.into()),
        },
        require_expiration: wire.require_expiration,
        max_lifetime,
        claims,
        scopes: wire.required_scopes,
    };
    let cache = cache_limits(path, wire.jwt_cache_config.as_ref())?;
    Ok(Provider { name, rules, cache, sources, forward: wire.forward, keys })
}

/// Which algorithms a provider takes. A secret that everybody can fetch is none.
fn algorithms(path: &str, wire: Option<&[String]>, keys: &KeySource) -> Result<Vec<Algorithm>> {
    let holds_secrets = match keys {
        KeySource::Local(keys) => keys.holds_secrets(),
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

fn string_matcher(path: &str, wire: StringMatcher) -> Result<matcher::StringMatcher> {
    let regex = wire.safe_regex.map(|wire| {
        Pattern::regex(&wire.regex).map_err(|reason| ConfigError::new(format!("{path}.safe_regex.regex"), reason))
    });
    let regex = regex.transpose()?;
    let patterns = [
        wire.exact.map(Pattern::Exact),
        wire.prefix.map(Pattern::Prefix),
        wire.suffix.map(Pattern::Suffix),
        wire.contains.map(Pattern::Contains),
        regex,
    ];
    let mut given = patterns.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(pattern), None) => Ok(matcher::StringMatcher::new(pattern, wire.ignore_case)),
        _ => Err(ConfigError::new(path, "must have exactly one of exact, prefix, suffix, contains and safe_regex")),
    }
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

fn local(path: &str, wire: &DataSource) -> Result<KeySource> {
    let document = document::parse_local(wire.inline_string.as_bytes())
        .map_err(|error| ConfigError::new(format!("{path}.inline_string"), error.to_string()))?;
    if let Some((place, error)) = document.skipped.first() {
        return Err(ConfigError::new(
            format!("{path}.inline_string"),
            format!("keys[{place}] cannot be used: {error}"),
        ));
    }
    Ok(KeySource::Local(Rc::new(document.keys)))
}

fn remote(path: &str, wire: RemoteJwks) -> Result<Remote> {
    let HttpUri { uri, cluster, timeout } = wire.http_uri;
    let at = |field: &str| format!("{path}.{field}");
    if cluster.is_empty() {
        return Err(ConfigError::new(at("http_uri.cluster"), "must name an Envoy cluster"));
    }
    let (scheme, authority, target) = split_uri(&uri).map_err(|reason| ConfigError::new(at("http_uri.uri"), reason))?;
    let terms =
        terms(path, within(at("http_uri.timeout"), timeout, FETCH_TIMEOUT)?, wire.cache_duration, &wire.rotation)?;
    if let Some(place) = wire.rotation.revoked_keys.iter().position(String::is_empty) {
        return Err(ConfigError::new(at(&format!("rotation.revoked_keys[{place}]")), "must not be empty"));
    }
    let revoked = Revoked::new(wire.rotation.revoked_keys);
    Ok(Remote { cluster, scheme, authority, path: target, terms, revoked })
}

fn terms(path: &str, fetch_timeout: Duration, cache_duration: Option<ProtoDuration>, wire: &Rotation) -> Result<Terms> {
    let duration = |field: &str, wire: Option<ProtoDuration>, default, bounds| {
        wire.map_or(Ok(default), |wire| within(format!("{path}.{field}"), wire, bounds))
    };
    let number = |field: &str, wire: Option<u32>, default: usize, most: usize| match wire {
        None => Ok(default),
        Some(number) => match usize::try_from(number) {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(ConfigError::new(format!("{path}.{field}"), format!("must be from 1 to {most}"))),
        },
    };
    let min_ttl = duration("rotation.min_ttl", wire.min_ttl, schedule::DEFAULT_MIN_TTL, TTL)?;
    let max_ttl = duration("rotation.max_ttl", wire.max_ttl, schedule::DEFAULT_MAX_TTL, TTL)?;
    if min_ttl > max_ttl {
        return Err(ConfigError::new(format!("{path}.rotation.min_ttl"), "must not be longer than max_ttl"));
    }
    let max_stale = match wire.max_stale {
        None => MaxStale::For(schedule::DEFAULT_MAX_STALE),
        Some(Staleness::Unbounded) => MaxStale::Unbounded,
        Some(Staleness::For(wire)) => MaxStale::For(within(format!("{path}.rotation.max_stale"), wire, UP_TO_A_YEAR)?),
    };
    let limits = Limits::default();
    Ok(Terms {
        cache_duration: duration("cache_duration", cache_duration, schedule::DEFAULT_CACHE_DURATION, TTL)?,
        honor_cache_headers: wire.honor_cache_headers.unwrap_or(true),
        min_ttl,
        max_ttl,
        refresh_ahead: wire
            .refresh_ahead
            .map(|wire| within(format!("{path}.rotation.refresh_ahead"), wire, UP_TO_A_YEAR))
            .transpose()?,
        max_stale,
        retired_key_grace: duration("rotation.retired_key_grace", wire.retired_key_grace, Duration::ZERO, GRACE)?,
        unknown_kid_min_interval: duration(
            "rotation.unknown_kid_min_interval",
            wire.unknown_kid_min_interval,
            schedule::DEFAULT_UNKNOWN_KID_MIN_INTERVAL,
            INTERVAL,
        )?,
        unknown_kid_max_wait: duration(
            "rotation.unknown_kid_max_wait",
            wire.unknown_kid_max_wait,
            schedule::DEFAULT_UNKNOWN_KID_MAX_WAIT,
            INTERVAL,
        )?,
        fetch_timeout,
        limits: Limits {
            max_document_bytes: number(
                "rotation.max_document_bytes",
                wire.max_document_bytes,
                limits.max_document_bytes,
                MAX_DOCUMENT_BYTES,
            )?,
            max_keys: number("rotation.max_keys", wire.max_keys, limits.max_keys, MAX_KEYS)?,
        },
    })
}

fn within(path: String, wire: ProtoDuration, (least, most): Bounds) -> Result<Duration> {
    if (least..=most).contains(&wire.0) {
        Ok(wire.0)
    } else {
        Err(ConfigError::new(path, format!("must be from {}s to {}s", least.as_secs_f64(), most.as_secs())))
    }
}

/// Scheme, authority and path-with-query of an absolute HTTP URI (RFC 9110 §4.2).
fn split_uri(uri: &str) -> std::result::Result<(&'static str, String, String), &'static str> {
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must hold printable ASCII without spaces only");
    }
    let (scheme, rest) = if let Some(rest) = uri.strip_prefix("https://") {
        ("https", rest)
    } else if let Some(rest) = uri.strip_prefix("http://") {
        ("http", rest)
    } else {
        return Err("must begin with http:// or https://");
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') {
        return Err("must name a host, without user information");
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((scheme, authority.to_owned(), format!("{slash}{target}")))
}

fn source(path: &str, wire: JwtHeader) -> Result<Source> {
    let header = wire.name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if header.is_empty() || !header.bytes().all(token) || RESERVED_HEADERS.contains(&header.as_str()) {
        return Err(ConfigError::new(format!("{path}.name"), format!("{:?} cannot carry a token", wire.name)));
    }
    Ok(Source { header, prefix: wire.value_prefix })
}

fn rule(path: &str, wire: RequirementRule, ids: &BTreeMap<String, ProviderId>) -> Result<Rule> {
    let RouteMatch { prefix, path: exact } = wire.matcher;
    let matcher = match (prefix, exact) {
        (Some(prefix), None) => PathMatch::Prefix(prefix),
        (None, Some(exact)) => PathMatch::Exact(exact),
        _ => return Err(ConfigError::new(format!("{path}.match"), "must have exactly one of prefix and path")),
    };
    let (PathMatch::Prefix(text) | PathMatch::Exact(text)) = &matcher;
    // It could never match. An empty prefix always does.
    if !(text.starts_with('/') || text == "*" || (text.is_empty() && matches!(matcher, PathMatch::Prefix(_)))) {
        let field = if matches!(matcher, PathMatch::Prefix(_)) { "prefix" } else { "path" };
        return Err(ConfigError::new(format!("{path}.match.{field}"), "must begin with a slash"));
    }
    let requires = match wire.requires {
        None => None,
        Some(wire) => Some(*ids.get(&wire.provider_name).ok_or_else(|| {
            ConfigError::new(
                format!("{path}.requires.provider_name"),
                format!("there is no provider {:?}", wire.provider_name),
            )
        })?),
    };
    Ok(Rule { path: matcher, requires })
}
