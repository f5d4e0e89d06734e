#!/usr/bin/env bash
# Prints the path of a cargo tool: scripts/tool.sh NAME VERSION. Takes the tool in PATH if it has the version, and else builds that
# version into target/tools, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1 version=$2
has_version() { [ "$("$1" --version 2>/dev/null)" = "$name $version" ]; }
tool=$name
if ! has_version "$tool"; then
    tool=$PWD/target/tools/bin/$name
    if ! has_version "$tool"; then
        echo "${name#cargo-}: building $name $version into target/tools" >&2
        cargo install --quiet --locked --root target/tools --target-dir target/tools/build --version "=$version" "$name" >&2
        rm -rf target/tools/build
    fi
fi
echo "$tool"
