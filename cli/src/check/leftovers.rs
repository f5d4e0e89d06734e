//! Lints on what was left of Envoy's own filter `jwt_authn` in a file whose connection manager runs jwks-gate.

use crate::{
    configuration::{type_of, Configuration, Place, JWT_AUTHN},
    finding::Finding,
    tree::Node,
};

const PER_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
/// The namespace of the dynamic metadata that `jwt_authn` writes.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// What is left in a document whose filters these are.
pub(super) fn lints(document: &Node, configurations: &[Configuration<'_>]) -> Vec<Finding> {
    let runs = configurations.iter().any(|configuration| configuration.place == Place::Envoy);
    let mut left = Leftovers::default();
    left.walk(document, None);
    if !runs || left.has_jwt_authn {
        return Vec::new();
    }
    let per_route = left.per_route.into_iter().map(|node| {
        let message = "Envoy ignores this: jwks-gate has no settings of a route, and the route may be open";
        let help = "write a rule for the paths of the route, before the others (docs/jwt_authn.md)";
        Finding::error("per_route_config", node.span.clone(), message).help(help)
    });
    let readers = left.readers.into_iter().filter(|_| !left.writes_metadata).map(|node| {
        let message = "reads dynamic metadata of jwt_authn, which jwks-gate does not write";
        let help = "read the filter state `wasm.NAME`, or use payload_value_header (docs/jwt_authn.md)";
        Finding::warning("reads_metadata", node.span.clone(), message).help(help)
    });
    per_route.chain(readers).collect()
}

#[derive(Default)]
struct Leftovers<'a> {
    has_jwt_authn: bool,
    /// Another filter writes the namespace, as header_to_metadata does.
    writes_metadata: bool,
    per_route: Vec<&'a Node>,
    readers: Vec<&'a Node>,
}

impl<'a> Leftovers<'a> {
    /// `name`: the field whose value the node is.
    fn walk(&mut self, node: &'a Node, name: Option<&str>) {
        match type_of(node) {
            Some(JWT_AUTHN) => self.has_jwt_authn = true,
            Some(PER_ROUTE) => self.per_route.push(node),
            _ => {}
        }
        if let Some(text) = node.text() {
            let is_namespace = text == NAMESPACE;
            self.writes_metadata |= is_namespace && matches!(name, Some("metadata_namespace" | "metadataNamespace"));
            let is_read = is_namespace && matches!(name, Some("filter" | "key"));
            if is_read || text.contains("DYNAMIC_METADATA(envoy.filters.http.jwt_authn") {
                self.readers.push(node);
            }
        }
        node.items().iter().for_each(|item| self.walk(item, name));
        node.members().iter().for_each(|member| self.walk(&member.node, Some(&member.name)));
    }
}
