//! What istiod makes of an AuthorizationPolicy since Istio 1.21, for the fields that read a token: RBAC filters over the dynamic
//! metadata of `jwt_authn` (istio/istio `pilot/pkg/security/authz`: `model/generator.go`, `model/util.go`, `matcher/metadata.go`).

use serde_json::{json, Map, Value};

/// The RBAC filters of these policies: first those that deny, then those that allow.
pub fn filters(policies: &[Value]) -> Vec<Value> {
    let of = |action: &str| -> Map<String, Value> {
        let is_meant = |policy: &&Value| policy["spec"]["action"].as_str().unwrap_or("ALLOW") == action;
        policies.iter().filter(is_meant).flat_map(rules).collect()
    };
    let filter = |(action, policies): (&str, Map<String, Value>)| {
        json!({"name": "envoy.filters.http.rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": action, "policies": policies},
        }})
    };
    let policies = ["DENY", "ALLOW"].map(|action| (action, of(action)));
    policies.into_iter().filter(|(_, policies)| !policies.is_empty()).map(filter).collect()
}

fn rules(policy: &Value) -> impl Iterator<Item = (String, Value)> + '_ {
    policy["spec"]["rules"].as_array().unwrap().iter().enumerate().map(|(index, rule)| {
        let to = list(&rule["to"]).iter().map(|to| permission(&to["operation"])).collect();
        let name = format!("ns[n]-policy[{}]-rule[{index}]", policy["metadata"]["name"].as_str().unwrap());
        (name, json!({"permissions": any_unless_some(to), "principals": principals(rule)}))
    })
}

fn any_unless_some(mut some: Vec<Value>) -> Vec<Value> {
    if some.is_empty() {
        some.push(json!({"any": true}));
    }
    some
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().map(|item| item.as_str().unwrap()).collect()
}

fn permission(operation: &Value) -> Value {
    let paths: Vec<_> = strings(&operation["paths"]).into_iter().map(string_match).collect();
    assert!(!paths.is_empty() && operation.as_object().unwrap().len() == 1, "{operation}");
    let rules: Vec<_> = paths.into_iter().map(|path| json!({"url_path": {"path": path}})).collect();
    json!({"and_rules": {"rules": [{"or_rules": {"rules": rules}}]}})
}

/// One principal for each source; all conditions hold for each.
fn principals(rule: &Value) -> Vec<Value> {
    let conditions: Vec<Value> = list(&rule["when"]).iter().flat_map(condition).collect();
    let of_field = |(field, values): (&String, &Value)| match field.as_str() {
        "requestPrincipals" => request_principals(&strings(values)),
        "notRequestPrincipals" => not(&request_principals(&strings(values))),
        _ => panic!("{field}"),
    };
    let mut sources: Vec<Vec<Value>> = list(&rule["from"])
        .iter()
        .map(|from| from["source"].as_object().unwrap().iter().map(of_field).collect())
        .collect();
    if sources.is_empty() {
        sources.push(Vec::new());
    }
    let all = |source: Vec<Value>| json!({"and_ids": {"ids": any_unless_some([source, conditions.clone()].concat())}});
    sources.into_iter().map(all).collect()
}

fn condition(condition: &Value) -> Vec<Value> {
    let key = condition["key"].as_str().unwrap();
    let matches = |values: &[&str]| match key {
        "request.auth.principal" => request_principals(values),
        "request.auth.audiences" => claim(&["aud"], values),
        "request.auth.presenter" => claim(&["azp"], values),
        _ => {
            let path = key.strip_prefix("request.auth.claims[").unwrap().strip_suffix(']').unwrap();
            claim(&path.split("][").collect::<Vec<_>>(), values)
        }
    };
    let (values, not_values) = (strings(&condition["values"]), strings(&condition["notValues"]));
    let mut ids = Vec::new();
    if !values.is_empty() {
        ids.push(matches(&values));
    }
    if !not_values.is_empty() {
        ids.push(not(&matches(&not_values)));
    }
    ids
}

fn not(id: &Value) -> Value {
    json!({ "not_id": id })
}

fn metadata(path: &[&str], value: &Value) -> Value {
    let path: Vec<_> = ["payload"].iter().chain(path).map(|key| json!({ "key": key })).collect();
    json!({"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}})
}

/// A claim that is one of these values, or a list that contains one.
fn claim(path: &[&str], values: &[&str]) -> Value {
    let values: Vec<_> = values.iter().map(|value| json!({"string_match": string_match(value)})).collect();
    let value = match &*values {
        [value] => value.clone(),
        values => json!({"or_match": {"value_matchers": values}}),
    };
    metadata(path, &json!({"or_match": {"value_matchers": [{"list_match": {"one_of": value}}, value]}}))
}

fn string_match(pattern: &str) -> Value {
    match (pattern, pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        ("*", ..) => json!({"safe_regex": {"regex": ".+"}}),
        (_, Some(suffix), _) => json!({ "suffix": suffix }),
        (_, None, Some(prefix)) => json!({ "prefix": prefix }),
        (exact, None, None) => json!({ "exact": exact }),
    }
}

/// `<iss>/<sub>`, split at the last slash. A star may stand at one end.
fn request_principals(values: &[&str]) -> Value {
    let of = |value: &&str| {
        let (iss, sub) = match (*value, value.rsplit_once('/')) {
            ("*", _) => ("*", "*"),
            (_, Some((iss, sub))) => (iss, sub),
            (pattern, None) if pattern.starts_with('*') => ("*", pattern),
            (pattern, None) if pattern.ends_with('*') => (pattern, "*"),
            (iss, None) => (iss, ""),
        };
        let part = |claim, pattern| metadata(&[claim], &json!({"string_match": string_match(pattern)}));
        json!({"and_ids": {"ids": [part("iss", iss), part("sub", sub)]}})
    };
    match values {
        [value] => of(value),
        values => json!({"or_ids": {"ids": values.iter().map(of).collect::<Vec<_>>()}}),
    }
}

/// As the test data of istiod (`builder/testdata/http/extended-allow-full-rule-out.yaml`) has these patterns.
#[test]
fn patterns_are_rendered_as_istiod_renders_them() {
    let iss_and_sub = |value: &str| {
        let rendered = request_principals(&[value]);
        [0, 1].map(|index| rendered["and_ids"]["ids"][index]["metadata"]["value"]["string_match"].clone())
    };
    let any = json!({"safe_regex": {"regex": ".+"}});
    assert_eq!(iss_and_sub("requestPrincipals"), [json!({"exact": "requestPrincipals"}), json!({"exact": ""})]);
    assert_eq!(iss_and_sub("principals-*"), [json!({"prefix": "principals-"}), any.clone()]);
    assert_eq!(iss_and_sub("*-principals"), [any.clone(), json!({"suffix": "-principals"})]);
    assert_eq!(iss_and_sub("*"), [any.clone(), any.clone()]);
    assert_eq!(iss_and_sub("https://example.com/*"), [json!({"exact": "https://example.com"}), any]);
    let aud = claim(&["aud"], &["a", "b-*"]);
    let either = json!({"or_match": {"value_matchers": [
        {"string_match": {"exact": "a"}}, {"string_match": {"prefix": "b-"}},
    ]}});
    let expected = json!({"or_match": {"value_matchers": [{"list_match": {"one_of": either}}, either]}});
    assert_eq!(aud["metadata"]["value"], expected);
    assert_eq!(aud["metadata"]["path"], json!([{"key": "payload"}, {"key": "aud"}]));
}
