//! Istio's RequestAuthentication, with the AuthorizationPolicies that require a principal.

use serde_json::{json, Map, Value};

use super::{any_of, claim_to_headers, from_headers, gateway::host, member, object, Converted};
use crate::tree::Node;

/// The conversion of each RequestAuthentication.
pub(super) fn convert(documents: &[Node]) -> Vec<Converted> {
    let of_kind = |kind: &'static str| documents.iter().filter(move |node| node.text_at(&["kind"]) == Some(kind));
    let policies: Vec<_> = of_kind("AuthorizationPolicy").collect();
    of_kind("RequestAuthentication").filter_map(|resource| one(resource, &policies)).collect()
}

fn one(resource: &Node, policies: &[&Node]) -> Option<Converted> {
    let spec = resource.get("spec")?;
    let mut converted = Converted {
        selector: spec.get("selector").map(Node::to_json),
        name: resource.text_at(&["metadata", "name"]).map(str::to_owned),
        namespace: resource.text_at(&["metadata", "namespace"]).map(str::to_owned),
        ..Converted::default()
    };
    let (mut providers, mut children) = (Map::new(), Vec::new());
    for (index, rule) in spec.get("jwt_rules").map(Node::items).unwrap_or_default().iter().enumerate() {
        let name = format!("rule-{index}");
        providers.insert(name.clone(), provider(rule, &name, &mut converted));
        children.push(json!({"provider_name": name}));
    }
    // A token must be good; a request without a token passes, unless an AuthorizationPolicy wants a principal.
    let any = |fallback: &[Value]| any_of([&children, fallback].concat());
    let mut rules = Vec::new();
    for policy in policies {
        rules.extend(required(policy, &any(&[]), &mut converted));
    }
    rules.push(json!({"match": {"prefix": "/"}, "requires": any(&[json!({"allow_missing": {}})])}));
    converted.config.insert("providers".to_owned(), Value::Object(providers));
    converted.config.insert("rules".to_owned(), Value::Array(rules));
    if spec.get("target_refs").is_some() || spec.get("target_ref").is_some() {
        converted.note("targetRefs is not carried over: set targetRefs of the WasmPlugin");
    }
    Some(converted)
}

fn provider(rule: &Node, name: &str, converted: &mut Converted) -> Value {
    if rule.get("space_delimited_claims").is_some() {
        converted.note(format!("providers.{name}: spaceDelimitedClaims is not carried over (docs/istio.md)"));
    }
    let uri = rule.text_at(&["jwks_uri"]);
    let timeout = rule.text_at(&["timeout"]).unwrap_or("5s");
    let remote = uri.map(|uri| {
        let cluster = format!("outbound|443||{}", host(uri).split(':').next().unwrap_or_default());
        converted.note(format!(
            "providers.{name}.remote_jwks.http_uri.cluster: {cluster:?} is the cluster of a ServiceEntry for this host \
             (envoy/istio/serviceentry.yaml)"
        ));
        json!({"http_uri": {"uri": uri, "cluster": cluster, "timeout": timeout}})
    });
    if uri.is_none() && rule.get("jwks").is_none() {
        let issuer = rule.text_at(&["issuer"]).unwrap_or_default();
        converted.note(format!(
            "providers.{name}.remote_jwks.http_uri.uri: istiod finds the URI by OpenID Connect Discovery; read jwks_uri in \
             {issuer}/.well-known/openid-configuration"
        ));
    }
    let missing = || {
        let issuer = rule.text_at(&["issuer"]).unwrap_or_default();
        let host = host(issuer);
        json!({"http_uri": {"uri": format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')), "cluster": format!("outbound|443||{host}"), "timeout": timeout}})
    };
    let local = rule.text_at(&["jwks"]).map(|jwks| json!({"inline_string": jwks}));
    let remote = if local.is_some() { None } else { Some(remote.unwrap_or_else(missing)) };
    let headers = rule.get("from_headers").map(|headers| from_headers(headers, "prefix"));
    let claims = rule.get("output_claim_to_headers").map(claim_to_headers);
    object([
        ("issuer", member(rule, "issuer")),
        ("audiences", member(rule, "audiences")),
        ("remote_jwks", remote.unwrap_or_default()),
        ("local_jwks", local.unwrap_or_default()),
        ("forward", member(rule, "forward_original_token")),
        ("from_headers", headers.unwrap_or_default()),
        ("from_params", member(rule, "from_params")),
        ("from_cookies", member(rule, "from_cookies")),
        ("forward_payload_header", member(rule, "output_payload_to_header")),
        ("claim_to_headers", claims.unwrap_or_default()),
    ])
}

/// Rules for the paths on which an AuthorizationPolicy demands any principal. All else stays with Istio.
fn required(policy: &Node, requires: &Value, converted: &mut Converted) -> Vec<Value> {
    let name = policy.text_at(&["metadata", "name"]).unwrap_or_default();
    let Some(spec) = policy.get("spec") else { return Vec::new() };
    let mut rules = Vec::new();
    let mut is_whole = spec.text_at(&["action"]) == Some("DENY");
    for rule in spec.get("rules").map(Node::items).unwrap_or_default() {
        let from = rule.get("from").map(Node::items).unwrap_or_default();
        let any_principal = |from: &Node| {
            from.get("source").is_some_and(|source| {
                source.members().len() == 1
                    && source.get("not_request_principals").is_some_and(|principals| principals.texts() == ["*"])
            })
        };
        let to = rule.get("to").map(Node::items).unwrap_or_default();
        let paths: Option<Vec<Value>> = match to {
            [] => Some(vec![json!({"prefix": "/"})]),
            [to] => to.get("operation").filter(|operation| operation.members().len() == 1).and_then(|operation| {
                // One path that has no form here makes the whole rule none.
                operation.get("paths")?.texts().into_iter().map(path).collect()
            }),
            _ => None,
        };
        let is_simple = rule.members().iter().all(|member| ["from", "to"].contains(&member.name.as_str()));
        match paths {
            Some(paths) if is_simple && from.len() == 1 && from.iter().all(any_principal) => {
                rules.extend(paths.into_iter().map(|path| json!({"match": path, "requires": requires})));
            }
            _ => is_whole = false,
        }
    }
    if !is_whole {
        rules.clear();
        converted.note(format!(
            "AuthorizationPolicy {name:?} is not carried over: only DENY of notRequestPrincipals [\"*\"], by paths, has a form here; \
             docs/istio.md says how the policy works behind jwks-gate"
        ));
    }
    rules
}

/// The route match of a path of Istio: exact, or with a star at its end.
fn path(text: &str) -> Option<Value> {
    match text.strip_suffix('*') {
        Some(prefix) if !prefix.contains('*') && prefix.starts_with('/') => Some(json!({"prefix": prefix})),
        None if text.starts_with('/') && !text.contains(['*', '{']) => Some(json!({"path": text})),
        _ => None,
    }
}
