//! Whose tokens a provider accepts.

use serde_json::{json, Value};

use super::{minimal, parse};
use crate::ids::ProviderId;

const V2: &str = "https://login.microsoftonline.com/{tid}/v2.0";

/// A configuration whose provider has these fields in place of `issuer`.
fn with(fields: &Value) -> Value {
    let mut config = minimal();
    let provider = config["providers"]["p"].as_object_mut().unwrap();
    provider.remove("issuer");
    provider.extend(fields.as_object().unwrap().clone());
    config
}

#[test]
fn issuers_and_templates_add_up() {
    for (fields, exact, templates) in [
        (json!({"issuer": "a"}), &["a"][..], 0),
        (json!({"issuers": ["c", "b"], "issuer": "a"}), &["a", "b", "c"], 0),
        (json!({"issuers": "b"}), &["b"], 0),
        (json!({"issuer_template": V2, "tenants": "any"}), &[], 1),
        (json!({"issuerTemplate": [V2, "https://sts.windows.net/{tid}/"], "tenants": ["x", "y"]}), &[], 2),
        (json!({"issuer": "a", "issuers": ["b"], "issuer_template": V2, "tenants": "x"}), &["a", "b"], 1),
        (json!({"issuer": "", "issuers": [], "issuer_template": []}), &[], 0),
    ] {
        let config = with(&fields);
        let issuers = parse(config.to_string().as_bytes()).unwrap().providers[ProviderId::new(0)].issuers();
        assert_eq!(
            (issuers.exact(), issuers.templates().len()),
            (&exact.iter().map(|issuer| (*issuer).to_owned()).collect::<Vec<_>>()[..], templates),
            "{fields}"
        );
        assert_eq!(issuers.is_any(), exact.is_empty() && templates == 0, "{fields}");
    }
}

#[test]
fn tenants_belong_to_a_template() {
    let longest = "a".repeat(129);
    for (fields, expected) in [
        (json!({"issuers": ["a", ""]}), "issuers[1]: must not be empty"),
        (json!({"tenants": "any"}), "tenants: requires issuer_template"),
        (json!({"issuer": "a", "tenants": ["x"]}), "tenants: requires issuer_template"),
        (json!({"issuer_template": V2}), "tenants: required with issuer_template; a list of tenants, or any"),
        (json!({"issuer_template": V2, "tenants": []}), "tenants: must not be empty"),
        (json!({"issuer_template": V2, "tenants": ["any"]}), "tenants[0]: any stands alone, not in a list"),
        (
            json!({"issuer_template": V2, "tenants": ["x", "a/b"]}),
            "tenants[1]: must be 1 to 128 letters, digits, -, ., _ or ~, and not of dots alone",
        ),
        (
            json!({"issuer_template": V2, "tenants": [longest]}),
            "tenants[0]: must be 1 to 128 letters, digits, -, ., _ or ~, and not of dots alone",
        ),
        (json!({"issuer_template": V2, "tenants": {}}), "tenants: invalid type: an object, expected a string"),
        (
            json!({"issuer_template": [V2, "https://e"], "tenants": "any"}),
            "issuer_template[1]: must contain exactly one placeholder, such as {tid}",
        ),
        (
            json!({"issuer_template": "{tid}/v2.0", "tenants": "any"}),
            "issuer_template[0]: must not begin with the placeholder",
        ),
        (
            json!({"issuer_template": "https://e/{iss}", "tenants": "any"}),
            "issuer_template[0]: the placeholder must name the claim that holds the tenant",
        ),
    ] {
        let error = parse(with(&fields).to_string().as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("providers.p.{expected}"), "{fields}");
    }
}

#[test]
fn likely_mistakes_cause_warnings() {
    for (fields, expected) in [
        (json!({"issuer": V2}), &["issuer: a placeholder is not replaced here; use issuer_template"][..]),
        (json!({"issuers": ["a", V2]}), &["issuers: a placeholder is not replaced here; use issuer_template"]),
        (
            json!({"issuer_template": V2, "tenants": "any"}),
            &["tenants: any, and no audiences: tokens of every tenant for every application are accepted"],
        ),
        (json!({"issuer_template": V2, "tenants": "any", "audiences": ["api"]}), &[]),
        (json!({"issuer_template": V2, "tenants": ["x"]}), &[]),
    ] {
        let warnings = parse(with(&fields).to_string().as_bytes()).unwrap().warnings;
        let of_provider: Vec<_> = warnings.iter().filter_map(|warning| warning.strip_prefix("providers.p.")).collect();
        assert_eq!(of_provider, expected, "{fields}");
    }
}
