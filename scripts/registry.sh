#!/usr/bin/env bash
# Fetches Debian's container registry into target/registry. Does not install or start the registry.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=target/registry/usr/bin
if [ -x "$bin/docker-registry" ]; then
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo "registry: no apt-get to fetch Debian's docker-registry with" >&2
    exit 1
fi
mkdir -p target/registry
cd target/registry
if ! apt-get download -qq docker-registry 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    apt-get download -qq docker-registry
fi
dpkg -x docker-registry_*.deb .
rm docker-registry_*.deb
echo "registry: $(usr/bin/docker-registry --version 2>&1 | head -1)"
