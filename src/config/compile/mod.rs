//! The wire form into the checked one: what cannot work is refused here, once, and never met again.

mod provider;
mod remote;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    error::ConfigError,
    schema::{self, ErrorFormat, JwtAuthentication, StringMatcher},
};
use crate::{
    ids::ProviderId,
    policy::{
        plan::{Mode, Plan},
        provider::{KeySource, Provider},
        reply::{ResponseFormat, OWN_STATE},
        requirement::{IndexedProvider, Requirements},
        route_table::RouteTable,
        token_location::TokenLocation,
    },
    string_matcher::{self, Pattern},
};

const MAX_PARKED_REQUESTS: usize = 1024;
const MOST_PARKED_REQUESTS: usize = 100_000;

type Bounds = (Duration, Duration);
type Result<T> = std::result::Result<T, ConfigError>;

pub(super) fn plan(config: JwtAuthentication) -> Result<Plan> {
    if config.filter_state_rules.is_some() {
        let reason = "a requirement that another filter names cannot be read in a VM; name it in rules";
        return Err(ConfigError::new("filter_state_rules", reason));
    }
    let (mut ids, mut providers, mut known) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut places: Vec<Vec<TokenLocation>> = Vec::new();
    for (name, wire) in config.providers.0 {
        let path = format!("providers.{name}");
        ids.insert(name.clone(), ProviderId::new(providers.len()));
        let (provider, sources) = provider::provider(&path, name, wire)?;
        let number = places.iter().position(|other| *other == sources).unwrap_or(places.len());
        if number == places.len() {
            places.push(sources);
        }
        known.push(IndexedProvider { issuer: provider.issuer().map(str::to_owned), locations: number });
        providers.push(provider);
    }
    let mut requirements = Requirements::new(known, places);
    let mut compiler = rules::Compiler { ids: &ids, providers: &mut providers, requirements: &mut requirements };
    let rules = RouteTable::new(compiler.rules(config.rules, config.requirement_map)?);
    let max_parked_requests = match config.max_parked_requests.map(usize::try_from) {
        None => MAX_PARKED_REQUESTS,
        Some(Ok(number)) if number <= MOST_PARKED_REQUESTS => number,
        Some(_) => {
            return Err(ConfigError::new("max_parked_requests", format!("must be at most {MOST_PARKED_REQUESTS}")))
        }
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !config.stat_prefix.bytes().all(is_name) {
        return Err(ConfigError::new("stat_prefix", "must be letters, digits, dots, underscores and dashes"));
    }
    let is_quotable = |uri: &String| uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if !config.resource_metadata.as_ref().is_none_or(|uri| uri.starts_with("https://") && is_quotable(uri)) {
        return Err(ConfigError::new("resource_metadata", "must be an https URI"));
    }
    let mut own_headers = BTreeSet::new();
    own_headers.extend(providers.iter().flat_map(|provider| provider.forward.headers()).map(str::to_owned));
    own_headers.extend(requirements.status_headers().into_iter().map(str::to_owned));
    check_states(&providers)?;
    Ok(Plan {
        warnings: warnings(&rules, &requirements, &providers),
        own_headers,
        providers: providers.into(),
        routes: rules,
        requirements,
        bypass_cors_preflight: config.bypass_cors_preflight,
        mode: match config.mode {
            schema::Mode::Enforce => Mode::Enforce,
            schema::Mode::Report => Mode::Report,
        },
        response_format: ResponseFormat {
            strip: config.strip_failure_response,
            json: config.error_format == ErrorFormat::Json,
            resource_metadata: config.resource_metadata,
        },
        explain_allowed: config.decision_in_filter_state,
        stat_prefix: config.stat_prefix,
        max_parked_requests,
        use_host_crypto: config.use_host_crypto.unwrap_or(true),
    })
}

/// No name in the filter state may be taken for another: claims would be taken for what we say.
fn check_states(providers: &[Provider]) -> Result<()> {
    let mut known = vec![("", OWN_STATE)];
    for provider in providers {
        for (field, name) in provider.forward.states() {
            let is_within =
                |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
            let clash = known.iter().find(|(other_field, other)| {
                is_within(name, other) || is_within(other, name) || (name == *other && *other_field != field)
            });
            if let Some((_, other)) = clash {
                let path = format!("providers.{}.{field}", provider.name);
                return Err(ConfigError::new(path, format!("{name:?} cannot be told from {other:?}")));
            }
            known.push((field, name));
        }
    }
    Ok(())
}

/// What `jwt_authn` takes without a word, and what is open because of it.
fn warnings(rules: &RouteTable, requirements: &Requirements, providers: &[Provider]) -> Vec<String> {
    let anybody = providers.iter().filter(|provider| provider.issuer().is_none());
    let mut warnings: Vec<_> = anybody
        .map(|provider| format!("providers.{}.issuer: not set, so that any iss is taken", provider.name))
        .collect();
    warnings.extend(providers.iter().filter(|provider| has_short_wait(provider)).map(|provider| {
        format!(
            "providers.{}.remote_jwks.rotation.unknown_kid_max_wait: shorter than unknown_kid_min_interval, so that one token \
             with an invented kid has those of a new key refused for the rest of the interval",
            provider.name
        )
    }));
    if !rules.iter().any(|rule| rule.requires.is_some_and(|id| requirements.can_deny(id))) {
        warnings.push("rules: none requires a token, so that every request passes".to_owned());
    }
    warnings
}

fn has_short_wait(provider: &Provider) -> bool {
    match &provider.keys {
        KeySource::Remote(remote) => remote.rotation.unknown_kid_max_wait < remote.rotation.unknown_kid_min_interval,
        KeySource::Local(_) => false,
    }
}

/// A header's name in lower case (RFC 9110 §5.1).
fn header_name(name: &str) -> Option<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(token)).then(|| name.to_ascii_lowercase())
}

fn string_matcher(path: &str, wire: StringMatcher) -> Result<string_matcher::StringMatcher> {
    if wire.custom.is_some() {
        return Err(ConfigError::new(format!("{path}.custom"), "no extension of Envoy's can be had in a VM"));
    }
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
        (Some(pattern), None) => Ok(string_matcher::StringMatcher::new(pattern, wire.ignore_case)),
        _ => Err(ConfigError::new(path, "must have exactly one of exact, prefix, suffix, contains and safe_regex")),
    }
}

fn within(path: String, wire: Duration, (least, most): Bounds) -> Result<Duration> {
    if (least..=most).contains(&wire) {
        Ok(wire)
    } else {
        Err(ConfigError::new(path, format!("must be from {}s to {}s", least.as_secs_f64(), most.as_secs())))
    }
}
