#!/usr/bin/env bash
# Fetches Debian's wrk, the load generator of the benchmarks, into target/wrk. Does not install wrk.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -x target/wrk/usr/bin/wrk ]; then
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo "wrk: no apt-get to fetch Debian's wrk with" >&2
    exit 1
fi
mkdir -p target/wrk
cd target/wrk
packages=(wrk libluajit-5.1-2)
if ! apt-get download -qq "${packages[@]}" 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    apt-get download -qq "${packages[@]}"
fi
for package in ./*.deb; do
    dpkg -x "$package" .
    rm "$package"
done
echo "wrk: $(dpkg-query --showformat '${Version}' --show wrk 2>/dev/null || echo fetched)"
