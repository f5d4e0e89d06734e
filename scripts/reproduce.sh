#!/usr/bin/env bash
# Builds the wasm from a copy of the sources in another directory, and compares the digest with that of dist/jwks-gate.wasm.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude=./target --exclude=./dist --exclude=./.git . | tar -x -C "$copy"
"$copy/scripts/wasm.sh" >"$copy/log" 2>&1 || {
    cat "$copy/log" >&2
    exit 1
}
digest() { sha256sum "$1" | cut -d' ' -f1; }
here=$(digest dist/jwks-gate.wasm)
there=$(digest "$copy/dist/jwks-gate.wasm")
if [ "$here" != "$there" ]; then
    echo "reproduce: dist/jwks-gate.wasm has the digest $here, the build in $copy has $there" >&2
    exit 1
fi
echo "reproduce: both builds have the digest $here"
