//! One side of the comparison: an Envoy with a filter, and its issuer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jwks_gate_issuer::{Echo, Issuer, Options};
use jwks_gate_testbed::http::{self, Request};
use jwks_gate_testbed::{eventually, wasm_filter, Bootstrap, Envoy, EnvoyOptions};
use serde_json::{json, Value};

use crate::Result;

pub(crate) const JWT_AUTHN: &str = "Envoy jwt_authn";
pub(crate) const JWKS_GATE: &str = "jwks-gate";
pub(crate) const CACHE_DURATION: &str = "300s";
/// The default of 10 s suits rotations with longer intervals.
pub(crate) const UNKNOWN_KID_MIN_INTERVAL: &str = "1s";
/// The default is 0 s: a removed key verifies nothing.
pub(crate) const RETIRED_KEY_GRACE: &str = "30s";

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Each request has its own connection, so that both workers get requests.
const WARM_UP_REQUESTS: usize = 32;

pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) issuer: Issuer,
    envoy: Envoy,
    _echo: Echo,
}

impl Side {
    /// An Envoy with `jwt_authn`.
    pub(crate) fn jwt_authn() -> Result<Self> {
        let issuer = start_issuer()?;
        let mut config = config(&issuer);
        config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
        let filter = json!({ "name": "jwt_authn", "typed_config": config });
        Self::start(JWT_AUTHN, issuer, filter)
    }

    /// An Envoy with jwks-gate.
    pub(crate) fn jwks_gate() -> Result<Self> {
        let issuer = start_issuer()?;
        let mut config = config(&issuer);
        config["providers"]["p"]["remote_jwks"]["rotation"] = json!({
            "unknown_kid_min_interval": UNKNOWN_KID_MIN_INTERVAL,
            "retired_key_grace": RETIRED_KEY_GRACE,
        });
        Self::start(JWKS_GATE, issuer, wasm_filter(&config))
    }

    fn start(name: &'static str, issuer: Issuer, filter: Value) -> Result<Self> {
        let echo = Echo::start(any_port())?;
        let bootstrap = Bootstrap::with_filter(echo.addr(), filter).cluster("issuer", issuer.addr());
        let envoy = Envoy::start(&bootstrap.yaml(), EnvoyOptions::quiet())?;
        let side = Self { name, issuer, envoy, _echo: echo };
        side.warm_up()?;
        Ok(side)
    }

    /// Waits until every worker has the keys. Sends one request at a time, so that no side fetches more often than
    /// necessary.
    fn warm_up(&self) -> Result<()> {
        let request = Request::get("/api/warm-up").bearer(&self.issuer.token());
        let passes = || http::send(self.addr(), &request).is_ok_and(|answer| answer.status == 200);
        if eventually(START_TIMEOUT, passes) && (0..WARM_UP_REQUESTS).all(|_| passes()) {
            Ok(())
        } else {
            Err(format!("{}: a good token is denied", self.name).into())
        }
    }

    /// The address of Envoy's listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.envoy.addr()
    }

    /// Envoy's version, such as 1.40.0.
    pub(crate) fn envoy_version(&self) -> Result<String> {
        let info = http::send(self.envoy.admin(), &Request::get("/server_info"))?.json();
        // The text holds commit, version, state of the tree, kind of build, TLS library.
        let version = info["version"].as_str().and_then(|text| text.split('/').nth(1));
        Ok(version.ok_or("Envoy does not say its version")?.to_owned())
    }
}

fn start_issuer() -> Result<Issuer> {
    Ok(Issuer::start(Options { listen: any_port(), max_age: None, ..Options::default() })?)
}

/// The configuration of both filters.
fn config(issuer: &Issuer) -> Value {
    json!({
        "providers": { "p": {
            "issuer": issuer.issuer(),
            "audiences": ["api"],
            "remote_jwks": {
                "http_uri": { "uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s" },
                "cache_duration": CACHE_DURATION,
            },
        } },
        "rules": [{ "match": { "prefix": "/api/" }, "requires": { "provider_name": "p" } }],
    })
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
