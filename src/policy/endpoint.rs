//! Where the requests of a fetch go, and what they carry.

use std::{fmt, time::Duration};

use crate::{rotation::http_cache::Validators, shared::names};

/// Some issuers answer 403 to a request without a user agent.
const USER_AGENT: &str = concat!("jwks-gate/", env!("CARGO_PKG_VERSION"));
const DEFAULTS: [(&str, &str); 2] =
    [("user-agent", USER_AGENT), ("accept", "application/jwk-set+json, application/json, */*;q=0.5")];

/// An absolute HTTP URI, and the Envoy cluster that reaches the URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub cluster: String,
    /// `http` or `https`, for the `:scheme` header. What protects the connection, the cluster configures.
    pub scheme: &'static str,
    /// The `:authority` header.
    pub authority: String,
    /// The `:path` header.
    pub path: String,
    /// The time limit of one request.
    pub timeout: Duration,
}

/// Additional headers of a request. The values may be secrets, which no log shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RequestHeaders(Vec<(String, String)>);

/// A request of a fetch.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    pub endpoint: Endpoint,
    /// What the configuration adds.
    pub headers: RequestHeaders,
    /// The cached JWKS that the request asks about, if any.
    pub validators: Validators,
    /// A larger body is not read.
    pub max_body: usize,
}

impl Endpoint {
    /// Tells endpoints apart, whatever their timeouts are.
    pub fn digest(&self) -> u64 {
        names::digest(&self.identity())
    }

    pub fn uri(&self) -> String {
        let Self { scheme, authority, path, .. } = self;
        format!("{scheme}://{authority}{path}")
    }

    pub(super) fn identity(&self) -> [u8; 16] {
        let Self { cluster, scheme, authority, path, .. } = self;
        names::digest_of(&[cluster.as_bytes(), scheme.as_bytes(), authority.as_bytes(), path.as_bytes()])
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by cluster {:?}", self.uri(), self.cluster)
    }
}

impl RequestHeaders {
    /// Headers by their names in lower case, of which none repeats.
    pub fn new(headers: Vec<(String, String)>) -> Self {
        Self(headers)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(super) fn identity(&self) -> [u8; 16] {
        let parts: Vec<_> = self.0.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
        names::digest_of(&parts)
    }
}

impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl FetchRequest {
    /// All headers of the request.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let Self { endpoint, headers: RequestHeaders(added), validators, .. } = self;
        let mut headers = vec![
            (":method", "GET"),
            (":scheme", endpoint.scheme),
            (":authority", endpoint.authority.as_str()),
            (":path", endpoint.path.as_str()),
        ];
        headers.extend(DEFAULTS.into_iter().filter(|(name, _)| !self.headers.has(name)));
        headers.push(("accept-encoding", "identity"));
        headers.extend(validators.etag.as_deref().map(|etag| ("if-none-match", etag)));
        headers.extend(validators.last_modified.as_deref().map(|date| ("if-modified-since", date)));
        headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        headers
    }
}

/// Scheme, authority and path-with-query of an absolute HTTP URI (RFC 9110 §4.2). A fragment is dropped.
pub fn split_uri(uri: &str) -> Result<(&'static str, String, String), &'static str> {
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must contain only printable ASCII without spaces");
    }
    const SCHEMES: &str = "must begin with http:// or https://";
    let (scheme, rest) = uri.split_once("://").ok_or(SCHEMES)?;
    let scheme = ["https", "http"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme)).ok_or(SCHEMES)?;
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') {
        return Err("must name a host, without user information");
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((scheme, authority.to_owned(), format!("{slash}{target}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], etag: Option<&str>) -> FetchRequest {
        let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FetchRequest {
            endpoint: Endpoint {
                cluster: "c".to_owned(),
                scheme: "https",
                authority: "h".to_owned(),
                path: "/jwks".to_owned(),
                timeout: Duration::from_secs(1),
            },
            headers: RequestHeaders::new(owned),
            validators: Validators { etag: etag.map(str::to_owned), last_modified: None },
            max_body: 10,
        }
    }

    #[test]
    fn added_headers_replace_defaults_and_come_once() {
        let plain = request(&[], Some("\"1\""));
        let names: Vec<_> = plain.headers().into_iter().map(|(name, _)| name).collect();
        let pseudo = [":method", ":scheme", ":authority", ":path"];
        assert_eq!(names, [&pseudo[..], &["user-agent", "accept", "accept-encoding", "if-none-match"]].concat());
        let other = request(&[("user-agent", "me"), ("x-key", "k")], None);
        let agents: Vec<_> = other.headers().into_iter().filter(|(name, _)| *name == "user-agent").collect();
        assert_eq!((agents, other.headers().last()), (vec![("user-agent", "me")], Some(&("x-key", "k"))));
    }

    #[test]
    fn nothing_prints_the_value_of_a_header() {
        let request = request(&[("authorization", "Bearer T0pSecret")], None);
        let text = format!("{request:?} {:#?} {:?} {}", request, request.headers, request.endpoint);
        assert!(!text.contains("T0pSecret") && text.contains("authorization"), "{text}");
    }

    #[test]
    fn endpoints_differ_by_everything_but_the_timeout() {
        let endpoint = request(&[], None).endpoint;
        let other = |change: fn(&mut Endpoint)| {
            let mut other = endpoint.clone();
            change(&mut other);
            other.digest()
        };
        assert_eq!(other(|endpoint| endpoint.timeout = Duration::ZERO), endpoint.digest());
        let digests = [
            endpoint.digest(),
            other(|endpoint| endpoint.cluster = "d".to_owned()),
            other(|endpoint| endpoint.scheme = "http"),
            other(|endpoint| endpoint.authority = "i".to_owned()),
            other(|endpoint| endpoint.path = "/".to_owned()),
            other(|endpoint| (endpoint.authority, endpoint.path) = ("h/".to_owned(), "jwks".to_owned())),
        ];
        assert_eq!(digests.iter().collect::<std::collections::BTreeSet<_>>().len(), digests.len());
    }
}
