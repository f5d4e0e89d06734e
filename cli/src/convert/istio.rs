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
    let targets = spec.get("target_refs").map(Node::to_json);
    let mut converted = Converted {
        selector: spec.get("selector").map(Node::to_json),
        target_refs: targets.or_else(|| Some(json!([spec.get("target_ref")?.to_json()]))),
        name: resource.text_at(&["metadata", "name"]).map(str::to_owned),
        namespace: resource.text_at(&["metadata", "namespace"]).map(str::to_owned),
        ..Converted::default()
    };
    // Istiod sorts the rules by issuer: the first provider that verifies a token wins.
    let mut jwt_rules: Vec<_> = spec.get("jwt_rules").map(Node::items).unwrap_or_default().iter().collect();
    jwt_rules.sort_by_key(|rule| rule.text_at(&["issuer"]).unwrap_or_default());
    let (mut providers, mut names) = (Map::new(), Vec::new());
    for (index, rule) in jwt_rules.into_iter().enumerate() {
        let name = format!("rule-{index}");
        providers.insert(name.clone(), provider(rule, &name, &mut converted));
        names.push(name);
    }
    let mut rules = Vec::new();
    let applies = |policy: &&&Node| is_for(policy, resource);
    let (here, elsewhere): (Vec<_>, Vec<_>) = policies.iter().partition(applies);
    for policy in here {
        rules.extend(required(policy, &principal(&names), &mut converted));
    }
    for policy in elsewhere {
        let name = policy.text_at(&["metadata", "name"]).unwrap_or_default();
        converted.note(format!(
            "AuthorizationPolicy {name:?} is not carried over: it is for another namespace or other workloads than the \
             RequestAuthentication"
        ));
    }
    // Istio's JWT filter lets CORS preflights pass, the policies do not.
    match rules.is_empty() {
        true => converted.config.insert("bypass_cors_preflight".to_owned(), Value::Bool(true)),
        false => {
            rules.push(preflight());
            None
        }
    };
    rules.push(json!({"match": {"prefix": "/"}, "requires": optional(&names)}));
    converted.config.insert("providers".to_owned(), Value::Object(providers));
    converted.config.insert("rules".to_owned(), Value::Array(rules));
    Some(converted)
}

/// A token must be good; a request without a token passes. This is the requirement that istiod writes.
fn optional(names: &[String]) -> Value {
    let by_name = |name: &String| json!({"provider_name": name});
    let or_missing = |name: &String| any_of(vec![by_name(name), json!({"allow_missing": {}})]);
    match names {
        [only] => or_missing(only),
        _ => {
            let all: Vec<_> = names.iter().map(or_missing).collect();
            let all = json!({"requires_all": {"requirements": all}});
            any_of(names.iter().map(by_name).chain([all]).collect())
        }
    }
}

/// A token that gives the request a principal: without `sub`, Istio knows none.
fn principal(names: &[String]) -> Value {
    let has_subject = json!([{"claim": "sub", "matches": {"safe_regex": {"regex": "(?s).+"}}}]);
    any_of(names.iter().map(|name| json!({"provider_name": name, "claims": has_subject})).collect())
}

/// A rule that lets CORS preflights pass.
fn preflight() -> Value {
    let any = json!({"safe_regex": {"regex": ".+"}});
    let header = |name: &str| json!({"name": name, "string_match": any});
    let method = json!({"name": ":method", "string_match": {"exact": "OPTIONS"}});
    json!({"match": {"prefix": "/", "headers": [method, header("origin"), header("access-control-request-method")]}})
}

/// Whether a policy is for the workloads of a RequestAuthentication.
fn is_for(policy: &Node, resource: &Node) -> bool {
    // A resource without a namespace can be in any.
    let namespace = |node: &Node| node.text_at(&["metadata", "namespace"]).map(str::to_owned);
    let is_near = match (namespace(policy), namespace(resource)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let part = |node: &Node, field: &str| node.at(&["spec", field]).map(Node::to_json);
    let is_same = |field: &str| part(policy, field).is_none_or(|value| part(resource, field) == Some(value));
    is_near && ["selector", "target_ref", "target_refs"].into_iter().all(is_same)
}

fn provider(rule: &Node, name: &str, converted: &mut Converted) -> Value {
    if rule.get("space_delimited_claims").is_some() {
        converted.note(format!("providers.{name}: spaceDelimitedClaims is not carried over (docs/istio.md)"));
    }
    let local = rule.text_at(&["jwks"]).map(|jwks| json!({"inline_string": jwks}));
    let remote = local.is_none().then(|| remote(rule, name, converted));
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

/// Where the keys come from: `jwksUri`, or what the issuer's metadata says, as istiod finds the keys.
fn remote(rule: &Node, name: &str, converted: &mut Converted) -> Value {
    let timeout = rule.text_at(&["timeout"]).unwrap_or("5s");
    let (source, uri) = match rule.text_at(&["jwks_uri"]) {
        Some(uri) => ("http_uri", uri.to_owned()),
        None => {
            let issuer = rule.text_at(&["issuer"]).unwrap_or_default().trim_end_matches('/');
            converted.note(format!(
                "providers.{name}.remote_jwks.discovery: set jwks_host and jwks_cluster if the issuer's jwks_uri has another host"
            ));
            ("discovery", format!("{issuer}/.well-known/openid-configuration"))
        }
    };
    let cluster = cluster_of(&uri);
    converted.note(format!(
        "providers.{name}.remote_jwks.{source}.cluster: {cluster:?} is the cluster of a ServiceEntry for this host \
         (envoy/istio/serviceentry.yaml)"
    ));
    let source = (source.to_owned(), json!({"uri": uri, "cluster": cluster, "timeout": timeout}));
    Value::Object(Map::from_iter([source]))
}

/// The cluster of a Service or ServiceEntry for this URI.
fn cluster_of(uri: &str) -> String {
    let authority = host(uri);
    let default = if uri.starts_with("http://") { "80" } else { "443" };
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("outbound|{port}||{host}")
        }
        _ => format!("outbound|{default}||{authority}"),
    }
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
