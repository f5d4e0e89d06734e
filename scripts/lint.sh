#!/usr/bin/env bash
# Checks formatting and runs clippy. Only the run for the wasm target covers the filter's shell.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check -- --config-path rustfmt.toml
cargo clippy --quiet --workspace --all-targets -- -D warnings
cargo clippy --quiet --manifest-path fuzz/Cargo.toml --target-dir target --all-targets -- -D warnings

target=wasm32-unknown-unknown
if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    cargo clippy --quiet -p jwks-gate --lib --no-default-features --features filter,test-hooks --target "$target" --target-dir target/wasm -- -D warnings
else
    echo "lint: clippy for $target skipped: the toolchain lacks the target"
fi
