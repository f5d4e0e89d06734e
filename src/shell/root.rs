//! The root context: one per worker and configuration.

use std::time::Duration;

use log::{error, info, warn};

use super::{
    abi, host,
    worker::{Verifier, Worker},
};
use crate::config;

/// The custom section `jwks_gate.version` of the module: what an operator finds in a file without running it.
#[allow(unsafe_code)] // Nothing else gives a section its name.
#[used]
#[link_section = "jwks_gate.version"]
static VERSION: [u8; env!("CARGO_PKG_VERSION").len()] = version();

const fn version() -> [u8; env!("CARGO_PKG_VERSION").len()] {
    match env!("CARGO_PKG_VERSION").as_bytes().first_chunk() {
        Some(version) => *version,
        None => [0; env!("CARGO_PKG_VERSION").len()],
    }
}

/// Reads the configuration. `None`: the configuration is rejected. Nothing is fetched here: Envoy also calls this in a VM that it
/// made only to try the configuration out, and a lease of that VM would keep the others waiting.
pub(super) fn configure(root: u32, size: usize) -> Option<Worker> {
    let configuration = host::configuration(size);
    let Ok(environment) = abi::environment() else {
        error!("jwks-gate: configuration rejected: the environment of the VM cannot be read");
        return None;
    };
    let plan = match config::parse_in(&environment, &configuration) {
        Ok(plan) => plan,
        Err(mistake) => {
            error!("jwks-gate: configuration rejected: {mistake}");
            return None;
        }
    };
    for warning in &plan.warnings {
        warn!("jwks-gate: {warning}");
    }
    let verifier = if plan.use_host_crypto { Verifier::new } else { Verifier::disabled }(host::verify_signature);
    let by_host = match verifier.trusted() {
        [] => "none".to_owned(),
        trusted => trusted.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" "),
    };
    info!("jwks-gate {}: signatures checked by the host: {by_host}; all others by the VM", env!("CARGO_PKG_VERSION"));
    let worker = Worker::new(root, plan, verifier, &configuration);
    worker.set_tick(Duration::from_millis(1));
    Some(worker)
}
