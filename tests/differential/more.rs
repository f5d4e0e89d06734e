//! Cases with a different configuration: answers without bodies, keys from an issuer, routes chosen by claims.

use std::{collections::BTreeSet, time::Duration};

use jwks_gate_issuer::{Alg, Issuer, Options, Rotation};
use jwks_gate_testbed::{
    eventually,
    http::{concurrently, Request, Response},
    Envoy,
};
use serde_json::{json, Value};

use crate::pair::{Pair, Seen};

fn issuer() -> Issuer {
    Issuer::start(Options { alg: Alg::Es256, max_age: Some(600), ..Options::default() }).unwrap()
}

fn compare(pair: &Pair, name: &str, request: &Request) -> Seen {
    pair.compare(request).unwrap_or_else(|both| panic!("{name}: {both:#?}"))
}

/// A configuration in camelCase, with keys from an issuer and with retries.
#[test]
fn a_camel_case_configuration_with_keys_from_an_issuer() {
    let issuer = issuer();
    let block = json!({
        "providers": {"p": {
            "issuer": issuer.issuer(),
            "audiences": ["api"],
            "remoteJwks": {
                "httpUri": {"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s"},
                "cacheDuration": "300s",
                "asyncFetch": {"fastListener": false, "failedRefetchDuration": "2s"},
                "retryPolicy": {
                    "numRetries": 2, "retryBackOff": {"baseInterval": "0.01s", "maxInterval": "3s"}, "retryOn": "5xx",
                },
            },
            "fromHeaders": [{"name": "Authorization", "valuePrefix": "Bearer "}],
            "forwardPayloadHeader": "x-payload",
            "padForwardPayloadHeader": true,
            "jwtCacheConfig": {"jwtCacheSize": 10, "jwtMaxTokenSize": 2000},
            "claimToHeaders": [{"headerName": "x-sub", "claimName": "sub"}],
        }},
        "rules": [
            {"match": {"safeRegex": {"googleRe2": {}, "regex": "/v[0-9]+/.*"}}, "requires": {"providerName": "p"}},
            {"match": {"pathSeparatedPrefix": "/one"}, "requires": {"requiresAny": {"requirements": [
                {"providerAndAudiences": {"providerName": "p", "audiences": ["other", "api"]}},
                {"allowMissing": {}},
            ]}}},
        ],
        "stripFailureResponse": true,
        "bypassCorsPreflight": true,
        "statPrefix": "edge",
    });
    let pair = Pair::start_with(&block, &[("issuer", issuer.addr())], |bootstrap| bootstrap);
    pair.publish(issuer.jwks());
    let good = issuer.token();
    let ours = |name: &str| pair.ours.stat(&format!("wasmcustom.jwks_gate.edge.{name}"));
    assert!(eventually(Duration::from_secs(5), || ours("jwks_fetch_success") == 1));
    for (name, request, status) in [
        ("good", Request::get("/v1/x").bearer(&good), 200),
        ("again, from the cache", Request::get("/v1/x").bearer(&good), 200),
        ("none", Request::get("/v1/x"), 401),
        ("bad", Request::get("/v1/x").bearer("x.y.z"), 401),
        ("no rule", Request::get("/v/x"), 200),
        ("may be missing", Request::get("/one/x"), 200),
        ("may not be bad", Request::get("/one/x").bearer("x"), 401),
        ("other audiences", Request::get("/one").bearer(&good), 200),
        (
            "preflight",
            Request::new("OPTIONS", "/v1/x").header("origin", "a").header("access-control-request-method", "b"),
            200,
        ),
    ] {
        let seen = compare(&pair, name, &request);
        assert_eq!((seen.status, seen.body.as_str(), seen.challenge), (status, "", None), "{name}");
    }
    assert!(eventually(Duration::from_secs(3), || (ours("denied"), ours("cors_preflight_bypassed")) == (3, 1)));
}

/// After a rotation, `jwt_authn` denies the new key's tokens until its cached JWKS expires. jwks-gate allows them.
#[test]
fn after_a_rotation_only_jwks_gate_accepts_the_new_key() {
    let issuer = issuer();
    let block = json!({
        "providers": {"p": {"issuer": issuer.issuer(), "remote_jwks": {
            "http_uri": {"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s"}, "cache_duration": "300s",
        }}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    });
    let pair = Pair::start_with(&block, &[("issuer", issuer.addr())], |bootstrap| bootstrap);
    let statuses = |envoy: &Envoy| {
        let request = Request::get("/").bearer(&issuer.token());
        let responses = concurrently(envoy.addr(), 20, |_| request.clone());
        let responses: Vec<_> = responses.into_iter().map(Result::unwrap).collect();
        if std::ptr::eq(envoy, &pair.ours) {
            pair.publish(issuer.jwks());
            responses.iter().for_each(|response| pair.explain(&request, response));
        }
        responses.iter().map(|response| response.status).collect::<BTreeSet<_>>()
    };
    // Each `jwt_authn` worker has a separate copy of the keys.
    assert_eq!([&pair.native, &pair.ours].map(statuses), [[200].into(), [200].into()]);
    issuer.rotate(Rotation::Hard);
    assert_eq!([&pair.native, &pair.ours].map(statuses), [[401].into(), [200].into()]);
}

fn routed(envoy: &Envoy, request: &Request) -> Response {
    jwks_gate_testbed::http::send(envoy.addr(), request).unwrap()
}

/// A claim chooses the route. A header from the client never does.
#[test]
fn a_claim_can_change_the_route() {
    let issuer = issuer();
    for clear in [false, true] {
        let block = json!({
            "providers": {"p": {
                "issuer": issuer.issuer(),
                "remote_jwks": {"http_uri": {"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s"}},
                "claim_to_headers": [{"header_name": "x-sub", "claim_name": "sub"}],
                "clear_route_cache": clear,
            }},
            "rules": [{"match": {"prefix": "/api"}, "requires": {"provider_name": "p"}}],
        });
        let routes = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/", "headers": [{"name": "x-sub", "string_match": {"exact": issuer.claims()["sub"]}}]},
             "direct_response": {"status": 200, "body": {"inline_string": "for alice"}}},
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "for all"}}},
        ]}]});
        let pair = Pair::start_with(&block, &[("issuer", issuer.addr())], |bootstrap| {
            bootstrap.connection_manager_option("route_config", routes.clone())
        });
        pair.publish(issuer.jwks());
        for path in ["/api", "/other"] {
            let request = Request::get(path).bearer(&issuer.token());
            let answers = [&pair.native, &pair.ours].map(|envoy| routed(envoy, &request));
            pair.explain(&request, &answers[1]);
            let [native, ours] = answers.map(|answer| (answer.status, answer.text()));
            let expected = |is_rerouted| (200, if is_rerouted { "for alice" } else { "for all" }.to_owned());
            assert_eq!(native, expected(clear && path == "/api"), "{path} {clear}");
            // A documented difference: the host clears the route cache when a Wasm filter changes headers.
            assert_eq!(ours, expected(path == "/api"), "{path} {clear}");
        }
    }
}

/// A route can disable the filter in `typed_per_filter_config`.
#[test]
fn a_route_can_disable_the_filter() {
    let issuer = issuer();
    let block = json!({
        "providers": {"p": {
            "issuer": issuer.issuer(),
            "remote_jwks": {"http_uri": {"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s"}},
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    });
    let disabled = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true});
    let routes: Value = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
        {"match": {"prefix": "/open"}, "route": {"cluster": "upstream"},
         "typed_per_filter_config": {"jwt_authn": disabled, "jwks-gate": disabled}},
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
    ]}]});
    let pair = Pair::start_with(&block, &[("issuer", issuer.addr())], |bootstrap| {
        bootstrap.connection_manager_option("route_config", routes.clone())
    });
    pair.publish(issuer.jwks());
    // Only Envoy knows that the route has no filter: the rule of the configuration denies the request.
    assert_eq!(pair.compare_unexplained(&Request::get("/open")).unwrap().status, 200);
    assert_eq!(compare(&pair, "closed", &Request::get("/x")).status, 401);
}

/// A CONNECT has no path, so only an empty prefix and `connect_matcher` match.
#[test]
fn a_connect_without_a_path_falls_under_the_same_rules() {
    let issuer = issuer();
    let matchers = [
        (json!({"prefix": "/"}), false),
        (json!({"prefix": ""}), true),
        (json!({"path": "/"}), false),
        (json!({"path": "*"}), false),
        (json!({"path_separated_prefix": "/a"}), false),
        (json!({"safe_regex": {"regex": "/.*"}}), false),
        (json!({"safe_regex": {"regex": ".*"}}), false),
        (json!({"connect_matcher": {}}), true),
        (json!({"prefix": "/", "query_parameters": [{"name": "q", "present_match": false}]}), false),
        (json!({"prefix": "", "query_parameters": [{"name": "q", "present_match": false}]}), true),
        (json!({"prefix": "", "headers": [{"name": ":path", "present_match": true}]}), false),
    ];
    let rules = matchers.iter().enumerate().map(|(index, (matcher, _))| {
        let mut matcher = matcher.clone();
        let mut headers = matcher["headers"].as_array().cloned().unwrap_or_default();
        headers.push(json!({"name": "x-rule", "string_match": {"exact": index.to_string()}}));
        matcher["headers"] = json!(headers);
        json!({"match": matcher, "requires": {"provider_name": "p"}})
    });
    let block = json!({
        "providers": {"p": {
            "issuer": issuer.issuer(),
            "remote_jwks": {"http_uri": {"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s"}},
        }},
        "rules": rules.collect::<Vec<_>>(),
    });
    let reached = json!({"status": 418, "body": {"inline_string": "reached"}});
    let routes = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
        {"match": {"connect_matcher": {}}, "direct_response": reached},
        {"match": {"prefix": "/"}, "direct_response": reached},
    ]}]});
    let pair = Pair::start_with(&block, &[("issuer", issuer.addr())], |bootstrap| {
        bootstrap
            .connection_manager_option("route_config", routes.clone())
            .connection_manager_option("upgrade_configs", json!([{"upgrade_type": "CONNECT"}]))
    });
    pair.publish(issuer.jwks());
    for (index, (matcher, is_match)) in matchers.iter().enumerate() {
        let request = Request::new("CONNECT", "differential.test:443").header("x-rule", index.to_string());
        let expected = if *is_match { 401 } else { 418 };
        let name = matcher.to_string();
        assert_eq!(compare(&pair, &name, &request).status, expected, "{name}");
        assert_eq!(compare(&pair, &name, &request.bearer(&issuer.token())).status, 418, "{name}");
    }
}
