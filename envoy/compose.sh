#!/bin/sh
# From envoy.yaml, for containers: this network's host names, and the filter in a file of its own that Envoy watches, so that
# its configuration can change while it runs. Usage: compose.sh DIRECTORY FILTER, writes DIRECTORY/envoy.yaml and FILTER.
set -eu

sed -e 's/127.0.0.1, port_value: 9000/issuer, port_value: 9000/' \
    -e 's/127.0.0.1, port_value: 9001/upstream, port_value: 9001/' \
    -e 's/127.0.0.1:9000/issuer:9000/' \
    -e 's/127.0.0.1, port_value/0.0.0.0, port_value/' \
    envoy.yaml >"$1/all.yaml"

resource='"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig'
{
    echo 'resources:'
    sed -n '/- name: jwks-gate$/,/- name: envoy.filters.http.router$/p' "$1/all.yaml" |
        sed -e '$d' -e "1s|- name|- $resource\n            name|"
} >"$1/filter.yaml"
mv "$1/filter.yaml" "$2"

type=type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
source="{ path_config_source: { path: $2 }, resource_api_version: V3 }"
discovery="config_discovery: { config_source: $source, type_urls: [$type] }"
# Envoy asks whoever watches a file for its name.
echo 'node: { id: gateway, cluster: gateway }' >"$1/envoy.yaml"
sed -e "/- name: jwks-gate\$/,/- name: envoy.filters.http.router\$/{
    s|- name: jwks-gate\$|&\n            $discovery|
    t
    /- name: envoy.filters.http.router\$/!d
}" "$1/all.yaml" >>"$1/envoy.yaml"
