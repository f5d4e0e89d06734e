#!/usr/bin/env bash
# Runs each fuzz target, or the targets that the arguments name, under libFuzzer for SECONDS (60 by default). Inputs of
# interest are kept in fuzz/corpus; an input that breaks a promise is kept in fuzz/artifacts, and ends the run.
#
# Sanitizers are off: the core has no unsafe code. So a stable toolchain will do.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzz=$(scripts/tool.sh cargo-fuzz 0.13.2)

# cargo-fuzz asks for one unstable flag.
export RUSTC_BOOTSTRAP=1
options=(--fuzz-dir fuzz --target-dir "$PWD/target/fuzz" --sanitizer none --debug-assertions)
cargo run --quiet --manifest-path fuzz/Cargo.toml --target-dir target --example seeds
"$fuzz" build "${options[@]}"

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <("$fuzz" list --fuzz-dir fuzz)
fi
for target in "${targets[@]}"; do
    "$fuzz" run "${options[@]}" "$target" -- -max_total_time="${SECONDS_PER_TARGET:-60}" -max_len=16384 -timeout=10 \
        -print_final_stats=1 >"target/fuzz/$target.log" 2>&1 || {
        tail -40 "target/fuzz/$target.log"
        echo "fuzz: $target has found something"
        exit 1
    }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "target/fuzz/$target.log")
    covered=$(grep -o 'cov: [0-9]*' "target/fuzz/$target.log" | tail -1)
    echo "fuzz: $target: $executions executions, $covered"
done
