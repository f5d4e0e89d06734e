#!/usr/bin/env bash
# Fetches Debian's packages into target/NAME, unless target/NAME/usr/bin/PROGRAM is there: debian.sh NAME PROGRAM PACKAGE...
# Does not install or start anything.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
program=usr/bin/$2
packages=("${@:3}")
if [ -x "target/$name/$program" ]; then
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo "$name: no apt-get to fetch Debian's ${packages[*]} with" >&2
    exit 1
fi
mkdir -p "target/$name"
cd "target/$name"
if ! apt-get download -qq "${packages[@]}" 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    apt-get download -qq "${packages[@]}"
fi
for package in ./*.deb; do
    dpkg -x "$package" .
    rm "$package"
done
echo "$name: fetched ${packages[*]}"
