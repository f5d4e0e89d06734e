//! An Envoy that verifies signatures, with the filter `tests/support/probe`.

use std::io;

use serde_json::{json, Value};

use crate::{
    http::{Connection, Request},
    probe_path, Bootstrap, Envoy, EnvoyOptions,
};

/// A signature to verify.
#[derive(Clone, Debug)]
pub struct Case {
    /// The algorithm's JOSE name.
    pub algorithm: String,
    /// The public key, as a JWK.
    pub key: String,
    /// The signed message, in base64url.
    pub message: String,
    /// The signature, in base64url.
    pub signature: String,
}

/// The verdicts on a signature: first by the host, then by the VM. The host verifies only algorithms that passed the
/// self-test.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Whether the signature is good.
    pub good: [bool; 2],
    /// Microseconds per check.
    pub micros: [f64; 2],
}

/// A running Envoy with the probe filter.
pub struct Probe {
    connection: Connection,
    _envoy: Envoy,
}

impl Probe {
    /// Starts Envoy.
    ///
    /// # Panics
    /// If Envoy does not start. `make probe` builds the filter.
    pub fn start() -> Self {
        let wasm = probe_path();
        let filter = json!({
            "name": "probe",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": "probe",
                    "vm_config": { "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": wasm } } },
                },
            },
        });
        // No request is sent to this address.
        let nowhere = (std::net::Ipv4Addr::LOCALHOST, 9).into();
        let bootstrap = Bootstrap::with_filter(nowhere, filter).allow_on_headers_stop_iteration(true);
        let options = EnvoyOptions { concurrency: 1, ..EnvoyOptions::quiet() };
        let envoy = Envoy::start(&bootstrap.yaml(), options).unwrap_or_else(|error| panic!("{error}"));
        let connection = Connection::open(envoy.addr()).unwrap_or_else(|error| panic!("{error}"));
        Self { connection, _envoy: envoy }
    }

    /// Verifies each signature once, and `times` more for the time.
    ///
    /// # Errors
    /// If the connection fails.
    ///
    /// # Panics
    /// If the response is malformed.
    pub fn verify(&mut self, cases: &[Case], times: u32) -> io::Result<Vec<Verdict>> {
        let list: Vec<_> =
            cases.iter().map(|case| json!([case.algorithm, case.key, case.message, case.signature])).collect();
        let body = json!({ "cases": list, "times": times }).to_string();
        let answer = self.connection.send(&Request::post("/").body(body.into_bytes()))?;
        let json = answer.json();
        let pairs =
            |name: &str| -> Vec<Value> { json[name].as_array().unwrap_or_else(|| panic!("{}", answer.text())).clone() };
        let verdicts = pairs("verdicts").into_iter().zip(pairs("micros")).map(|(good, micros)| Verdict {
            good: [0, 1].map(|which| good[which] == true),
            micros: [0, 1].map(|which| micros[which].as_f64().unwrap_or_default()),
        });
        Ok(verdicts.collect())
    }
}
