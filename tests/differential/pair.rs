//! Two Envoys with the same configuration, one for `jwt_authn` and one for jwks-gate.

use std::net::SocketAddr;

use jwks_gate_issuer::Echo;
use jwks_gate_testbed::{
    http::{self, Request, Response},
    wasm_filter, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

pub(crate) struct Pair {
    pub(crate) native: Envoy,
    pub(crate) ours: Envoy,
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
        let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let start = |filter| {
            let mut bootstrap = Bootstrap::with_filter(echo.addr(), filter);
            for (name, address) in clusters {
                bootstrap = bootstrap.cluster(name, *address);
            }
            Envoy::start(&adjust(bootstrap).yaml(), EnvoyOptions::default()).unwrap()
        };
        let (native, ours) = (start(native_filter(block)), start(wasm_filter(block)));
        Self { native, ours, _echo: echo }
    }

    /// Sends a request to both Envoys. Returns `Err` if the answers differ.
    pub(crate) fn compare(&self, request: &Request) -> Result<Seen, Box<[Seen; 2]>> {
        let request = request.clone().header("host", "differential.test");
        let [native, ours] =
            [&self.native, &self.ours].map(|envoy| Seen::of(&http::send(envoy.addr(), &request).unwrap()));
        if native == ours {
            Ok(ours)
        } else {
            Err(Box::new([native, ours]))
        }
    }
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
        headers.retain(|name| !["date", "x-envoy-upstream-service-time"].contains(&name.as_str()));
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
