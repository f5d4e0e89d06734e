//! The headers that carry claims.

use serde_json::{json, Value};

use super::{minimal, parse, rejection, rejection_with, ProviderId};

#[test]
fn a_header_names_its_claim_in_exactly_one_way() {
    let rejection = |more: Value| {
        let mut header = json!({"header_name": "x-roles"});
        more.as_object().unwrap().iter().for_each(|(field, value)| header[field] = value.clone());
        rejection_with("/providers/p/claim_to_headers", json!([header]))
    };
    let found =
        |what| format!("providers.p.claim_to_headers[0]: expected exactly one of claim_name, claim_path; found {what}");
    assert_eq!(rejection(json!({})), found("none"));
    assert_eq!(rejection(json!({"claim_name": "", "claim_path": []})), found("none"));
    let both = json!({"claim_name": "roles", "claim_path": [{"key": "roles"}]});
    assert_eq!(rejection(both), found("claim_name, claim_path"));
    let empty = "providers.p.claim_to_headers[0].claim_path[1].key: must not be empty";
    assert_eq!(rejection(json!({"claim_path": [{"key": "a"}, {"key": ""}]})), empty);
}

/// Policies believe the value, so nothing else may be in the header.
#[test]
fn the_header_of_the_value_carries_nothing_else() {
    let with = |fields: Value| {
        let mut config = minimal();
        let mut provider = config["providers"]["p"].clone();
        fields.as_object().unwrap().iter().for_each(|(field, value)| provider[field] = value.clone());
        config["providers"]["p"]["payload_value_header"] = json!("X-Value");
        config["providers"]["q"] = provider;
        config
    };
    let plan = parse(with(json!({"payload_value_header": "x-value"})).to_string().as_bytes()).unwrap();
    assert!(plan.value_headers.iter().eq(["x-value"]) && plan.own_headers == plan.value_headers);
    for provider in [0, 1].map(ProviderId::new) {
        assert_eq!(plan.providers[provider].policies[0].forwarded_value, Some(Vec::new()));
    }
    let clash = "providers.p.payload_value_header: \"x-value\" is also set by another field";
    assert_eq!(rejection(&with(json!({"forward_payload_header": "x-VALUE"}))), clash);
    let claim = json!([{"header_name": "X-Value", "claim_name": "sub"}]);
    assert_eq!(rejection(&with(json!({ "claim_to_headers": claim }))), clash);
    let mut status = with(json!({}));
    status["rules"][0]["requires"] =
        json!({"extract_only_without_validation": {"verification_status_header": "x-value"}});
    assert_eq!(rejection(&status), clash);
    for (field, value) in [("payload_value_header", "a b"), ("payload_value_header", "Host")] {
        let error = rejection_with(&format!("/providers/p/{field}"), json!(value));
        assert!(error.starts_with("providers.p.payload_value_header: "), "{error}");
    }
    let mut source = minimal();
    source["providers"]["p"]["payload_value_header"] = json!("x-value");
    source["providers"]["p"]["from_headers"] = json!([{"name": "X-Value"}]);
    assert!(rejection(&source).starts_with("providers.p.from_headers[0].name: \"x-value\" is also set by"));
}
