//! Two Envoys with the same configuration, one for `jwt_authn` and one for jwks-gate.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use jwks_gate_issuer::Echo;
use jwks_gate_testbed::{
    http::{self, Request, Response},
    wasm_filter, workspace_root, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::explained::{telling, Explained, TOLD};

pub(crate) struct Pair {
    pub(crate) native: Envoy,
    pub(crate) ours: Envoy,
    /// What `jwks-gate explain` says of the requests to `ours`.
    pub(crate) explained: Explained,
    /// The JWKS that all issuers publish.
    jwks: RefCell<Option<Vec<u8>>>,
    _echo: Echo,
}

/// The configuration as a `jwt_authn` filter.
pub(crate) fn native_filter(block: &Value) -> Value {
    let mut config = block.clone();
    config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
    json!({"name": "jwt_authn", "typed_config": config})
}

impl Pair {
    pub(crate) fn start(block: &Value) -> Self {
        Self::start_with(block, &[], |bootstrap| bootstrap)
    }

    pub(crate) fn start_with(
        block: &Value,
        clusters: &[(&str, SocketAddr)],
        adjust: impl Fn(Bootstrap) -> Bootstrap,
    ) -> Self {
        Self::start_each([block, block], clusters, adjust)
    }

    /// As [`Self::start_with`], with one configuration for `jwt_authn` and one for jwks-gate, which may have additions.
    pub(crate) fn start_each(
        [native, ours]: [&Value; 2],
        clusters: &[(&str, SocketAddr)],
        adjust: impl Fn(Bootstrap) -> Bootstrap,
    ) -> Self {
        Self::start_filters(vec![native_filter(native)], ours, clusters, adjust)
    }

    /// As [`Self::start_each`], with an RBAC filter behind `jwt_authn`, unless `rbac` is null.
    pub(crate) fn start_behind(native: &Value, ours: &Value, rbac: &Value, clusters: &[(String, SocketAddr)]) -> Self {
        let policy = rbac.is_object().then(|| {
            let mut config = rbac.clone();
            config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC");
            json!({"name": "rbac", "typed_config": config})
        });
        let native = [native_filter(native)].into_iter().chain(policy).collect();
        Self::start_filters(native, ours, clusters, |bootstrap| bootstrap)
    }

    /// An Envoy with these filters, and one with jwks-gate.
    fn start_filters(
        native: Vec<Value>,
        ours: &Value,
        clusters: &[(impl AsRef<str>, SocketAddr)],
        adjust: impl Fn(Bootstrap) -> Bootstrap,
    ) -> Self {
        let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let start = |filters: Vec<Value>| {
            let mut bootstrap = Bootstrap::with_filters(echo.addr(), filters);
            for (name, address) in clusters {
                bootstrap = bootstrap.cluster(name.as_ref(), *address);
            }
            Envoy::start(&telling(adjust(bootstrap)).yaml(), EnvoyOptions::quiet()).unwrap()
        };
        let explained = Explained::new(ours);
        let (native, ours) = (start(native), start(vec![wasm_filter(ours)]));
        Self { native, ours, explained, jwks: RefCell::default(), _echo: echo }
    }

    /// The answers of both Envoys to a request.
    pub(crate) fn ask(&self, request: &Request) -> [Seen; 2] {
        self.send(&with_host(request)).each_ref().map(Seen::of)
    }

    /// From now on, all issuers publish this JWKS.
    pub(crate) fn publish(&self, jwks: Vec<u8>) {
        *self.jwks.borrow_mut() = Some(jwks);
    }

    /// Sends a request to both Envoys, and explains the request. Returns `Err` if the answers differ.
    pub(crate) fn compare(&self, request: &Request) -> Result<Seen, Box<[Seen; 2]>> {
        let request = with_host(request);
        let [native, ours] = self.send(&request);
        self.explain(&request, &ours);
        Self::seen(&native, &ours)
    }

    /// As [`Self::compare`], for a request of which `jwks-gate explain` cannot know what Envoy does.
    pub(crate) fn compare_unexplained(&self, request: &Request) -> Result<Seen, Box<[Seen; 2]>> {
        let [native, ours] = self.send(&with_host(request));
        Self::seen(&native, &ours)
    }

    /// Compares what `jwks-gate explain` says of a request with the answer of jwks-gate.
    pub(crate) fn explain(&self, request: &Request, ours: &Response) {
        let headers = request.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
        let name = format!("{} {} {:?}", request.method, request.path, headers.collect::<Vec<_>>());
        self.explained.compare(&name, request, self.jwks.borrow().as_deref(), ours);
    }

    fn send(&self, request: &Request) -> [Response; 2] {
        [&self.native, &self.ours].map(|envoy| http::send(envoy.addr(), request).unwrap())
    }

    fn seen(native: &Response, ours: &Response) -> Result<Seen, Box<[Seen; 2]>> {
        let [native, ours] = [native, ours].map(Seen::of);
        if native == ours {
            Ok(ours)
        } else {
            Err(Box::new([native, ours]))
        }
    }
}

fn with_host(request: &Request) -> Request {
    request.clone().header("host", "differential.test")
}

/// A difference that docs/jwt_authn.md lists: a row of its table, and the names of the requests that show the difference.
pub(crate) struct Difference {
    pub(crate) row: &'static str,
    pub(crate) shows: fn(&str) -> bool,
    /// Whether jwks-gate allows what `jwt_authn` denies. All other differences are stricter.
    pub(crate) is_lenient: bool,
}

impl Difference {
    pub(crate) const fn stricter(row: &'static str, shows: fn(&str) -> bool) -> Self {
        Self { row, shows, is_lenient: false }
    }

    pub(crate) const fn lenient(row: &'static str, shows: fn(&str) -> bool) -> Self {
        Self { row, shows, is_lenient: true }
    }
}

/// Compares the answers to named requests. Panics if answers differ without a listed difference, and if a listed difference
/// does not show or is not documented. Returns how many requests got each status.
pub(crate) fn compare_all(
    pair: &Pair,
    requests: &[(String, Request)],
    differences: &[Difference],
) -> BTreeMap<u16, usize> {
    let (mut shown, mut statuses, mut wrong) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for (name, request) in requests {
        let listed = differences.iter().find(|difference| (difference.shows)(name));
        match (pair.compare(request), listed) {
            (Ok(seen), None) => *statuses.entry(seen.status).or_default() += 1,
            (Err(both), Some(difference)) => {
                let [native, ours] = *both;
                let is_stricter = ours.status == native.status || [401, 431].contains(&ours.status);
                assert!(is_stricter || difference.is_lenient, "{name}: {native:#?} {ours:#?}");
                shown.insert(difference.row);
                *statuses.entry(ours.status).or_default() += 1;
            }
            (Ok(seen), Some(difference)) => {
                // Some requests are denied earlier for another reason.
                assert_ne!(seen.status, 200, "{name}: no {:?} any more", difference.row);
            }
            (Err(both), None) => wrong.push(format!("{name}: {both:#?}")),
        }
    }
    println!("{} requests, {statuses:?}", requests.len());
    assert!(wrong.is_empty(), "{} differ: {}", wrong.len(), wrong.join("\n"));
    let documented = std::fs::read_to_string(workspace_root().join("docs/jwt_authn.md")).unwrap();
    for Difference { row, .. } in differences {
        assert!(shown.contains(row), "nothing shows {row:?}");
        assert!(documented.contains(&format!("| {row} |")), "{row:?} is not documented");
    }
    statuses
}

/// The answer that a client gets and the request that the upstream gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// The body of a denial.
    pub(crate) body: String,
    /// Without the parts that only one of the filters adds.
    pub(crate) challenge: Option<String>,
    /// The names of the response's headers.
    pub(crate) headers: Vec<String>,
    /// The request that the upstream got.
    pub(crate) upstream: Value,
}

impl Seen {
    fn of(response: &Response) -> Self {
        let challenge = response.header("www-authenticate").map(|challenge| {
            // Only jwks-gate adds a description. Only `jwt_authn` puts the query into the realm.
            let text = challenge.split(", error_description=").next().unwrap();
            let (realm, error) = text.split_once("\", ").map_or((text.trim_end_matches('"'), ""), |parts| parts);
            format!("{} {error}", realm.split('?').next().unwrap())
        });
        let mut headers: Vec<_> = response.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        headers.retain(|name| !["date", "x-envoy-upstream-service-time", TOLD].contains(&name.as_str()));
        headers.sort_unstable();
        let grpc = response.header("grpc-status").is_some();
        let upstream = if response.status == 200 && !grpc && !response.body.is_empty() {
            let mut upstream = response.json();
            upstream["headers"].as_object_mut().unwrap().remove("x-request-id");
            upstream
        } else {
            Value::Null
        };
        let body = match (response.header("grpc-status"), response.header("grpc-message")) {
            (Some(status), message) => format!("grpc {status} {}", message.unwrap_or_default()),
            (None, _) if response.status == 200 => String::new(),
            (None, _) => response.text(),
        };
        Self { status: response.status, body, challenge, headers, upstream }
    }
}
