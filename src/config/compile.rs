//! The wire form into the checked one: what cannot work is refused here, once, and never met again.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    error::ConfigError,
    schema::{
        DataSource, HttpUri, JwtAuthentication, JwtHeader, JwtProvider, ProtoDuration, RemoteJwks, RequirementRule,
        Rotation, RouteMatch, Staleness,
    },
};
use crate::{
    keys::{
        document::{self, Limits},
        revoked::Revoked,
        schedule::{self, MaxStale, Terms},
    },
    policy::{
        extract::Source,
        provider::{KeySource, Plan, Provider, Remote},
        rules::{PathMatch, Rule},
    },
    token::{
        claims::{Rules, DEFAULT_CLOCK_SKEW},
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
    let rules = rules.collect::<Result<_>>()?;
    let max_parked_requests = match config.max_parked_requests.map(usize::try_from) {
        None => MAX_PARKED_REQUESTS,
        Some(Ok(number)) if number <= MOST_PARKED_REQUESTS => number,
        Some(_) => {
            return Err(ConfigError::new("max_parked_requests", format!("must be at most {MOST_PARKED_REQUESTS}")))
        }
    };
    Ok(Plan { rules, providers, max_parked_requests })
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
    let issuer = Some(wire.issuer).filter(|issuer| !issuer.is_empty());
    let claims = Rules { issuer, audiences: wire.audiences, clock_skew: DEFAULT_CLOCK_SKEW };
    Ok(Provider { name, claims, sources, forward: wire.forward, keys })
}

fn local(path: &str, wire: &DataSource) -> Result<KeySource> {
    let limits = Limits { max_document_bytes: usize::MAX, ..Limits::default() };
    let document = document::parse(wire.inline_string.as_bytes(), limits)
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
