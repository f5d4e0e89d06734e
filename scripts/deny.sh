#!/usr/bin/env bash
# Checks licences, crates and sources of all dependencies with cargo-deny, as deny.toml says. Then looks for advisories, if the
# database can be fetched. Without a network, the script says that advisories were not looked for, and passes.
#
# Uses the cargo-deny in PATH if it has the version below, and else builds that version into target/tools, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
deny=cargo-deny
if ! [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $version" ]; then
    deny=$PWD/target/tools/bin/cargo-deny
    if ! [ "$("$deny" --version 2>/dev/null)" = "cargo-deny $version" ]; then
        echo "deny: building cargo-deny $version into target/tools"
        cargo install --quiet --locked --root target/tools --target-dir target/tools/build --version "=$version" cargo-deny
        rm -rf target/tools/build
    fi
fi

for manifest in Cargo.toml fuzz/Cargo.toml; do
    echo "deny: $manifest"
    "$deny" --workspace --manifest-path "$manifest" --log-level error --config "$PWD/deny.toml" check --hide-inclusion-graph \
        licenses bans sources
done

database=https://github.com/RustSec/advisory-db
if timeout 20 git ls-remote --quiet "$database" HEAD >/dev/null 2>&1; then
    for manifest in Cargo.toml fuzz/Cargo.toml; do
        "$deny" --workspace --manifest-path "$manifest" --log-level error --config "$PWD/deny.toml" check --hide-inclusion-graph advisories
    done
else
    echo "deny: advisories were NOT looked for: $database cannot be reached"
fi
