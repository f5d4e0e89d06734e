#!/usr/bin/env bash
# Runs the end-to-end tests against several versions of Envoy, one after another, and prints a table.
# VERSIONS: the versions; FILTER: arguments for the tests, such as `rotation:: traps::`.
set -uo pipefail
cd "$(dirname "$0")/.."

versions=${VERSIONS:-1.36.2 1.36.4 1.37.0 1.38.3 1.39.3 1.40.0}
read -ra filter <<<"${FILTER:-}"
logs=target/versions
mkdir -p "$logs"
rows=() failed=0
for version in $versions; do
    log=$logs/$version.log
    if ! ENVOY_VERSION=$version scripts/envoy.sh; then
        rows+=("| $version | not fetched | | |") failed=1
        continue
    fi
    envoy=target/envoy-$version/envoy
    [ -x "$envoy" ] && [ "$(cat "target/envoy-$version/version")" = "$version" ] || envoy=target/envoy/envoy
    echo "versions: Envoy $version, log in $log"
    JWKS_GATE_ENVOY=$envoy ${RUN:-} cargo test --test e2e -- "${filter[@]}" >"$log" 2>&1
    result=$(sed -n 's/^test result: \(.*\)\. \([0-9]*\) passed; \([0-9]*\) failed;.*finished in \(.*\)$/\1 | \2 | \3 | \4/p' "$log")
    if grep -q 'Envoy was compiled without support' "$log"; then
        rows+=("| $version | built without V8: runs no Wasm filter | | | |")
        continue
    fi
    grep -q '^test result: ok' "$log" || failed=1
    rows+=("| $version | ${result:-did not run} |")
    sed -n 's/^test \(.*\) \.\.\. FAILED$/    failed: \1/p' "$log"
done
printf '%s\n' '' '| Envoy | result | passed | failed | time |' '|---|---|---|---|---|' "${rows[@]}"
exit $failed
