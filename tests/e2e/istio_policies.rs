//! Each field of an AuthorizationPolicy that reads a token gets the same answers behind jwks-gate as behind `jwt_authn`.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jwks_gate_issuer::{Alg, Echo, SigningKey};
use jwks_gate_testbed::{
    http::{self, Request},
    wasm_filter, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::{
    istio_principals::{claim, from, header_to_metadata, policy, when, HEADER},
    istio_rbac,
};

/// A policy for each path.
fn policies() -> Vec<(String, Value)> {
    let allow = [
        ("exact", from("requestPrincipals", &["https://a.test/alice"])),
        ("any", from("requestPrincipals", &["*"])),
        ("two", from("requestPrincipals", &["https://a.test/bob", "https://b.test/realm/alice"])),
        ("issuer", from("requestPrincipals", &["https://a.test/*"])),
        ("subject-prefix", from("requestPrincipals", &["https://a.test/al*"])),
        ("subject", from("requestPrincipals", &["*/alice"])),
        ("issuer-suffix", from("requestPrincipals", &["*/realm/alice"])),
        ("suffix", from("requestPrincipals", &["*ice"])),
        ("not-bob", from("notRequestPrincipals", &["*/bob"])),
        ("principal", when("request.auth.principal", "values", &["https://a.test/alice"])),
        ("audience", when("request.auth.audiences", "values", &["api", "other-*"])),
        ("presenter", when("request.auth.presenter", "values", &["app"])),
        ("groups", claim("[groups]", &["admins", "staff-*"])),
        ("groups-any", claim("[groups]", &["*"])),
        ("not-banned", when("request.auth.claims[groups]", "notValues", &["banned"])),
        ("roles", claim("[realm_access][roles]", &["writer"])),
        ("nested", claim("[a][b][c]", &["x*"])),
        ("scope", claim("[scope]", &["write"])),
        ("scope-any", claim("[scope]", &["*"])),
        ("permission", claim("[permission]", &["write"])),
        ("dotted", claim("[https://x.test/roles]", &["r"])),
        ("boolean", claim("[email_verified]", &["true"])),
        ("number", claim("[level]", &["7"])),
    ];
    let deny = [
        ("deny-nobody", from("notRequestPrincipals", &["*"])),
        ("deny-bob", from("requestPrincipals", &["*/bob"])),
        ("deny-banned", claim("[groups]", &["banned"])),
        ("deny-other-audience", when("request.auth.audiences", "notValues", &["api"])),
    ];
    let mut policies: Vec<_> =
        allow.into_iter().map(|(name, rule)| (name.to_owned(), policy("ALLOW", name, rule))).collect();
    for (name, rule) in deny {
        policies.push((name.to_owned(), policy("DENY", name, rule)));
        policies.push((name.to_owned(), policy("ALLOW", name, json!({}))));
    }
    policies
}

/// What Istio makes of a RequestAuthentication for two issuers (`pilot/pkg/security/authn/policy_applier.go`).
fn request_authentication(keys: [&SigningKey; 2]) -> Value {
    let provider = |issuer: &str, key: &SigningKey| {
        json!({
            "issuer": issuer,
            "local_jwks": {"inline_string": json!({"keys": [key.public_jwk()]}).to_string()},
            "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "scope"]},
        })
    };
    let [a, b] = ["origins-0", "origins-1"].map(|name| json!({ "provider_name": name }));
    let optional = |one: &Value| json!({"requires_any": {"requirements": [one, {"allow_missing": {}}]}});
    let both = json!({"requires_all": {"requirements": [optional(&a), optional(&b)]}});
    json!({
        "providers": {"origins-0": provider(A, keys[0]), "origins-1": provider(B, keys[1])},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [a, b, both]}}}],
        "bypass_cors_preflight": true,
    })
}

const A: &str = "https://a.test";
const B: &str = "https://b.test/realm";

/// Two Envoys with the same policies, behind `jwt_authn` and behind jwks-gate.
struct Pair {
    envoys: [Envoy; 2],
    _echo: Echo,
}

impl Pair {
    fn start(config: &Value, policies: &[Value]) -> Self {
        let echo = Echo::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let [mut native, ours] = [("payload_in_metadata", "payload"), ("payload_value_header", HEADER)].map(|field| {
            let mut config = config.clone();
            for provider in config["providers"].as_object_mut().unwrap().values_mut() {
                provider[field.0] = json!(field.1);
            }
            config
        });
        native["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
        let native = vec![json!({"name": "jwt_authn", "typed_config": native})];
        let envoys = [native, vec![wasm_filter(&ours), header_to_metadata()]].map(|before| {
            let filters = before.into_iter().chain(istio_rbac::filters(policies)).collect();
            Envoy::start(&Bootstrap::with_filters(echo.addr(), filters).yaml(), EnvoyOptions::default()).unwrap()
        });
        Self { envoys, _echo: echo }
    }

    /// The answers behind `jwt_authn` and behind jwks-gate.
    fn statuses(&self, request: &Request) -> [u16; 2] {
        self.envoys.each_ref().map(|envoy| {
            let response = http::send(envoy.addr(), request).unwrap();
            if response.status == 200 {
                assert!(response.json()["headers"][HEADER].is_null(), "{request:?}");
            }
            response.status
        })
    }
}

/// Requests with every kind of claims, as headers and query.
fn requests(a: &SigningKey, b: &SigningKey) -> Vec<(String, Request)> {
    let mint = |key: &SigningKey, iss: &str, sub: &str, more: Value| {
        let mut claims = json!({"iss": iss, "sub": sub, "exp": 4_000_000_000_u64, "aud": "api"});
        more.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        key.mint(&claims)
    };
    let alice = |more: Value| mint(a, A, "alice", more);
    let mut requests = vec![
        ("no token".to_owned(), Request::get("")),
        ("alice".to_owned(), Request::get("").bearer(&alice(json!({})))),
        ("bob".to_owned(), Request::get("").bearer(&mint(a, A, "bob", json!({})))),
        ("alice of b".to_owned(), Request::get("").bearer(&mint(b, B, "alice", json!({})))),
        ("b's key for a".to_owned(), Request::get("").bearer(&mint(b, A, "alice", json!({})))),
        ("expired".to_owned(), Request::get("").bearer(&alice(json!({"exp": 1})))),
        ("empty sub".to_owned(), Request::get("").bearer(&alice(json!({"sub": ""})))),
    ];
    let no_sub = json!({"iss": A, "exp": 4_000_000_000_u64});
    requests.push(("no sub".to_owned(), Request::get("").bearer(&a.mint(&no_sub))));
    for (claim, values) in [
        ("aud", json!(["api", ["api", "x"], ["x"], "other-api", [], ["x", "other-"]])),
        ("azp", json!(["app", ["app"], "application", 7])),
        ("groups", json!(["admins", ["admins"], ["x", "staff-eu"], "banned", ["admins", "banned"], [["admins"]]])),
        ("groups", json!([[], {}, "", [""], null, 7, {"admins": "admins"}, ["Admins"], "é\u{0}", [null, "admins"]])),
        (
            "realm_access",
            json!([{"roles": ["reader", "writer"]}, {"roles": "writer"}, {"roles": {}}, ["writer"], "writer"]),
        ),
        (
            "a",
            json!([{"b": {"c": "xyz"}}, {"b": {"c": ["y", "x"]}}, {"b.c": "x"}, {"b": [{"c": "x"}]}, {"b": {"c": null}}]),
        ),
        ("scope", json!(["read write", "write", "writer", "", "  ", "read\twrite", ["write"], ["read write"], 7])),
        ("permission", json!(["read write", "write", ["write"]])),
        ("https://x.test/roles", json!(["r", ["r"], {"r": "r"}])),
        ("email_verified", json!([true, false, "true", "false"])),
        ("level", json!([7, 7.0, "7", 1e300, 9_007_199_254_740_993_u64, -0.0])),
    ] {
        for value in values.as_array().unwrap() {
            let token = alice(json!({ claim: value }));
            requests.push((format!("{claim} {value}"), Request::get("").bearer(&token)));
        }
    }
    // Of two tokens of one issuer, the payload of the last one counts.
    let other = mint(a, A, "bob", json!({"groups": ["banned"]}));
    for (name, header, param) in
        [("alice and bob", &alice(json!({})), &other), ("bob and alice", &other, &alice(json!({})))]
    {
        requests.push((name.to_owned(), Request::get(&format!("?access_token={param}")).bearer(header)));
    }
    requests
}

#[test]
fn policies_decide_as_behind_jwt_authn() {
    let [a, b] = ["a", "b"].map(|kid| SigningKey::generate(Alg::Es256, kid));
    let (paths, policies): (Vec<_>, Vec<_>) = policies().into_iter().unzip();
    let pair = Pair::start(&request_authentication([&a, &b]), &policies);
    let (mut counts, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut answers = BTreeMap::new();
    for (name, request) in requests(&a, &b) {
        for path in &paths {
            let request = Request { path: format!("/{path}/{}", request.path), ..request.clone() };
            let [native, ours] = pair.statuses(&request);
            if native != ours {
                wrong.push(format!("{name}, {path}: {native}, {ours}"));
            }
            *counts.entry(ours).or_insert(0) += 1;
            answers.insert((name.clone(), path.clone()), ours);
        }
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong.join("\n"));
    assert!(counts[&200] > 300 && counts[&403] > 300 && counts[&401] > 40, "{counts:?}");
    // The comparison compares what the policies mean.
    for (name, path, status) in [
        ("no token", "any", 403),
        ("no token", "not-bob", 200),
        ("no token", "deny-nobody", 403),
        ("no token", "deny-bob", 200),
        ("alice", "exact", 200),
        ("alice", "deny-nobody", 200),
        ("bob", "exact", 403),
        ("bob", "deny-bob", 403),
        ("alice of b", "exact", 403),
        ("alice of b", "issuer-suffix", 200),
        ("b's key for a", "any", 401),
        ("no sub", "any", 403),
        (r#"groups ["x","staff-eu"]"#, "groups", 200),
        (r#"groups ["Admins"]"#, "groups", 403),
        (r#"groups ["admins","banned"]"#, "deny-banned", 403),
        (r#"realm_access {"roles":["reader","writer"]}"#, "roles", 200),
        (r#"a {"b":{"c":"xyz"}}"#, "nested", 200),
        (r#"a {"b.c":"x"}"#, "nested", 403),
        (r#"scope "read write""#, "scope", 200),
        (r#"scope "writer""#, "scope", 403),
        ("email_verified true", "boolean", 403),
        (r#"email_verified "true""#, "boolean", 200),
    ] {
        assert_eq!(answers[&(name.to_owned(), path.to_owned())], status, "{name} {path}");
    }
}

/// Of the tokens of two providers, the one whose claims count is that of `jwt_authn`.
#[test]
fn of_two_providers_the_same_payload_counts() {
    let [a, b] = ["a", "b"].map(|kid| SigningKey::generate(Alg::Es256, kid));
    let mut config = request_authentication([&a, &b]);
    for (provider, header) in [("origins-0", "x-a"), ("origins-1", "x-b")] {
        config["providers"][provider]["from_headers"] = json!([{ "name": header }]);
    }
    let istio = config["rules"][0]["requires"].clone();
    let [of_a, of_b] = ["origins-0", "origins-1"].map(|name| json!({ "provider_name": name }));
    let all = |first: &Value, second: &Value| json!({"requires_all": {"requirements": [first, second]}});
    let any = |first: &Value, second: &Value| json!({"requires_any": {"requirements": [first, second]}});
    let requirements = [
        ("istio", istio),
        ("all-ab", all(&of_a, &of_b)),
        ("all-ba", all(&of_b, &of_a)),
        ("any-ab", any(&of_a, &of_b)),
        ("any-ba", any(&of_b, &of_a)),
    ];
    let rule =
        |(name, requires): &(&str, Value)| json!({"match": {"prefix": format!("/{name}/")}, "requires": requires});
    config["rules"] = requirements.iter().map(rule).collect();
    let rule = |(name, _): &(&str, Value)| {
        ["a", "b"].map(|issuer| {
            let policy = policy("ALLOW", &format!("{name}/{issuer}"), claim("[group]", &[issuer]));
            json!({"metadata": {"name": format!("{name}-{issuer}")}, "spec": policy["spec"]})
        })
    };
    let pair = Pair::start(&config, &requirements.iter().flat_map(rule).collect::<Vec<_>>());
    let mint = |key: &SigningKey, iss: &str, group: &str| {
        key.mint(&json!({"iss": iss, "sub": "s", "exp": 4_000_000_000_u64, "group": group}))
    };
    let (of_a, of_b) = (mint(&a, A, "a"), mint(&b, B, "b"));
    let mut seen = BTreeMap::new();
    for (name, _) in &requirements {
        for issuer in ["a", "b"] {
            let get = || Request::get(&format!("/{name}/{issuer}/x"));
            for (tokens, request) in [
                ("both", get().header("x-a", &*of_a).header("x-b", &*of_b)),
                ("a", get().header("x-a", &*of_a)),
                ("b", get().header("x-b", &*of_b)),
                ("a and a bad one", get().header("x-a", &*of_a).header("x-b", "a.b.c")),
            ] {
                let [native, ours] = pair.statuses(&request);
                assert_eq!(native, ours, "{name} {issuer} {tokens}");
                seen.insert((*name, issuer, tokens), ours);
            }
        }
    }
    assert_eq!((seen[&("all-ab", "a", "both")], seen[&("all-ab", "b", "both")]), (403, 200));
    assert_eq!((seen[&("all-ba", "a", "both")], seen[&("all-ba", "b", "both")]), (200, 403));
    assert_eq!((seen[&("any-ab", "a", "both")], seen[&("any-ab", "b", "both")]), (200, 403));
}
