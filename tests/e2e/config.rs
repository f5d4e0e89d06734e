//! Configurations that Envoy must reject, and the forms in which Envoy passes a configuration to the filter.

use serde_json::{json, Value};

use crate::setup::Plan;

#[test]
fn an_invalid_configuration_is_rejected_and_the_field_named() {
    let uri = "/providers/p/remote_jwks/http_uri";
    let rotation = "/providers/p/remote_jwks/rotation";
    let cases = [
        (uri, "uri", json!("ftp://h/"), "providers.p.remote_jwks.http_uri.uri: must begin with http"),
        (uri, "cluster", json!(""), "providers.p.remote_jwks.http_uri.cluster: must name an Envoy cluster"),
        (uri, "timeout", json!("0s"), "providers.p.remote_jwks.http_uri.timeout: must be from"),
        (uri, "timeout", json!("5 minutes"), "providers.p.remote_jwks.http_uri.timeout: must be a duration"),
        (uri, "clutser", json!("c"), "providers.p.remote_jwks.http_uri.clutser: unknown field"),
        (rotation, "max_stale", json!("forever"), "providers.p.remote_jwks.rotation.max_stale: must be a duration"),
        (rotation, "retired_key_grace", json!("48h"), "providers.p.remote_jwks.rotation.retired_key_grace: must be"),
        (rotation, "min_ttl", json!("100000s"), "providers.p.remote_jwks.rotation.min_ttl: must not be longer than"),
        (
            "/providers/p",
            "local_jwks",
            json!({"inline_string": "{}"}),
            "providers.p: expected exactly one of remote_jwks, local_jwks; found remote_jwks, local_jwks",
        ),
        (
            "/providers/p",
            "remote_jwks",
            Value::Null,
            "providers.p: expected exactly one of remote_jwks, local_jwks; found none",
        ),
        ("/providers/p", "audiences", json!([""]), "providers.p.audiences[0]: must not be empty"),
        (
            "/rules/0",
            "requires",
            json!({"provider_name": "q"}),
            "rules[0].requires.provider_name: unknown provider \"q\"",
        ),
        ("/rules/0", "match", json!({}), "rules[0].match: expected exactly one of prefix, path"),
        ("", "rulez", json!([]), "rulez: unknown field"),
    ];
    for (parent, field, value, message) in cases {
        let mut plan = Plan::new();
        plan.config.pointer_mut(parent).unwrap()[field] = value;
        let log = plan.rejected();
        assert!(log.contains(&format!("configuration rejected: {message}")), "{message}\n{log}");
    }
}

#[test]
fn a_protobuf_struct_is_accepted() {
    let mut plan = Plan::new();
    plan = plan.top("max_parked_requests", 100);
    let site = plan
        .bootstrap(|bootstrap| {
            let json = bootstrap.plugin_configuration();
            let value: Value = serde_json::from_str(&json).unwrap();
            bootstrap.plugin_option(
                "configuration",
                json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": value}),
            )
        })
        .start_warm();
    site.assert_healthy();
}
