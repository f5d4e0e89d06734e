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
    assert!(path.is_file(), "{} is missing: run `make wasm envoy` first (or set {variable})", path.display());
    path
}
