//! Checks the wire form and builds the plan. A configuration that cannot work is rejected here, before any request.

mod claims;
mod issuers;
mod key_document;
mod provider;
mod remote;
mod rules;
mod sources;
mod value;

use std::collections::BTreeSet;

use super::{
    environment::SECRET_VARIABLE,
    error::Result,
    path::Path,
    schema::{self, ErrorFormat, JwtAuthentication},
};
use crate::{
    ids::ProviderId,
    policy::{
        plan::{Mode, Plan, ReadyPath},
        provider::{KeySource, Provider},
        reply::{ResponseFormat, OWN_STATE},
        requirement::{IndexedProvider, Requirements},
        route_table::RouteTable,
        token_location::TokenLocation,
    },
    shared::seal::Seal,
    sorted,
};

const DEFAULT_PARKED_REQUESTS: usize = 1024;
const MAX_PARKED_REQUESTS: usize = 100_000;
/// Envoy's default `max_request_headers_kb`, and its largest.
const DEFAULT_TOKEN_BYTES: usize = 60 << 10;
/// Shorter secrets can be guessed.
const MIN_SECRET_BYTES: usize = 16;
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 1024..=8192 << 10;

/// `variable` is the secret of the environment.
pub(super) fn plan(config: JwtAuthentication, variable: Option<&[u8]>) -> Result<Plan> {
    let root = Path::Root;
    let reason =
        "Wasm filters cannot read the filter state that selects the requirement; use rules with requires instead";
    value::unsupported(&root, [("filter_state_rules", &config.filter_state_rules)], reason)?;
    let (mut ids, mut providers, mut known) = (Vec::new(), Vec::new(), Vec::new());
    let mut token_locations: Vec<Vec<TokenLocation>> = Vec::new();
    let (mut warnings, mut compared, mut demands) = (Vec::new(), Vec::new(), Vec::new());
    let path = root.field("providers");
    for (name, wire) in &config.providers.0 {
        ids.push((name.clone(), providers.len()));
        let (provider, sources, of_provider) =
            provider::provider(&path.field(name), name.clone(), wire, &mut compared, &mut warnings)?;
        demands.push((ProviderId::new(providers.len()), of_provider));
        let index = token_locations.iter().position(|other| *other == sources).unwrap_or(token_locations.len());
        if index == token_locations.len() {
            token_locations.push(sources);
        }
        known.push(IndexedProvider { issuers: provider.issuers(), locations: index });
        providers.push(provider);
    }
    let max_token_bytes = max_token_bytes(&root.field("max_token_bytes"), config.max_token_bytes)?;
    let token_headers = token_locations.iter().flatten().filter_map(TokenLocation::header).map(str::to_owned).collect();
    let mut requirements = Requirements::new(known, token_locations, max_token_bytes);
    demands.into_iter().for_each(|(provider, demands)| requirements.demands.add_of_provider(provider, demands));
    let ids = sorted::group(ids);
    let mut compiler = rules::Compiler {
        ids: &ids,
        providers: &mut providers,
        requirements: &mut requirements,
        compared: &mut compared,
    };
    let rules = RouteTable::new(compiler.rules(&config.rules, &config.requirement_map)?);
    for ((name, wire), provider) in config.providers.0.iter().zip(&providers) {
        let has_audiences = provider.policies.iter().any(|policy| !policy.audiences.is_empty());
        if !wire.audience_claims.is_empty() && !has_audiences {
            let reason = "requires audiences, of the provider or of a provider_and_audiences";
            return Err(path.field(name).field("audience_claims").error(reason));
        }
    }
    let max_parked_requests = max_parked_requests(&root.field("max_parked_requests"), config.max_parked_requests)?;
    let seal = match (&*config.shared_data_secret, variable) {
        ("", None) => None,
        ("", Some(secret)) => seal(&root.field(SECRET_VARIABLE), secret)?,
        (secret, _) => seal(&root.field("shared_data_secret"), secret.as_bytes())?,
    };
    check_stat_prefix(&root.field("stat_prefix"), &config.stat_prefix)?;
    check_resource_metadata(&root.field("resource_metadata"), config.resource_metadata.as_deref())?;
    let mut own_headers = BTreeSet::new();
    own_headers.extend(providers.iter().flat_map(|provider| provider.forward.headers()).map(str::to_owned));
    own_headers.extend(requirements.status_headers().into_iter().map(str::to_owned));
    let value_headers = value_headers(&path, &providers, &requirements)?;
    claims::check_headers(&compared, &own_headers, &token_headers)?;
    check_states(&path, &providers)?;
    let ready = ready_path(&root.field("ready_path"), config.ready_path, &requirements, &providers)?;
    warnings.extend(likely_mistakes(&rules, &requirements, &providers, seal.as_ref()));
    Ok(Plan {
        warnings,
        ready,
        own_headers,
        value_headers,
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
        seal,
        use_host_crypto: config.use_host_crypto.unwrap_or(true),
    })
}

fn ready_path(
    path: &Path<'_>,
    wire: Option<String>,
    requirements: &Requirements,
    providers: &[Provider],
) -> Result<Option<ReadyPath>> {
    let Some(wire) = wire else { return Ok(None) };
    if !wire.starts_with('/') || !wire.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
        return Err(path.error("must begin with / and contain only printable ASCII, without ? and #"));
    }
    let is_fetched = |id: &ProviderId| providers.get(id.index()).is_some_and(|provider| provider.remote().is_some());
    let providers = requirements.named_providers().into_iter().filter(is_fetched).collect();
    Ok(Some(ReadyPath { path: wire, providers }))
}

fn max_parked_requests(path: &Path<'_>, wire: Option<u32>) -> Result<usize> {
    match wire.map(usize::try_from) {
        None => Ok(DEFAULT_PARKED_REQUESTS),
        Some(Ok(number)) if number <= MAX_PARKED_REQUESTS => Ok(number),
        Some(_) => Err(path.error(format!("must be at most {MAX_PARKED_REQUESTS}"))),
    }
}

fn max_token_bytes(path: &Path<'_>, wire: Option<u32>) -> Result<usize> {
    match wire.map(usize::try_from) {
        None => Ok(DEFAULT_TOKEN_BYTES),
        Some(Ok(number)) if TOKEN_BYTES.contains(&number) => Ok(number),
        Some(_) => Err(path.error(format!("must be from {} to {}", TOKEN_BYTES.start(), TOKEN_BYTES.end()))),
    }
}

/// The secret is never part of an error.
fn seal(path: &Path<'_>, secret: &[u8]) -> Result<Option<Seal>> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(path.error(format!("must have at least {MIN_SECRET_BYTES} bytes")));
    }
    Ok(Seal::new(secret))
}

fn check_stat_prefix(path: &Path<'_>, stat_prefix: &str) -> Result<()> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if stat_prefix.bytes().all(is_name) {
        Ok(())
    } else {
        Err(path.error("must contain only letters, digits, dots, underscores and dashes"))
    }
}

/// The URI is quoted in the challenge (RFC 9728 §5.1).
fn check_resource_metadata(path: &Path<'_>, uri: Option<&str>) -> Result<()> {
    let is_quotable = |uri: &str| uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if uri.is_none_or(|uri| uri.starts_with("https://") && is_quotable(uri)) {
        Ok(())
    } else {
        Err(path.error("must be an https URI without spaces, quotes and backslashes"))
    }
}

/// The headers that become dynamic metadata. Policies believe what is in there, so no other field may write these headers.
fn value_headers(path: &Path<'_>, providers: &[Provider], requirements: &Requirements) -> Result<BTreeSet<String>> {
    let mut headers = BTreeSet::new();
    for provider in providers {
        let Some(name) = &provider.forward.value_header else { continue };
        let mut others = providers.iter().flat_map(|provider| provider.forward.text_headers());
        if others.any(|other| other == name) || requirements.status_headers().contains(&name.as_str()) {
            let path = path.field(&provider.name);
            return Err(path.field("payload_value_header").error(format!("{name:?} is also set by another field")));
        }
        headers.insert(name.clone());
    }
    Ok(headers)
}

/// Rejects filter state names that overlap: the claims of a token must not pass for the decision of the filter.
fn check_states(path: &Path<'_>, providers: &[Provider]) -> Result<()> {
    let mut known = vec![("", OWN_STATE)];
    for provider in providers {
        for (field, name) in provider.forward.states() {
            let is_within =
                |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
            let clash = known.iter().find(|(other_field, other)| {
                is_within(name, other) || is_within(other, name) || (name == *other && *other_field != field)
            });
            if let Some((_, other)) = clash {
                let path = path.field(&provider.name);
                return Err(path.field(field).error(format!("{name:?} overlaps with the filter state name {other:?}")));
            }
            known.push((field, name));
        }
    }
    Ok(())
}

/// Valid settings that are likely mistakes.
fn likely_mistakes(
    rules: &RouteTable,
    requirements: &Requirements,
    providers: &[Provider],
    seal: Option<&Seal>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for provider in providers.iter().filter(|provider| provider.issuers().is_any()) {
        warnings.push(format!("providers.{}.issuer: not set; tokens of any issuer are accepted", provider.name));
    }
    for provider in providers.iter().filter(|provider| has_short_wait(provider)) {
        warnings.push(format!(
            "providers.{}.remote_jwks.rotation.unknown_kid_max_wait: shorter than unknown_kid_min_interval; after a token \
             with an invented kid, tokens of a new key are denied for the rest of the interval",
            provider.name
        ));
    }
    if !rules.iter().any(|rule| rule.requires.is_some_and(|id| requirements.can_deny(id))) {
        warnings.push("rules: no rule can deny a request; every request is allowed".to_owned());
    }
    if seal.is_none() && providers.iter().any(|provider| provider.remote().is_some()) {
        warnings.push("shared_data_secret: not set; any Wasm plugin with the same vm_id can inject keys".to_owned());
    }
    warnings
}

fn has_short_wait(provider: &Provider) -> bool {
    match &provider.keys {
        KeySource::Remote(remote) => remote.rotation.unknown_kid_max_wait < remote.rotation.unknown_kid_min_interval,
        KeySource::Local(_) => false,
    }
}
