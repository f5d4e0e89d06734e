//! The bootstrap configuration of an Envoy.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{json, Map, Value};

use crate::wasm_path;

/// Builds a bootstrap with one listener and one HTTP filter before the router. All requests go to the cluster
/// `upstream`. The system chooses the ports.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    filters: Vec<Value>,
    clusters: Vec<Value>,
    connection_manager: Map<String, Value>,
    listener: Map<String, Value>,
    top_level: Map<String, Value>,
    transport_socket: Option<Value>,
}

impl Bootstrap {
    /// A bootstrap with jwks-gate, configured by `filter_config`.
    pub fn new(upstream: SocketAddr, filter_config: &Value) -> Self {
        Self::with_filter(upstream, wasm_filter(filter_config))
    }

    /// A bootstrap with another HTTP filter, such as Envoy's `jwt_authn`.
    pub fn with_filter(upstream: SocketAddr, filter: Value) -> Self {
        Self::with_filters(upstream, vec![filter])
    }

    /// A bootstrap with these HTTP filters before the router.
    pub fn with_filters(upstream: SocketAddr, filters: Vec<Value>) -> Self {
        let (clusters, connection_manager, listener, top_level, transport_socket) = Default::default();
        let bootstrap = Self { filters, clusters, connection_manager, listener, top_level, transport_socket };
        bootstrap.cluster("upstream", upstream)
    }

    /// Replaces the HTTP filters before the router.
    pub fn filters(self, filters: Vec<Value>) -> Self {
        Self { filters, ..self }
    }

    /// Adds a cluster, such as an issuer that the filter's configuration names.
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Self {
        self.clusters.push(json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{
                    "endpoint": { "address": socket_address(address) },
                }] }],
            },
        }));
        self
    }

    /// Sets a field of a cluster.
    pub fn cluster_option(mut self, name: &str, field: &str, value: Value) -> Self {
        for cluster in self.clusters.iter_mut().filter(|cluster| cluster["name"] == name) {
            cluster[field] = value.clone();
        }
        self
    }

    /// Uses HTTP/2 for requests to the upstream.
    pub fn upstream_http_2(self) -> Self {
        let options = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
        self.cluster_option("upstream", "typed_extension_protocol_options", options)
    }

    /// Sets whether Envoy calls the body callbacks of a filter that paused in the headers callback.
    pub fn allow_on_headers_stop_iteration(self, allow: bool) -> Self {
        self.plugin_option("allow_on_headers_stop_iteration", json!(allow))
    }

    /// Sets a field of the first filter's `PluginConfig`.
    pub fn plugin_option(mut self, field: &str, value: Value) -> Self {
        self.filters[0]["typed_config"]["config"][field] = value;
        self
    }

    /// The first filter's configuration as JSON text.
    pub fn plugin_configuration(&self) -> String {
        let value = &self.filters[0]["typed_config"]["config"]["configuration"]["value"];
        value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
    }

    /// Sets a field of the HTTP connection manager.
    pub fn connection_manager_option(mut self, field: &str, value: Value) -> Self {
        self.connection_manager.insert(field.to_owned(), value);
        self
    }

    /// Writes a line in this format to Envoy's log for each request.
    pub fn access_log(self, format: &str) -> Self {
        let log = json!([{ "name": "log", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
            "log_format": { "text_format_source": { "inline_string": format!("{format}\n") } },
        } }]);
        self.connection_manager_option("access_log", log)
    }

    /// Uses this transport socket, for TLS to the clients.
    pub fn tls(mut self, socket: Value) -> Self {
        self.transport_socket = Some(socket);
        self
    }

    /// Sets a top-level field of the bootstrap.
    pub fn top_level(mut self, field: &str, value: Value) -> Self {
        self.top_level.insert(field.to_owned(), value);
        self
    }

    /// Sets a field of the listener.
    pub fn listener_option(mut self, field: &str, value: Value) -> Self {
        self.listener.insert(field.to_owned(), value);
        self
    }

    /// Takes the listeners from a file that Envoy watches (LDS), in place of [`Self::listener`].
    pub fn listeners_from(self, file: &Path) -> Self {
        let source = json!({ "resource_api_version": "V3", "path_config_source": { "path": file } });
        self.top_level("dynamic_resources", json!({ "lds_config": source }))
    }

    /// The listener.
    pub fn listener(&self) -> Value {
        let any_port = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        let router = json!({
            "name": "router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        });
        let mut connection_manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test",
            "stream_idle_timeout": "30s",
            "http_protocol_options": { "enable_trailers": true },
            "route_config": {
                "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
                }],
            },
            "http_filters": self.filters.iter().chain([&router]).collect::<Vec<_>>(),
        });
        merge(&mut connection_manager, &self.connection_manager);
        let mut listener = json!({
            "name": "test",
            "address": any_port,
            "filter_chains": [{ "filters": [{
                "name": "http",
                "typed_config": connection_manager,
            }] }],
        });
        if let Some(socket) = &self.transport_socket {
            listener["filter_chains"][0]["transport_socket"] = socket.clone();
        }
        merge(&mut listener, &self.listener);
        listener
    }

    /// The bootstrap as JSON, which is also YAML.
    pub fn yaml(&self) -> String {
        let any_port = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        let is_static = !self.top_level.contains_key("dynamic_resources");
        let listeners: Vec<_> = is_static.then(|| self.listener()).into_iter().collect();
        let mut bootstrap = json!({
            // Discovery requires a node.
            "node": { "id": "test", "cluster": "test" },
            "admin": { "address": any_port },
            "static_resources": { "listeners": listeners, "clusters": self.clusters },
        });
        merge(&mut bootstrap, &self.top_level);
        bootstrap.to_string()
    }
}

/// jwks-gate as an entry of `http_filters`.
pub fn wasm_filter(filter_config: &Value) -> Value {
    wasm_filter_of(&wasm_path(), filter_config)
}

/// As [`wasm_filter`], with another build of jwks-gate or another Wasm filter.
pub fn wasm_filter_of(code: &Path, filter_config: &Value) -> Value {
    json!({
        "name": "jwks-gate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "jwks-gate",
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": code } },
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": filter_config.to_string(),
                },
            },
        },
    })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    } })
}

fn merge(into: &mut Value, fields: &Map<String, Value>) {
    for (field, value) in fields {
        into[field] = value.clone();
    }
}
