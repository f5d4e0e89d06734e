#!/usr/bin/env bash
# Fetches Debian's prometheus and promtool into target/prometheus. Does not install or start Prometheus.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=target/prometheus/usr/bin
if [ -x "$bin/prometheus" ] && [ -x "$bin/promtool" ]; then
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo "prometheus: no apt-get to fetch Debian's prometheus with" >&2
    exit 1
fi
mkdir -p target/prometheus
cd target/prometheus
if ! apt-get download -qq prometheus 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    apt-get download -qq prometheus
fi
dpkg -x prometheus_*.deb .
rm prometheus_*.deb
echo "prometheus: $(usr/bin/prometheus --version 2>&1 | head -1)"
