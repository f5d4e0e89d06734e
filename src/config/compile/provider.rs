//! `providers`: where tokens are found, how they are validated, and what is forwarded of them.

use std::{ops::RangeInclusive, rc::Rc, time::Duration};

use base64::{engine::general_purpose::STANDARD, Engine as _};

use super::{
    claims::{self, check_scopes, ComparedHeaders},
    issuers::{self, issuers},
    key_document::usable_keys,
    remote::remote,
    value::{check_items, header_name, in_range, string_matcher, unsupported, writable_header},
};
use crate::{
    config::{
        error::Result,
        oneof,
        path::Path,
        schema::{DataSource, JwtCacheConfig, JwtClaimToHeader, JwtHeader, JwtProvider, RemoteJwks},
    },
    keys::{document, Algorithm},
    policy::{
        forward::{ClaimHeader, Forward},
        provider::{KeySource, Provider},
        token_location::TokenLocation,
    },
    token::{
        cache,
        claim_rules::Demands,
        claims::{normalize_audience, ClaimName},
        validation::{normalize_media_type, TokenPolicy, DEFAULT_CLOCK_SKEW},
    },
};

/// Headers that the filter must not remove, and thus must not read tokens from.
const RESERVED_HEADERS: [&str; 2] = ["host", "transfer-encoding"];
const LIFETIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(315_576_000_000);
/// Envoy's default token size, and ten times its default number of tokens.
const DEFAULT_CACHE: cache::Limits = cache::Limits { entries: 1000, max_token_bytes: 4096 };
const MAX_CACHED_TOKENS: usize = 100_000;

const NOT_EMPTY: &str = "must not be empty";

enum Jwks<'a> {
    Remote(&'a RemoteJwks),
    Local(&'a DataSource),
}

/// A provider, where its tokens are found, and what each request demands of them. What is valid but a likely mistake is added to
/// `warnings`.
pub(super) fn provider(
    path: &Path<'_>,
    name: String,
    wire: &JwtProvider,
    compared: &mut ComparedHeaders,
    warnings: &mut Vec<String>,
) -> Result<(Provider, Vec<TokenLocation>, Demands)> {
    let forward = forward(path, wire)?;
    let sources = sources(path, wire, &forward)?;
    let remote_jwks = wire.remote_jwks.as_ref().map(Jwks::Remote);
    let local_jwks = wire.local_jwks.as_ref().map(Jwks::Local);
    let mut jwks = [("remote_jwks", remote_jwks), ("local_jwks", local_jwks)];
    let keys = match oneof::exactly_one(path, &mut jwks)? {
        (field, Jwks::Remote(jwks)) => {
            KeySource::Remote(Box::new(remote(&path.field(field), jwks, &wire.issuer, warnings)?))
        }
        (field, Jwks::Local(wire)) => local(&path.field(field), wire, warnings)?,
    };
    let is_not_blank = |item: &str| !item.trim().is_empty();
    check_items(&path.field("audiences"), &wire.audiences, is_not_blank, NOT_EMPTY)?;
    check_items(&path.field("types"), &wire.types, is_not_blank, NOT_EMPTY)?;
    check_items(&path.field("audience_claims"), &wire.audience_claims, is_not_blank, NOT_EMPTY)?;
    check_scopes(&path.field("required_scopes"), &wire.required_scopes)?;
    let algorithms = algorithms(&path.field("algorithms"), wire.algorithms.as_deref(), &keys)?;
    let claims::Rules { claims, headers } =
        claims::rules(&path.field("required_claims"), &wire.required_claims, compared)?;
    let is_aud_alone = wire.audience_claims.iter().all(|name| name == "aud");
    let rules = TokenPolicy {
        issuers: issuers(path, wire)?,
        bind_key_issuer: wire.bind_key_issuer,
        audiences: wire.audiences.iter().map(|audience| normalize_audience(audience).to_owned()).collect(),
        audience_claims: if is_aud_alone { Vec::new() } else { wire.audience_claims.clone() },
        subjects: wire.subjects.as_ref().map(|wire| string_matcher(&path.field("subjects"), wire)).transpose()?,
        algorithms,
        types: wire.types.iter().map(|typ| normalize_media_type(typ)).collect(),
        clock_skew: match wire.clock_skew_seconds {
            // As in Envoy: a proto3 field does not distinguish 0 from unset.
            0 => DEFAULT_CLOCK_SKEW,
            seconds => Duration::from_secs(seconds.into()),
        },
        require_expiration: wire.require_expiration,
        max_lifetime: wire
            .max_lifetime
            .map(|wire| in_range(&path.field("max_lifetime"), wire, LIFETIME))
            .transpose()?,
        claims,
        scopes: wire.required_scopes.clone(),
        forwarded_claims: forward.claims().map(str::to_owned).collect(),
        forwarded_value: forward.value_header.is_some().then(|| forward.space_delimited.clone()),
    };
    issuers::likely_mistakes(path, wire, warnings);
    let cache = cache_limits(&path.field("jwt_cache_config"), wire.jwt_cache_config.as_ref())?;
    let provider = Provider { name, policies: vec![rules], cache, forward, keys };
    Ok((provider, sources, Demands { headers, ..Demands::default() }))
}

fn sources(path: &Path<'_>, wire: &JwtProvider, forward: &Forward) -> Result<Vec<TokenLocation>> {
    let mut sources = Vec::new();
    let from_headers = path.field("from_headers");
    for (index, JwtHeader { name, value_prefix }) in wire.from_headers.iter().enumerate() {
        let header = from_headers.index(index);
        let path = header.field("name");
        let name = header_name(name).ok_or_else(|| path.error(format!("{name:?} is not a header name")))?;
        if RESERVED_HEADERS.contains(&name.as_str()) {
            return Err(path.error(format!(
                "{name:?} cannot carry a token: the filter removes the header of a token, and Envoy needs this header"
            )));
        }
        if forward.headers().any(|written| written == name) {
            return Err(path.error(format!(
                "{name:?} is also set by forward_payload_header, payload_value_header or claim_to_headers"
            )));
        }
        add(&mut sources, TokenLocation::Header { name, prefix: value_prefix.clone() });
    }
    for (field, names, source) in [
        ("from_params", &wire.from_params, TokenLocation::Param as fn(String) -> TokenLocation),
        ("from_cookies", &wire.from_cookies, TokenLocation::Cookie),
    ] {
        check_items(&path.field(field), names, |name| !name.is_empty(), NOT_EMPTY)?;
        names.iter().for_each(|name| add(&mut sources, source(name.clone())));
    }
    if sources.is_empty() {
        sources = TokenLocation::defaults();
    }
    Ok(sources)
}

/// Inserts a source, keeping the list sorted and free of duplicates.
fn add(sources: &mut Vec<TokenLocation>, source: TokenLocation) {
    if let Err(at) = sources.binary_search(&source) {
        sources.insert(at, source);
    }
}

fn forward(path: &Path<'_>, wire: &JwtProvider) -> Result<Forward> {
    let mut claims = Vec::new();
    let claim_to_headers = path.field("claim_to_headers");
    for (index, wire) in wire.claim_to_headers.iter().enumerate() {
        let path = claim_to_headers.index(index);
        claims.push(ClaimHeader {
            header: writable_header(&path.field("header_name"), &wire.header_name)?,
            claim: claim(&path, wire)?,
        });
    }
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let payload_header = given(&wire.forward_payload_header)
        .map(|name| writable_header(&path.field("forward_payload_header"), &name))
        .transpose()?;
    let value_header = given(&wire.payload_value_header)
        .map(|name| writable_header(&path.field("payload_value_header"), &name))
        .transpose()?;
    let normalize = wire.normalize_payload_in_metadata.as_ref();
    Ok(Forward {
        token: wire.forward,
        payload_header,
        pad_payload: wire.pad_forward_payload_header,
        claims,
        value_header,
        payload_state: given(&wire.payload_in_metadata),
        header_state: given(&wire.header_in_metadata),
        failure_state: given(&wire.failed_status_in_metadata),
        space_delimited: normalize.map(|wire| wire.space_delimited_claims.clone()).unwrap_or_default(),
        clear_route_cache: wire.clear_route_cache,
    })
}

/// The claim that a header carries. As in Envoy, an empty name or path counts as unset.
fn claim(path: &Path<'_>, wire: &JwtClaimToHeader) -> Result<ClaimName> {
    let name = Some(&wire.claim_name).filter(|name| !name.is_empty());
    let segments = Some(&wire.claim_path).filter(|segments| !segments.is_empty());
    let name = name.map(|name| ClaimName::Dotted(name.clone()));
    let at = segments.map(|segments| ClaimName::Path(segments.iter().map(|segment| segment.key.clone()).collect()));
    let (_, claim) = oneof::exactly_one(path, &mut [("claim_name", name), ("claim_path", at)])?;
    let claim_path = path.field("claim_path");
    match wire.claim_path.iter().position(|segment| segment.key.is_empty()) {
        Some(index) => Err(claim_path.index(index).field("key").error(NOT_EMPTY)),
        None => Ok(claim),
    }
}

/// The accepted algorithms. HMAC needs a local key: a secret that anybody can fetch protects nothing.
fn algorithms(path: &Path<'_>, wire: Option<&[String]>, keys: &KeySource) -> Result<Vec<Algorithm>> {
    let contains_secrets = match keys {
        KeySource::Local(keys) => keys.contains_secrets(),
        KeySource::Remote(_) => false,
    };
    let mut algorithms = Vec::new();
    for (index, name) in wire.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let Some(algorithm) = Algorithm::from_name(name) else {
            return Err(path.error(format!("{name:?} is not a supported algorithm")));
        };
        if algorithm.is_symmetric() && !contains_secrets {
            return Err(path.error(format!("{name} requires a secret key in local_jwks")));
        }
        algorithms.push(algorithm);
    }
    let lists_secrets = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
    match wire {
        Some([]) => Err(path.error(NOT_EMPTY)),
        _ if contains_secrets && !lists_secrets => {
            Err(path.error("must list the HS algorithms of the secret keys in local_jwks"))
        }
        None => Ok(Algorithm::ASYMMETRIC.to_vec()),
        Some(_) => Ok(algorithms),
    }
}

/// The limits of the token cache. Envoy's defaults apply within `jwt_cache_config` only; without it, Envoy has no cache.
fn cache_limits(path: &Path<'_>, wire: Option<&JwtCacheConfig>) -> Result<cache::Limits> {
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
    if entries > MAX_CACHED_TOKENS {
        return Err(path.field("jwt_cache_size").error(format!("must be at most {MAX_CACHED_TOKENS}")));
    }
    Ok(cache::Limits { entries, max_token_bytes: or(wire.jwt_max_token_size, DEFAULT_CACHE.max_token_bytes) })
}

fn local(path: &Path<'_>, wire: &DataSource, warnings: &mut Vec<String>) -> Result<KeySource> {
    unsupported(
        path,
        [
            ("filename", &wire.filename),
            ("environment_variable", &wire.environment_variable),
            ("watched_directory", &wire.watched_directory),
        ],
        "Wasm filters cannot read files or the environment; use inline_string",
    )?;
    let inline_string = wire.inline_string.as_ref().map(|text| Ok(text.clone().into_bytes()));
    let inline_bytes = wire.inline_bytes.as_ref().map(|text| STANDARD.decode(text));
    let mut sources = [("inline_string", inline_string), ("inline_bytes", inline_bytes)];
    let (field, bytes) = oneof::exactly_one(path, &mut sources)?;
    let path = path.field(field);
    let bytes = bytes.map_err(|_| path.error("must be base64"))?;
    let document = document::parse_local(&bytes).map_err(|error| path.error(error.to_string()))?;
    Ok(KeySource::Local(Rc::new(usable_keys(&path, document, warnings)?)))
}
