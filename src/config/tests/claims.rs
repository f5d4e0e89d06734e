//! The claims that headers carry.

use serde_json::{json, Value};

use super::rejection_with;

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
