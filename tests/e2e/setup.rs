//! An issuer, an upstream and an Envoy between them.

use std::{net::SocketAddr, time::Duration};

use jwks_gate_issuer::{Alg, Echo, Fault, Issuer, Options, SigningKey, Times};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request, Response},
    workspace_root, Bootstrap, Envoy, EnvoyOptions, StartError,
};
use serde_json::{json, Value};

/// Builds a [`Site`]. The provider `p` protects every path below `/api/`.
pub struct Plan {
    pub issuer: Issuer,
    pub echo: Echo,
    pub config: Value,
    pub concurrency: u32,
    clusters: Vec<(String, SocketAddr)>,
    adjust: fn(Bootstrap) -> Bootstrap,
    filters: Option<Vec<Value>>,
}

/// A running Envoy, with its issuer and upstream.
pub struct Site {
    pub issuer: Issuer,
    pub echo: Echo,
    pub envoy: Envoy,
    vms: u64,
}

pub const MISSING: &str = "Jwt is missing";
pub const UNKNOWN_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";
pub const BAD_SIGNATURE: &str = "Jwt verification fails";
pub const NO_KEYS: &str = "Jwks remote fetch is failed";

pub fn issuer_with(alg: Alg, max_age: Option<u64>) -> Issuer {
    Issuer::start(Options { alg, max_age, ..Options::default() }).unwrap()
}

/// A provider that fetches the issuer's JWKS through `cluster`.
pub fn remote(issuer: &Issuer, cluster: &str) -> Value {
    json!({
        "issuer": issuer.issuer(),
        "audiences": ["api"],
        "remote_jwks": {
            "http_uri": {"uri": issuer.jwks_uri(), "cluster": cluster, "timeout": "2s"},
            "rotation": {"unknown_kid_min_interval": "60s", "unknown_kid_max_wait": "5s"},
        },
    })
}

/// An Envoy that speaks TLS in front of the issuer.
pub fn tls_terminator(issuer: &Issuer) -> Envoy {
    tls_terminator_as("issuer", None, issuer)
}

/// An Envoy that speaks TLS with the certificate of this name in front of the issuer. With a CA, clients need a
/// certificate of this CA.
pub fn tls_terminator_as(certificate: &str, client_ca: Option<&str>, issuer: &Issuer) -> Envoy {
    let file = |name: &str| workspace_root().join(format!("tests/e2e/tls/{name}"));
    let pair = json!({
        "certificate_chain": {"filename": file(&format!("{certificate}.pem"))},
        "private_key": {"filename": file(&format!("{certificate}.key"))},
    });
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [pair]},
    });
    if let Some(ca) = client_ca {
        context["require_client_certificate"] = json!(true);
        context["common_tls_context"]["validation_context"] = json!({"trusted_ca": {"filename": file(ca)}});
    }
    let socket = json!({"name": "tls", "typed_config": context});
    let nothing = json!({
        "name": "nothing",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1000},
    });
    Envoy::start(&Bootstrap::with_filter(issuer.addr(), nothing).tls(socket).yaml(), EnvoyOptions::default()).unwrap()
}

impl Plan {
    pub fn new() -> Self {
        Self::with(issuer_with(Alg::Es256, Some(600)))
    }

    pub fn with(issuer: Issuer) -> Self {
        let config = json!({
            "providers": {"p": remote(&issuer, "issuer")},
            "rules": [{"match": {"prefix": "/api/"}, "requires": {"provider_name": "p"}}],
        });
        let clusters = vec![("issuer".to_owned(), issuer.addr())];
        let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { issuer, echo, config, concurrency: 2, clusters, adjust: |bootstrap| bootstrap, filters: None }
    }

    /// Sets a field of `remote_jwks.rotation`.
    pub fn rotation(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.config["providers"]["p"]["remote_jwks"]["rotation"][field] = value.into();
        self
    }

    /// Sets a field of the provider.
    pub fn provider(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.config["providers"]["p"][field] = value.into();
        self
    }

    pub fn timeout(mut self, timeout: &str) -> Self {
        self.config["providers"]["p"]["remote_jwks"]["http_uri"]["timeout"] = timeout.into();
        self
    }

    /// Sets a field of the configuration.
    pub fn top(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.config[field] = value.into();
        self
    }

    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Self {
        self.clusters.push((name.to_owned(), address));
        self
    }

    pub fn bootstrap(mut self, adjust: fn(Bootstrap) -> Bootstrap) -> Self {
        self.adjust = adjust;
        self
    }

    /// Replaces the HTTP filters before the router.
    pub fn filters(mut self, filters: Vec<Value>) -> Self {
        self.filters = Some(filters);
        self
    }

    /// Makes the issuer fail from the first fetch.
    pub fn fault(self, fault: Fault, times: Times) -> Self {
        self.issuer.fault(fault, times);
        self
    }

    pub fn yaml(&self) -> String {
        let mut bootstrap = Bootstrap::new(self.echo.addr(), &self.config);
        for (name, address) in &self.clusters {
            bootstrap = bootstrap.cluster(name, *address);
        }
        if let Some(filters) = &self.filters {
            bootstrap = bootstrap.filters(filters.clone());
        }
        (self.adjust)(bootstrap).yaml()
    }

    /// Starts the site. The workers may not have keys yet.
    pub fn start(self) -> Site {
        // Base, canary, main thread and workers.
        let vms = u64::from(self.concurrency) + 3;
        self.start_with_vms(Some(vms))
    }

    /// As [`Self::start`], and checks the number of VMs if it is known.
    pub fn start_with_vms(self, expected: Option<u64>) -> Site {
        let options = EnvoyOptions { concurrency: self.concurrency, ..EnvoyOptions::default() };
        let envoy = Envoy::start(&self.yaml(), options).unwrap();
        let vms = envoy.stat("wasm.envoy.wasm.runtime.v8.created");
        assert!(expected.is_none_or(|expected| expected == vms), "{vms} VMs");
        Site { issuer: self.issuer, echo: self.echo, envoy, vms }
    }

    /// Starts the site and waits until every worker has keys.
    pub fn start_warm(self) -> Site {
        let site = self.start();
        let token = site.issuer.token();
        assert!(eventually(Duration::from_secs(5), || site.stat("jwks_fetch_success") > 0));
        for response in http::concurrently(site.envoy.addr(), 16, |_| Request::get("/api/warm").bearer(&token)) {
            assert_eq!(response.unwrap().status, 200);
        }
        site
    }

    /// Expects Envoy to reject the configuration, and returns Envoy's log.
    pub fn rejected(self) -> String {
        let options = EnvoyOptions { expect_start: false, ..EnvoyOptions::default() };
        match Envoy::start(&self.yaml(), options) {
            Err(StartError::Exited { log }) => log,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted: {}", self.config),
        }
    }
}

impl Site {
    /// The value of one of the filter's counters.
    pub fn stat(&self, name: &str) -> u64 {
        self.envoy.stat(&format!("wasmcustom.jwks_gate.{name}"))
    }

    /// The value of a counter after every worker has flushed its counts.
    pub fn settled(&self, name: &str) -> u64 {
        std::thread::sleep(Duration::from_secs(2));
        self.stat(name)
    }

    /// Waits until this many requests are parked, then heals the hanging issuer.
    pub fn heal_when_parked(&self, requests: u64) {
        let parked = eventually(Duration::from_secs(10), || self.stat("parked") == requests);
        let actual = self.stat("parked");
        self.issuer.heal();
        assert!(parked, "{actual} parked, not {requests}");
    }

    /// The number of JWKS GETs that reached the issuer.
    pub fn gets(&self) -> u64 {
        self.issuer.stats().jwks_requests
    }

    pub fn send(&self, request: &Request) -> Response {
        http::send(self.envoy.addr(), request).unwrap()
    }

    /// Sends a request with this token for a protected path.
    pub fn get(&self, token: &str) -> Response {
        self.send(&Request::get("/api/x").bearer(token))
    }

    /// Sends `n` requests at once, each on a separate connection. Returns each status with its count.
    pub fn get_at_once(&self, n: usize, token: impl Fn(usize) -> String + Sync) -> Vec<(u16, usize)> {
        let responses = http::concurrently(self.envoy.addr(), n, |i| Request::get("/api/x").bearer(&token(i)));
        count(responses.into_iter().map(|response| response.unwrap().status))
    }

    /// A token of this issuer that names a key that never existed.
    pub fn token_of_unknown_key(&self) -> String {
        SigningKey::generate(Alg::Es256, "nobody").mint(&self.issuer.claims())
    }

    /// Asserts that no VM trapped and that the filter still allows good tokens.
    pub fn assert_healthy(&self) {
        self.assert_no_vm_restarted();
        let token = self.issuer.token();
        assert_eq!(self.get_at_once(8, |_| token.clone()), [(200, 8)]);
    }

    /// Asserts that no VM trapped.
    pub fn assert_no_vm_restarted(&self) {
        assert_eq!(self.envoy.stat("wasm.envoy.wasm.runtime.v8.created"), self.vms, "a VM was replaced");
        let log = self.envoy.log();
        assert!(!log.contains("panicked") && !log.contains("[critical]"), "{log}");
    }
}

pub fn count(statuses: impl Iterator<Item = u16>) -> Vec<(u16, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for status in statuses {
        *counts.entry(status).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// `token` with one character of a section changed.
pub fn tampered(token: &str, section: usize) -> String {
    let mut sections: Vec<String> = token.split('.').map(str::to_owned).collect();
    let text = &mut sections[section];
    let index = text.len() / 2;
    let other = if text.as_bytes()[index] == b'A' { "B" } else { "A" };
    text.replace_range(index..=index, other);
    sections.join(".")
}
