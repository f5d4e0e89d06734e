//! The paths of the filter, of Envoy and of the workspace.

use std::env;
use std::path::{Path, PathBuf};

/// The filter: `$JWKS_GATE_WASM`, else `dist/jwks-gate.wasm`.
pub fn wasm_path() -> PathBuf {
    built("JWKS_GATE_WASM", "dist/jwks-gate.wasm")
}

/// The Envoy binary: `$JWKS_GATE_ENVOY`, else `target/envoy/envoy`.
pub fn envoy_path() -> PathBuf {
    built("JWKS_GATE_ENVOY", "target/envoy/envoy")
}

/// The filter with hooks for tests: `target/jwks-gate-hooks.wasm`.
pub fn hooks_path() -> PathBuf {
    built("JWKS_GATE_HOOKS_WASM", "target/jwks-gate-hooks.wasm")
}

/// The filter that verifies signatures, and that attacks shared data: `target/jwks-gate-probe.wasm`.
pub fn probe_path() -> PathBuf {
    built("JWKS_GATE_PROBE_WASM", "target/jwks-gate-probe.wasm")
}

/// The filter that makes the host calls of jwks-gate alone: `target/jwks-gate-floor.wasm`.
pub fn floor_path() -> PathBuf {
    built("JWKS_GATE_FLOOR_WASM", "target/jwks-gate-floor.wasm")
}

/// The load generator: `target/wrk/usr/bin/wrk`.
pub fn wrk_path() -> PathBuf {
    built("JWKS_GATE_WRK", "target/wrk/usr/bin/wrk")
}

/// The directory of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(3)
        .expect("this crate is three levels below the workspace")
        .to_owned()
}

fn built(variable: &str, default: &str) -> PathBuf {
    // A relative path in the variable is also relative to the workspace, because cargo starts each package's tests in a
    // different directory.
    let path = workspace_root().join(env::var_os(variable).unwrap_or_else(|| default.into()));
    assert!(
        path.is_file(),
        "{} is missing: run `make wasm probe floor hooks envoy wrk` first (or set {variable})",
        path.display()
    );
    path
}
