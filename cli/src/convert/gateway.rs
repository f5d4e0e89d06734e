//! Envoy Gateway's SecurityPolicy with `jwt`.

use serde_json::{json, Map, Value};

use super::{any_of, claim_to_headers, from_headers, member, object, Converted};
use crate::tree::Node;

/// The conversion of a SecurityPolicy. `None`: the document is none, or has no `jwt`.
pub(super) fn convert(document: &Node) -> Option<Converted> {
    if document.text_at(&["kind"]) != Some("SecurityPolicy") {
        return None;
    }
    let spec = document.get("spec")?;
    let jwt = spec.get("jwt")?;
    let targets = spec.get("target_refs").map(Node::to_json);
    let mut converted = Converted {
        target_refs: targets.or_else(|| Some(json!([spec.get("target_ref")?.to_json()]))),
        name: document.text_at(&["metadata", "name"]).map(str::to_owned),
        namespace: document.text_at(&["metadata", "namespace"]).map(str::to_owned),
        ..Converted::default()
    };
    if spec.get("target_selectors").is_some() {
        converted.note("targetSelectors is not carried over: set targetRefs");
    }
    let mut providers = Map::new();
    let mut children = Vec::new();
    for provider in jwt.get("providers").map(Node::items).unwrap_or_default() {
        let name = provider.text_at(&["name"]).unwrap_or("provider").to_owned();
        providers.insert(name.clone(), one(provider, &name, &mut converted));
        children.push(json!({"provider_name": name}));
    }
    if jwt.get("optional").and_then(Node::flag) == Some(true) {
        children.push(json!({"allow_missing": {}}));
    }
    if jwt.get("fail_open").and_then(Node::flag) == Some(true) {
        converted.note("failOpen is not carried over: a request without keys gets a 503");
    }
    let requires = any_of(children);
    converted.config.insert("providers".to_owned(), Value::Object(providers));
    converted.config.insert("rules".to_owned(), json!([{"match": {"prefix": "/"}, "requires": requires}]));
    if converted.target_refs.is_some() {
        converted.note(
            "the rule covers every path; the SecurityPolicy covers the routes of its targetRefs, as an EnvoyExtensionPolicy with \
             the same targetRefs does (--to envoyextensionpolicy)",
        );
    }
    if spec.get("authorization").is_some() {
        converted
            .note("authorization is not carried over: write required_claims and required_scopes, or keep Envoy's RBAC");
    }
    Some(converted)
}

fn one(provider: &Node, name: &str, converted: &mut Converted) -> Value {
    let remote =
        provider.get("remote_jwks").or_else(|| provider.get("remote_jWKS")).or_else(|| provider.get("remoteJWKS"));
    let local = provider.get("localJWKS").and_then(|local| local.text_at(&["inline"]));
    let remote_jwks = remote.map(|remote| {
        let uri = remote.text_at(&["uri"]).unwrap_or_default();
        converted.note(format!(
            "providers.{name}.remote_jwks.http_uri.cluster: the name of a cluster that Envoy has; Envoy Gateway declares none \
             for a Wasm filter (docs/envoy-gateway.md)"
        ));
        json!({"http_uri": {"uri": uri, "cluster": host(uri), "timeout": "5s"}, "cache_duration": duration(remote)})
    });
    let extract = provider.get("extract_from");
    let from = |field: &str| extract.map_or(Value::Null, |extract| member(extract, field));
    let headers =
        extract.and_then(|extract| extract.get("headers")).map(|headers| from_headers(headers, "value_prefix"));
    let claims = provider.get("claim_to_headers").map(claim_to_headers);
    if local.is_none() && remote.is_none() {
        converted
            .note(format!("providers.{name}.local_jwks: the keys are in a ConfigMap; put them into inline_string"));
    }
    object([
        ("issuer", member(provider, "issuer")),
        ("audiences", member(provider, "audiences")),
        ("remote_jwks", remote_jwks.unwrap_or_default()),
        ("local_jwks", local.map_or(Value::Null, |inline| json!({"inline_string": inline}))),
        // Envoy Gateway forwards the token.
        ("forward", Value::Bool(true)),
        ("from_headers", headers.unwrap_or_default()),
        ("from_params", from("params")),
        ("from_cookies", from("cookies")),
        ("claim_to_headers", claims.unwrap_or_default()),
        ("clear_route_cache", member(provider, "recompute_route")),
    ])
}

/// Envoy Gateway writes Go durations; its default is five minutes.
fn duration(remote: &Node) -> Value {
    let text = remote.text_at(&["cache_duration"]).unwrap_or("300s");
    match humantime::parse_duration(text) {
        Ok(duration) => Value::String(format!("{}s", duration.as_secs_f64())),
        Err(_) => Value::String("300s".to_owned()),
    }
}

/// The host of a URI.
pub(super) fn host(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
}
