//! `make bench`: the cost of a signature check by the host and by the VM, the cost of a request beside Envoy's
//! `jwt_authn`, the start with many issuers, and a flood of bad signatures. The benchmarks measure processor time, and
//! wall time where a client waits. The variants take turns, so that the machine's load affects all variants alike.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used, unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod amplification;
mod curves;
mod growth;
mod publisher;
mod requests;
mod rotating;
mod scale;
mod signatures;
mod site;
mod start;
mod table;

use jwks_gate_testbed::{wasm_filter, Bootstrap};
use serde_json::{json, Value};

const BENCHMARKS: [(&str, fn()); 10] = [
    ("signatures", signatures::run),
    ("requests", requests::run),
    ("algorithms", requests::algorithms),
    ("scale", scale::run),
    ("curves", curves::draw),
    ("rotating", rotating::run),
    ("start", start::run),
    ("growth", growth::run),
    ("parked", growth::parked),
    ("amplification", amplification::run),
];

fn main() {
    // `cargo bench … -- requests` runs one benchmark.
    let named: Vec<_> = std::env::args().filter(|arg| BENCHMARKS.iter().any(|(name, _)| name == arg)).collect();
    for (name, run) in BENCHMARKS {
        if named.is_empty() || named.iter().any(|arg| arg == name) {
            run();
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A filter under comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    JwksGate,
    JwtAuthn,
}

impl Filter {
    const BOTH: [Self; 2] = [Self::JwksGate, Self::JwtAuthn];

    fn name(self) -> &'static str {
        match self {
            Self::JwksGate => "jwks-gate",
            Self::JwtAuthn => "`jwt_authn`",
        }
    }

    fn configured(self, config: &Value) -> Value {
        if self == Self::JwksGate {
            return wasm_filter(config);
        }
        let mut config = config.clone();
        config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
        json!({"name": "jwt_authn", "typed_config": config})
    }

    /// A bootstrap whose router answers directly, with a cluster `issuers` that has room for requests of all issuers.
    fn bootstrap(self, config: &Value, issuers: std::net::SocketAddr) -> Bootstrap {
        let routes = json!({"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        }]});
        let bounds = json!({"max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000});
        let nowhere = (std::net::Ipv4Addr::LOCALHOST, 9).into();
        Bootstrap::with_filter(nowhere, self.configured(config))
            .connection_manager_option("route_config", routes)
            .cluster("issuers", issuers)
            .cluster_option("issuers", "circuit_breakers", json!({"thresholds": [bounds]}))
    }
}

fn in_a_day() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 86_400
}
