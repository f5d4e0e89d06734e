//! Lints on resources that configure the JWT filter that is built into the proxy.

use std::ops::Range;

use jwks_gate::config;

use super::keys;
use crate::{
    configuration::{Configuration, Place},
    finding::Finding,
    tree::{Content, Member, Node},
};

/// A list of providers in a resource, and what their fields are called there.
struct Resource {
    list: &'static [&'static str],
    /// How a path to the list begins.
    path: &'static str,
    inline_keys: &'static [&'static str],
    uri: &'static [&'static str],
    needs_issuer: bool,
}

const REQUEST_AUTHENTICATION: Resource = Resource {
    list: &["spec", "jwt_rules"],
    path: "spec.jwtRules",
    inline_keys: &["jwks"],
    uri: &["jwks_uri"],
    needs_issuer: true,
};

const SECURITY_POLICY: Resource = Resource {
    list: &["spec", "jwt", "providers"],
    path: "spec.jwt.providers",
    inline_keys: &["localJWKS", "inline"],
    uri: &["remoteJWKS", "uri"],
    needs_issuer: false,
};

/// A note that the resource is none of jwks-gate, and the lints on its providers.
pub(super) fn lints(document: &Node) -> Vec<Finding> {
    let Some(kind) = document.text_at(&["kind"]) else { return Vec::new() };
    let resource = match kind {
        "RequestAuthentication" => REQUEST_AUTHENTICATION,
        "SecurityPolicy" if document.at(&["spec", "jwt"]).is_some() => SECURITY_POLICY,
        _ => return Vec::new(),
    };
    let message = format!("this {kind} configures the JWT filter that is built into the proxy, not jwks-gate");
    let note = Finding::note("native", super::place(document, "kind", 0..0), message);
    let mut findings = vec![note.help("`jwks-gate convert` makes a configuration of it")];
    let providers = document.at(resource.list).map(Node::items).unwrap_or_default();
    for (index, provider) in providers.iter().enumerate() {
        findings.extend(of_provider(document, &resource, index, provider));
    }
    findings
}

/// What the filter and the lints say of this provider alone.
fn of_provider(document: &Node, resource: &Resource, index: usize, provider: &Node) -> Vec<Finding> {
    let name = format!("{}[{index}]", resource.path);
    let mut findings = Vec::new();
    if resource.needs_issuer && provider.text_at(&["issuer"]).is_none_or(str::is_empty) {
        let message = format!("{name}: `issuer` must be set");
        findings.push(Finding::error("invalid_resource", start(provider), message).help("istiod refuses the resource"));
        return findings;
    }
    let node = configuration(resource, &name, provider);
    let configuration = Configuration { node, place: Place::Native, around: None, connection_manager: None, document };
    if let Err(error) = config::parse(configuration.json().as_bytes()) {
        let at = configuration.node.locate(&error.path);
        let path = error.path.trim_start_matches("providers.");
        findings.push(Finding::error("rejected", at, format!("{path}: {}", error.reason)));
    }
    findings.extend(keys::lints(&configuration));
    findings
}

/// A configuration with this provider. Each value has its place in the resource.
fn configuration(resource: &Resource, name: &str, provider: &Node) -> Node {
    let at = start(provider);
    let text = |text: &str| Node { span: at.clone(), value: Content::Text(text.to_owned()) };
    let map = |members: Vec<(&str, Node)>| object(at.clone(), members);
    let mut members: Vec<(&str, Node)> =
        ["issuer", "audiences"].into_iter().filter_map(|field| Some((field, provider.get(field)?.clone()))).collect();
    match provider.at(resource.inline_keys).cloned() {
        Some(keys) => members.push(("local_jwks", map(vec![("inline_string", keys)]))),
        None => {
            let uri = provider.at(resource.uri).cloned().unwrap_or_else(|| text("https://localhost/"));
            let source = map(vec![("uri", uri), ("cluster", text("cluster")), ("timeout", text("5s"))]);
            members.push(("remote_jwks", map(vec![("http_uri", source)])));
        }
    }
    map(vec![("providers", map(vec![(name, map(members))]))])
}

fn object(span: Range<usize>, members: Vec<(&str, Node)>) -> Node {
    let member = |(name, node): (&str, Node)| Member { name: name.to_owned(), span: span.clone(), node };
    let value = Content::Map(members.into_iter().map(member).collect());
    Node { span: span.clone(), value }
}

/// The first byte: the whole span of an object may be many lines.
fn start(node: &Node) -> Range<usize> {
    node.span.start..node.span.start
}
