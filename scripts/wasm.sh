#!/usr/bin/env bash
# Builds dist/jwks-gate.wasm. With the argument "probe", builds target/jwks-gate-probe.wasm, the filter that verifies signatures
# for tests and benchmarks, and attacks shared data. With the argument "hooks", builds target/jwks-gate-hooks.wasm, jwks-gate with
# the feature test-hooks. With the argument "floor", builds target/jwks-gate-floor.wasm, with which benchmarks compare. Uses the
# first Rust for wasm32-unknown-unknown that this machine has:
#   1. the toolchain's target (installed, or added by rustup);
#   2. Debian's compiler and library source, with the library built by cargo (-Zbuild-std).
# JWKS_GATE_WASM_RUST=toolchain|debian makes the choice. JWKS_GATE_WASM_FEATURES=all-curves adds ES384 and ES512 for hosts
# without verify_signature.
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
# Cargo optimises only a cdylib at link time. The rlib in Cargo.toml is for the tests.
build=(cargo rustc --locked --release --target "$target" --lib --crate-type cdylib)
# The same sources give the same bytes, wherever cargo keeps them: a panic names its file.
build+=(--config "target.$target.rustflags=['--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=registry']")
case ${1:-filter} in
filter)
    build+=(-p jwks-gate --no-default-features --features "filter ${JWKS_GATE_WASM_FEATURES:-}")
    library=jwks_gate.wasm
    output=dist/jwks-gate.wasm
    ;;
hooks)
    build+=(-p jwks-gate --no-default-features --features "filter test-hooks")
    library=jwks_gate.wasm
    output=target/jwks-gate-hooks.wasm
    ;;
floor)
    build+=(-p jwks-gate-floor)
    library=jwks_gate_floor.wasm
    output=target/jwks-gate-floor.wasm
    ;;
probe)
    build+=(-p jwks-gate-probe)
    library=jwks_gate_probe.wasm
    output=target/jwks-gate-probe.wasm
    ;;
*)
    echo "wasm: build 'filter', 'floor', 'hooks' or 'probe', not '$1'" >&2
    exit 2
    ;;
esac

has_target() {
    [ -d "$(rustc --print target-libdir --target "$target")" ]
}

toolchain_target() {
    has_target && return
    command -v rustup >/dev/null || return
    echo "wasm: adding the target $target with rustup"
    timeout 60 rustup target add "$target" && has_target
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "wasm: this must run as root, and there is no sudo: $*" >&2
        return 1
    fi
}

debian_rust() {
    dpkg-query -W -f '${db:Status-Status}\n' rustc-web rust-web-src 2>/dev/null \
        | grep -cx installed | grep -qx 2 && return
    if ! command -v apt-get >/dev/null; then
        echo "wasm: no target $target for $(rustc --version), and no apt-get to install Debian's Rust." >&2
        echo "wasm: run 'rustup target add $target' where that works, then 'make wasm' again." >&2
        return 1
    fi
    echo "wasm: installing Debian's rustc-web and rust-web-src"
    as_root apt-get update -qq
    as_root apt-get install -qq -y --no-install-recommends rustc-web rust-web-src >/dev/null
}

wasm_linker() {
    local host sysroot linker
    host=$(rustc -vV | sed -n 's/^host: //p')
    sysroot=$(rustc --print sysroot)
    for linker in \
        "$sysroot/lib/rustlib/$host/bin/rust-lld" \
        "$(command -v rust-lld || true)" \
        "/usr/lib/rustlib/$host/bin/rust-lld" \
        "$(command -v wasm-ld || true)" \
        /usr/lib/llvm-*/bin/wasm-ld; do
        if [ -x "$linker" ]; then
            echo "$linker"
            return
        fi
    done
    echo "wasm: neither rust-lld nor wasm-ld found; 'apt-get install lld' brings one" >&2
    return 1
}

choice=${JWKS_GATE_WASM_RUST:-}
if [ -z "$choice" ]; then
    if toolchain_target; then choice=toolchain; else choice=debian; fi
fi

case $choice in
toolchain)
    echo "wasm: $(rustc --version), its own $target"
    target_dir=target/wasm
    "${build[@]}" --target-dir "$target_dir"
    ;;
debian)
    debian_rust
    # This call precedes the change of RUSTC, because the linker belongs to cargo's toolchain.
    linker=$(wasm_linker)
    echo "wasm: Debian's $(/usr/bin/rustc --version), library built from source, linker $linker"
    target_dir=target/wasm-debian
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        "${build[@]}" --target-dir "$target_dir" -Zbuild-std=std,panic_abort
    ;;
*)
    echo "wasm: JWKS_GATE_WASM_RUST is '$choice'; it may be 'toolchain' or 'debian'" >&2
    exit 2
    ;;
esac

mkdir -p "$(dirname "$output")"
built=$target_dir/$target/release/$library
if cmp -s "$built" "$output"; then
    state="unchanged"
else
    # A rename replaces the file, because a running Envoy may be reading the old file.
    cp "$built" "$output.new"
    mv "$output.new" "$output"
    state="new"
fi
echo "wasm: $output, $(($(wc -c <"$output") / 1024)) KiB, $state"
