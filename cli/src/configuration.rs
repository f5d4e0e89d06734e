//! Finds the configurations of the filter in a file: an Envoy bootstrap, a listener or ECDS resource, an Istio or Envoy Gateway
//! resource, or the bare configuration.

use std::ops::Range;

use crate::{
    finding::{Finding, Source},
    tree::{self, Node, SyntaxError},
};

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
pub(crate) const JWT_AUTHN: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const CONNECTION_MANAGER: &str = "HttpConnectionManager";

/// A configuration of the filter, and what stands around it.
pub(crate) struct Configuration<'a> {
    /// The configuration itself.
    pub(crate) node: Node,
    pub(crate) place: Place,
    /// The Envoy filter's `config`, or the `spec` of a resource.
    pub(crate) around: Option<&'a Node>,
    /// The connection manager whose filter this is.
    pub(crate) connection_manager: Option<&'a Node>,
    /// The document.
    pub(crate) document: &'a Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Bare,
    /// The filter in Envoy.
    Envoy,
    /// Envoy's own filter.
    JwtAuthn,
    /// Istio's `WasmPlugin` or `TrafficExtension`.
    Istio,
    /// Envoy Gateway's `EnvoyExtensionPolicy`.
    Gateway,
    /// A resource for the filter that is built into the proxy.
    Native,
}

/// The documents of a file.
pub(crate) fn documents(source: &Source) -> Result<Vec<Node>, Finding> {
    tree::parse(&source.text).map_err(|error| syntax(error, "neither YAML nor JSON"))
}

fn syntax(SyntaxError { reason, span }: SyntaxError, what: &str) -> Finding {
    Finding::error("syntax", span, format!("{what}: {reason}"))
}

/// The configurations in a document, in the order of the text, and what is wrong with those that cannot be read.
pub(crate) fn find<'a>(source: &Source, document: &'a Node) -> (Vec<Configuration<'a>>, Vec<Finding>) {
    let mut search = Search { source, document, found: Vec::new(), findings: Vec::new() };
    let looks_bare = document.get("providers").is_some() || document.get("rules").is_some();
    match document.text_at(&["kind"]) {
        Some("WasmPlugin") => search.resource(document, &["spec"], "plugin_config", Place::Istio),
        Some("TrafficExtension") => search.resource(document, &["spec", "wasm"], "plugin_config", Place::Istio),
        Some("EnvoyExtensionPolicy") => {
            for wasm in document.at(&["spec", "wasm"]).map(Node::items).unwrap_or_default() {
                search.resource(wasm, &[], "config", Place::Gateway);
            }
        }
        _ if looks_bare && type_of(document).is_none() => search.add(document.clone(), Place::Bare, None, None),
        _ => search.walk(document, None),
    }
    (search.found, search.findings)
}

/// The type that a message states in `@type`.
pub(crate) fn type_of(node: &Node) -> Option<&str> {
    let url = node.text_at(&["@type"])?;
    Some(url.rsplit('/').next().unwrap_or(url))
}

struct Search<'s, 'a> {
    source: &'s Source,
    document: &'a Node,
    found: Vec<Configuration<'a>>,
    findings: Vec<Finding>,
}

impl<'a> Search<'_, 'a> {
    fn add(&mut self, node: Node, place: Place, around: Option<&'a Node>, connection_manager: Option<&'a Node>) {
        self.found.push(Configuration { node, place, around, connection_manager, document: self.document });
    }

    fn resource(&mut self, resource: &'a Node, path: &[&str], field: &str, place: Place) {
        let Some(around) = resource.at(path) else { return };
        match around.get(field) {
            Some(node) if is_ours(node) => self.add(node.clone(), place, Some(around), None),
            // Istio's schema refuses a text; Envoy Gateway's takes anything.
            Some(node) if node.text().is_some() => {
                let message = format!("`{field}` is a text: it must be an object");
                let at = around.member(field).map_or(0..0, |member| member.span.clone());
                let finding = Finding::error("syntax", at, message);
                self.findings.extend((place == Place::Gateway && is_named(around)).then_some(finding));
            }
            _ => self.missing(around),
        }
    }

    /// The filter runs, and what it gets is no configuration.
    fn missing(&mut self, around: &Node) {
        if is_named(around) {
            let message = "jwks-gate runs here without a configuration: neither `providers` nor `rules` is set";
            let span = around.span.start..around.span.start;
            self.findings.push(Finding::error("no_configuration", span, message));
        }
    }

    fn walk(&mut self, node: &'a Node, manager: Option<&'a Node>) {
        let kind = type_of(node).unwrap_or_default();
        let manager = if kind.ends_with(CONNECTION_MANAGER) { Some(node) } else { manager };
        if kind == JWT_AUTHN {
            self.add(node.clone(), Place::JwtAuthn, None, manager);
        } else if kind == WASM {
            self.wasm(node, manager);
        }
        node.items().iter().for_each(|item| self.walk(item, manager));
        node.members().iter().for_each(|member| self.walk(&member.node, manager));
    }

    fn wasm(&mut self, node: &'a Node, manager: Option<&'a Node>) {
        let Some(config) = node.get("config") else { return };
        let value = config.get("configuration").and_then(|value| Some((type_of(value), value.get("value")?)));
        let node = match value {
            Some((Some("google.protobuf.Struct"), value)) => value.clone(),
            Some((Some("google.protobuf.StringValue"), value)) => match value.embedded_json(&self.source.text) {
                Some(Ok(node)) => node,
                Some(Err(error)) => {
                    let is_meant = is_named(config) || value.text().is_some_and(|text| text.contains("providers"));
                    self.findings.extend(is_meant.then(|| syntax(error, "the plugin configuration is not JSON")));
                    return;
                }
                None => return,
            },
            _ => return self.missing(config),
        };
        match is_ours(&node) {
            true => self.add(node, Place::Envoy, Some(config), manager),
            false => self.missing(config),
        }
    }
}

/// Whether the code that runs is jwks-gate, by the name of the file, image or plugin.
fn is_named(around: &Node) -> bool {
    let is_it = |text: &str| text.contains("jwks-gate") || text.contains("jwks_gate");
    let code = ["vm_config", "code"].into_iter().find_map(|field| around.get(field));
    let names = [around.text_at(&["name"]), around.text_at(&["plugin_name"]), around.text_at(&["url"])];
    let files: [&[&str]; 6] = [
        &["code", "local", "filename"],
        &["code", "remote", "http_uri", "uri"],
        &["local", "filename"],
        &["remote", "http_uri", "uri"],
        &["image", "url"],
        &["http", "url"],
    ];
    let files = files.iter().filter_map(|path| code?.text_at(path));
    names.into_iter().flatten().chain(files).any(is_it)
}

/// Whether this is a configuration of jwks-gate, and not of another plugin.
fn is_ours(node: &Node) -> bool {
    node.get("providers").is_some() || node.get("rules").is_some()
}

impl Configuration<'_> {
    /// The configuration as the filter gets it.
    pub(crate) fn json(&self) -> String {
        let mut value = self.node.to_json();
        if let Some(members) = value.as_object_mut() {
            members.remove("@type");
        }
        value.to_string()
    }

    /// Each provider, with its name and the place of the name.
    pub(crate) fn providers(&self) -> impl Iterator<Item = (&str, Range<usize>, &Node)> {
        let providers = self.node.get("providers").map(Node::members).unwrap_or_default();
        providers.iter().map(|member| (member.name.as_str(), member.span.clone(), &member.node))
    }

    /// The `config` of each Wasm plugin of another kind in the document.
    pub(crate) fn other_plugins(&self) -> Vec<&Node> {
        fn walk<'a>(node: &'a Node, found: &mut Vec<&'a Node>) {
            let config = node.get("config").filter(|_| type_of(node).is_some_and(|kind| kind.contains(".wasm.v3.")));
            let value = config.and_then(|config| config.at(&["configuration", "value"]));
            let is_gate = value
                .is_some_and(|value| is_ours(value) || value.text().is_some_and(|text| text.contains("\"providers\"")));
            found.extend(config.filter(|_| !is_gate));
            node.items().iter().for_each(|item| walk(item, found));
            node.members().iter().for_each(|member| walk(&member.node, found));
        }
        let mut found = Vec::new();
        walk(self.document, &mut found);
        found
    }

    /// The static clusters. `None`: the document has no list of clusters, or reads clusters from elsewhere.
    pub(crate) fn clusters(&self) -> Option<&[Node]> {
        let resources = self.document.get("static_resources")?;
        let is_dynamic = self.document.at(&["dynamic_resources", "cds_config"]).is_some();
        (!is_dynamic).then(|| resources.get("clusters").map(Node::items).unwrap_or_default())
    }
}
