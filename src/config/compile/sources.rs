//! `remote_jwks`: where a JWKS is fetched from, and with which headers.

use std::{ops::RangeInclusive, time::Duration};

use super::value::{header_name, in_range};
use crate::{
    config::{
        error::Result,
        path::Path,
        schema::{self, HeaderValue, HttpUri, RemoteJwks},
    },
    policy::{
        discovery::Discovery,
        endpoint::{split_uri, Endpoint, RequestHeaders},
        provider::Source,
    },
};

/// Envoy treats a timeout below one millisecond as none. More than an hour is likely a mistake.
const FETCH_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const METADATA_TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const DEFAULT_METADATA_TTL: Duration = Duration::from_secs(3600);
const MAX_MIRRORS: usize = 4;
const MAX_HEADERS: usize = 16;
const MAX_NAME_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 8192;
/// Headers that frame a message, select the host, or change which response comes.
const FIXED_HEADERS: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Where a JWKS is fetched from.
pub(super) struct Sources {
    pub(super) source: Source,
    pub(super) mirrors: Vec<Endpoint>,
    pub(super) headers: RequestHeaders,
    /// The timeouts of all requests of a fetch.
    pub(super) timeout: Duration,
}

pub(super) fn sources(path: &Path<'_>, wire: &RemoteJwks, issuer: &str, warnings: &mut Vec<String>) -> Result<Sources> {
    let field = path.field("discovery");
    let discovery = wire.discovery.as_ref().map(|wire| discovery(&field, wire, issuer)).transpose()?;
    let (source, timeout) = match (&wire.http_uri, discovery) {
        (None, Some(discovery)) => {
            // For the metadata and the JWKS.
            let timeout = discovery.metadata.timeout.saturating_mul(2);
            (Source::Discovery(Box::new(discovery)), timeout)
        }
        (http_uri, unused) => {
            if unused.is_some() {
                warnings.push(field.error("not used, since http_uri is set").to_string());
            }
            let unset = HttpUri::default();
            let endpoint = endpoint(&path.field("http_uri"), http_uri.as_ref().unwrap_or(&unset))?;
            let timeout = endpoint.timeout;
            (Source::Uri(endpoint), timeout)
        }
    };
    let field = path.field("mirrors");
    if wire.mirrors.len() > MAX_MIRRORS {
        return Err(field.error(format!("must be at most {MAX_MIRRORS}")));
    }
    let mut mirrors = Vec::new();
    for (index, wire) in wire.mirrors.iter().enumerate() {
        mirrors.push(endpoint(&field.index(index), wire)?);
    }
    let timeout = mirrors.iter().fold(timeout, |sum, mirror| sum.saturating_add(mirror.timeout));
    if timeout > *FETCH_TIMEOUT.end() {
        return Err(path.error("the timeouts of all requests of a fetch must add up to 3600s at most"));
    }
    let headers = request_headers(&path.field("request_headers"), &wire.request_headers)?;
    Ok(Sources { source, mirrors, headers, timeout })
}

fn endpoint(path: &Path<'_>, HttpUri { uri, cluster, timeout }: &HttpUri) -> Result<Endpoint> {
    if cluster.is_empty() {
        return Err(path.field("cluster").error("must name an Envoy cluster"));
    }
    let timeout = timeout.ok_or_else(|| path.field("timeout").error("must be set"))?;
    let (scheme, authority, target) = split_uri(uri).map_err(|reason| path.field("uri").error(reason))?;
    let timeout = in_range(&path.field("timeout"), timeout, FETCH_TIMEOUT)?;
    Ok(Endpoint { cluster: cluster.clone(), scheme, authority, path: target, timeout })
}

fn discovery(path: &Path<'_>, wire: &schema::Discovery, issuer: &str) -> Result<Discovery> {
    if issuer.is_empty() {
        return Err(path.error("requires the issuer of the provider, which the metadata must state"));
    }
    let schema::Discovery { uri, cluster, timeout, ttl, jwks_cluster, jwks_host } = wire;
    let metadata = endpoint(path, &HttpUri { uri: uri.clone(), cluster: cluster.clone(), timeout: *timeout })?;
    let ttl = in_range(&path.field("ttl"), ttl.unwrap_or(DEFAULT_METADATA_TTL), METADATA_TTL)?;
    let or = |given: &str, default: &str| if given.is_empty() { default } else { given }.to_owned();
    let jwks_host = or(jwks_host, &metadata.authority);
    // What is no host alone would never be the host of a URI.
    if !matches!(split_uri(&format!("https://{jwks_host}")), Ok((_, host, _)) if host == jwks_host) {
        return Err(path.field("jwks_host").error("must be a host, with a port if need be"));
    }
    let jwks_cluster = or(jwks_cluster, cluster);
    Ok(Discovery { metadata, issuer: issuer.to_owned(), jwks_cluster, jwks_host, ttl })
}

/// No error repeats a name or a value: either may be a secret, the name by mistake.
fn request_headers(path: &Path<'_>, wire: &[HeaderValue]) -> Result<RequestHeaders> {
    if wire.len() > MAX_HEADERS {
        return Err(path.error(format!("must be at most {MAX_HEADERS}")));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (index, HeaderValue { key, value }) in wire.iter().enumerate() {
        let (path, value) = (path.index(index), &value.0);
        let key_path = path.field("key");
        let name = header_name(key).filter(|name| name.len() <= MAX_NAME_BYTES);
        let name = name.ok_or_else(|| key_path.error("must be the name of a header"))?;
        if let Some(fixed) = FIXED_HEADERS.iter().find(|fixed| **fixed == name) {
            return Err(key_path.error(format!("{fixed} cannot be set")));
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(key_path.error("must not repeat"));
        }
        let is_sent_as_is = |value: &str| value.trim() == value && !value.bytes().any(|byte| byte.is_ascii_control());
        if value.is_empty() || value.len() > MAX_VALUE_BYTES || !is_sent_as_is(value) {
            let reason = "must have 1 to 8192 bytes, no control characters, and no spaces around";
            return Err(path.field("value").error(reason));
        }
        headers.push((name, value.clone()));
    }
    Ok(RequestHeaders::new(headers))
}
