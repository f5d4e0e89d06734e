#!/usr/bin/env bash
# Measures which lines and regions of the core the native tests run: unit tests, vectors, simulation.
# Prints a table by module, and writes what is not covered into target/coverage/uncovered.txt. Fetches Debian's LLVM tools, unpacked
# into target/llvm, unless the toolchain has the component llvm-tools.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
if [ -x "$tools/llvm-cov" ]; then
    llvm() { "$tools/llvm-$1" "${@:2}"; }
else
    # Reads the format of rustc's LLVM, although it is older: neither format has changed since LLVM 19.
    scripts/debian.sh llvm llvm-cov-19 llvm-19 libllvm19
    llvm() { LD_LIBRARY_PATH=target/llvm/usr/lib/llvm-19/lib:target/llvm/usr/lib/$(uname -m)-linux-gnu "target/llvm/usr/bin/llvm-$1-19" "${@:2}"; }
fi

out=target/coverage
rm -rf "$out"
mkdir -p "$out"
# Only the crates of this repository are instrumented: their dependencies are those of `make test`.
cat >"$out/rustc" <<'WRAPPER'
#!/bin/sh
exec "$@" -C instrument-coverage
WRAPPER
chmod +x "$out/rustc"
export RUSTC_WORKSPACE_WRAPPER=$PWD/$out/rustc LLVM_PROFILE_FILE=$PWD/$out/%p-%m.profraw

tests=(cargo test -p jwks-gate -p jwks-gate-crypto --lib --test vectors --test simulation)
"${tests[@]}" --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        print(message["executable"])' >"$out/objects"
"${tests[@]}" -- --skip envoy:: >"$out/tests.log" 2>&1 || { cat "$out/tests.log"; exit 1; }

llvm profdata merge -sparse -o "$out/profile" "$out"/*.profraw
rm "$out"/*.profraw
objects=()
while read -r object; do objects+=(-object "$object"); done <"$out/objects"
llvm cov export -instr-profile "$out/profile" "${objects[@]}" \
    -ignore-filename-regex '(/tests/|/tests\.rs$|/benches/|/registry/|/rustc/)' >"$out/coverage.json"
python3 scripts/coverage.py "$out/coverage.json" | tee "$out/table.md"
echo "coverage: what is not covered is in $out/uncovered.txt"
