//! The principal of a token reaches an AuthorizationPolicy by way of a header and `header_to_metadata`. No client writes a
//! principal, and no claims are lost on the way.

use std::time::Duration;

use jwks_gate_issuer::{Fault, Times};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    wasm_filter, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::{
    docs::{blocks, read, yaml},
    istio_rbac,
    setup::{Plan, Site},
};

pub const HEADER: &str = "x-jwks-gate-payload";
const TOO_LARGE: &str = "Jwt claims are too large";
const BY_RBAC: &str = "RBAC: access denied";

/// The filter that the EnvoyFilter inserts, whatever the name of the filter before it.
pub fn header_to_metadata() -> Value {
    let documents = yaml(&read("envoy/istio/envoyfilter-principals.yaml"));
    let patches = documents[0]["spec"]["configPatches"].as_array().unwrap();
    let of = |patch: &Value| {
        let filter = &patch["match"]["listener"]["filterChain"]["filter"];
        assert_eq!(filter["name"], "envoy.filters.network.http_connection_manager");
        assert!(filter["subFilter"]["name"].as_str().unwrap().contains("/istio-system.jwks-gate"));
        assert_eq!((&patch["applyTo"], &patch["patch"]["operation"]), (&json!("HTTP_FILTER"), &json!("INSERT_AFTER")));
        patch["patch"]["value"].clone()
    };
    let filters: Vec<_> = patches.iter().map(of).collect();
    assert!(filters.len() == 3 && filters.iter().all(|filter| *filter == filters[0]));
    filters[0].clone()
}

pub fn policy(action: &str, name: &str, mut rule: Value) -> Value {
    rule["to"] = json!([{"operation": {"paths": [format!("/{name}/*")]}}]);
    json!({"metadata": {"name": name}, "spec": {"action": action, "rules": [rule]}})
}

pub fn from(field: &str, values: &[&str]) -> Value {
    json!({"from": [{"source": {field: values}}]})
}

pub fn when(key: &str, field: &str, values: &[&str]) -> Value {
    json!({"when": [{"key": key, field: values}]})
}

pub fn claim(path: &str, values: &[&str]) -> Value {
    when(&format!("request.auth.claims{path}"), "values", values)
}

/// A site behind whose filter RBAC requires a principal, but for `/open/`. Rules: `/api/` requires a token, `/maybe/` allows any
/// request.
fn site(adjust: impl FnOnce(&mut Value)) -> Plan {
    let mut plan = Plan::new().provider("payload_value_header", "X-JWKS-Gate-Payload").timeout("20s");
    plan.config["rules"] = json!([
        {"match": {"prefix": "/api/"}, "requires": {"provider_name": "p"}},
        {"match": {"prefix": "/maybe/"}, "requires": {"requires_any": {"requirements": [
            {"provider_name": "p"}, {"allow_missing_or_failed": {}},
        ]}}},
    ]);
    plan.config["bypass_cors_preflight"] = json!(true);
    adjust(&mut plan.config);
    let admin = from("requestPrincipals", &["*/admin"]);
    let mut any = policy("ALLOW", "any", from("requestPrincipals", &["*"]));
    any["spec"]["rules"][0]["to"] = json!([{"operation": {"paths": ["/api/*", "/maybe/*", "/other/*"]}}]);
    let mut admin = policy("ALLOW", "admin", admin);
    admin["spec"]["rules"][0]["to"][0]["operation"]["paths"] = json!(["/api-admin/*", "/admin/*"]);
    let rbac = istio_rbac::filters(&[any, admin, policy("ALLOW", "open", json!({}))]);
    let filters = [vec![wasm_filter(&plan.config), header_to_metadata()], rbac].concat();
    plan.filters(filters)
}

/// The value that the filter makes of these claims, as an upstream sees the value if nothing takes it away.
fn value_of(claims: &Value) -> String {
    let plan = Plan::new().provider("payload_value_header", HEADER);
    let site = plan.start_warm();
    let mut all = site.issuer.claims();
    claims.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    let seen = site.get(&site.issuer.current().mint(&all)).json();
    seen["headers"][HEADER][0].as_str().unwrap().to_owned()
}

/// Requests of a client that sends the header itself.
fn forgeries(path: &str) -> Vec<(&'static str, Request)> {
    let forged = value_of(&json!({"sub": "admin"}));
    let get = || Request::get(path);
    vec![
        ("plain", get().header(HEADER, forged.as_str())),
        ("other case", get().header("X-Jwks-GATE-Payload", forged.as_str())),
        ("twice", get().header(HEADER, forged.as_str()).header("X-JWKS-GATE-PAYLOAD", forged.as_str())),
        ("behind an empty value", get().header(HEADER, "").header(HEADER, forged.as_str())),
        ("empty", get().header(HEADER, "")),
        ("joined", get().header(HEADER, format!("{forged},{forged}"))),
        ("without padding", get().header(HEADER, forged.trim_end_matches('='))),
        ("hop by hop", get().header("connection", HEADER).header(HEADER, forged.as_str())),
        ("with underscores", get().header(&HEADER.replace('-', "_"), forged.as_str())),
        (
            "preflight",
            Request { method: "OPTIONS".into(), ..get() }
                .header("origin", "http://o")
                .header("access-control-request-method", "GET")
                .header(HEADER, forged.as_str()),
        ),
    ]
}

fn assert_never_admin(site: &Site, plain_token: &str) {
    for path in ["/admin/x", "/api/x", "/maybe/x", "/other/x"] {
        for (name, forgery) in forgeries(path) {
            let response = site.send(&forgery);
            assert!([401, 403].contains(&response.status), "{path} {name}: {}", response.status);
            let with_bad_token = site.send(&forgery.clone().bearer("a.b.c"));
            assert!([401, 403].contains(&with_bad_token.status), "{path} {name}: {}", with_bad_token.status);
        }
    }
    for (name, forgery) in forgeries("/open/x") {
        let seen = site.send(&forgery.clone().bearer(plain_token));
        assert_eq!((seen.status, &seen.json()["headers"][HEADER]), (200, &Value::Null), "{name}");
    }
}

#[test]
fn a_client_cannot_write_its_own_principal() {
    let site = site(|config| {
        let admin = json!({"match": {"prefix": "/api-admin/"}, "requires": {"provider_name": "p"}});
        config["rules"].as_array_mut().unwrap().insert(0, admin);
    });
    let site = site.start_warm();
    let token = site.issuer.token();
    assert_never_admin(&site, &token);
    // With a good token, the principal is the token's.
    for (name, forgery) in forgeries("/api-admin/x") {
        assert_eq!(site.send(&forgery.bearer(&token)).text(), BY_RBAC, "{name}");
    }
    for (name, forgery) in forgeries("/api/x") {
        let seen = site.send(&forgery.bearer(&token));
        if name == "preflight" {
            assert_eq!(seen.text(), BY_RBAC);
        } else {
            assert_eq!((seen.status, &seen.json()["headers"][HEADER]), (200, &Value::Null), "{name}");
        }
    }
    let mut claims = site.issuer.claims();
    claims["sub"] = json!("admin");
    assert_eq!(site.send(&Request::get("/api-admin/x").bearer(&site.issuer.current().mint(&claims))).status, 200);
    site.assert_healthy();
}

/// Report mode lets a request through before there are keys. The header is away by then.
#[test]
fn report_mode_gives_no_principal_while_there_are_no_keys() {
    let site = site(|config| config["mode"] = json!("report")).fault(Fault::Hang, Times::Always).start();
    let token = site.issuer.token();
    for (name, forgery) in forgeries("/api/x") {
        assert_eq!(site.send(&forgery.bearer(&token)).text(), BY_RBAC, "{name}");
    }
    assert!(eventually(Duration::from_secs(5), || site.stat("parked") > 0));
    site.assert_no_vm_restarted();
}

/// Report mode changes no request, but takes this header away, and sets none.
#[test]
fn report_mode_gives_no_principal() {
    let site = site(|config| config["mode"] = json!("report")).start();
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(5), || site.stat("jwks_fetch_success") > 0));
    for (path, token) in [("/api/x", &*token), ("/api/x", "a.b.c"), ("/other/x", &token), ("/maybe/x", &token)] {
        assert_eq!(site.send(&Request::get(path).bearer(token)).text(), BY_RBAC, "{path}");
        for (name, forgery) in forgeries(path) {
            assert_eq!(site.send(&forgery).text(), BY_RBAC, "{path} {name}");
            assert_eq!(site.send(&forgery.bearer(token)).text(), BY_RBAC, "{path} {name}");
        }
    }
    site.assert_no_vm_restarted();
}

#[test]
fn a_parked_request_gets_the_principal_of_its_token() {
    let site = site(|_| ()).fault(Fault::Hang, Times::Always).start();
    let token = site.issuer.token();
    let forged = value_of(&json!({"sub": "admin"}));
    let request = |path: &str| Request::get(path).bearer(&token).header("X-JWKS-gate-payload", forged.as_str());
    let responses = std::thread::scope(|scope| {
        let sent = ["/api/x", "/api/y"].map(|path| {
            let request = request(path);
            scope.spawn(|| site.send(&{ request }))
        });
        site.heal_when_parked(2);
        sent.map(|response| response.join().unwrap())
    });
    for response in responses {
        assert_eq!((response.status, &response.json()["headers"][HEADER]), (200, &Value::Null));
    }
    assert_eq!(site.send(&request("/admin/x")).text(), BY_RBAC);
    site.assert_no_vm_restarted();
}

/// Envoy drops a value that is too long or too deep without a word, and a DENY policy would then match nothing.
#[test]
fn claims_that_do_not_fit_are_denied_and_all_others_arrive() {
    let site = site(|_| ()).start_warm();
    let (key, claims) = (site.issuer.current(), site.issuer.claims());
    let send = |path: &str, more: Value| {
        let mut claims = claims.clone();
        claims["more"] = more;
        let response = site.send(&Request::get(path).bearer(&key.mint(&claims)));
        (response.status, if response.status == 200 { String::new() } else { response.text() })
    };
    let (fits, denied) = ((200, String::new()), (403, TOO_LARGE.to_owned()));
    let long = (5500..6200).map(|length| send("/api/x", json!("x".repeat(length)))).collect::<Vec<_>>();
    let first_denied = long.iter().position(|answer| *answer == denied).unwrap();
    assert!((100..650).contains(&first_denied), "{first_denied}");
    assert!(long[..first_denied].iter().all(|answer| *answer == fits), "{long:?}");
    assert!(long[first_denied..].iter().all(|answer| *answer == denied), "{long:?}");
    for depth in 1..60 {
        let objects = (0..depth).fold(json!("leaf"), |inner, _| json!({ "a": inner }));
        let lists = (0..depth).fold(json!("leaf"), |inner, _| json!([inner]));
        // The payload is an object too.
        let expected = if depth < 32 { &fits } else { &denied };
        assert_eq!((&send("/api/x", objects), &send("/api/x", lists)), (expected, expected), "{depth}");
    }
    let many = json!(vec![1; 4000]);
    assert_eq!(send("/api/x", many.clone()), denied);
    // Where a bad token passes as no token, so does this one.
    assert_eq!(send("/maybe/x", many), (403, BY_RBAC.to_owned()));
    assert!(site.stat("denied.claims_too_large") > 50);
    site.assert_healthy();
}

/// The plugin, the EnvoyFilter and the policies of `envoy/istio`, with what docs/istio.md adds to the plugin.
#[test]
fn the_files_for_istio_work_together() {
    let mut plan = Plan::new();
    let mut config = yaml(&read("envoy/istio/wasmplugin.yaml"))[0]["spec"]["pluginConfig"].clone();
    let addition = &yaml(&blocks(&read("docs/istio.md"), "yaml")[0])[0]["pluginConfig"]["providers"]["example"];
    assert_eq!(addition.as_object().unwrap().len(), 2);
    let provider = &mut config["providers"]["example"];
    addition.as_object().unwrap().iter().for_each(|(field, value)| provider[field] = value.clone());
    provider["remote_jwks"]["http_uri"]["cluster"] = json!("issuer");
    provider["remote_jwks"]["http_uri"]["uri"] = json!(plan.issuer.jwks_uri());
    plan.config = config;
    let policies = yaml(&read("envoy/istio/authorizationpolicy.yaml"));
    let selector = |document: &Value| document["spec"]["selector"]["matchLabels"].clone();
    let envoy_filter = &yaml(&read("envoy/istio/envoyfilter-principals.yaml"))[0];
    for policy in &policies {
        assert_eq!(selector(policy), envoy_filter["spec"]["workloadSelector"]["labels"]);
    }
    let jwks_gate = wasm_filter(&plan.config);
    let filters =
        |between: &[Value]| [std::slice::from_ref(&jwks_gate), between, &istio_rbac::filters(&policies)].concat();
    let plan = plan.filters(filters(&[]));
    let without = Envoy::start(&plan.yaml(), EnvoyOptions::default()).unwrap();
    let site = plan.filters(filters(&[header_to_metadata()])).start();
    let token = |groups: &[&str]| {
        let mut claims = site.issuer.claims();
        claims["iss"] = json!("https://issuer.example.com");
        claims["groups"] = json!(groups);
        site.issuer.current().mint(&claims)
    };
    let status = |site: &Site, token: &str| site.send(&Request::get("/api/x").bearer(token)).status;
    assert_eq!((status(&site, &token(&["staff"])), status(&site, &token(&["others"]))), (200, 403));
    assert_eq!(site.send(&Request::get("/api/x")).status, 401);
    assert!(site.send(&Request::get("/api/x").bearer(&token(&["staff"]))).json()["headers"][HEADER].is_null());
    site.assert_no_vm_restarted();
    // Without the EnvoyFilter, nothing passes.
    let request = Request::get("/api/x").bearer(&token(&["staff"]));
    assert_eq!(http::send(without.addr(), &request).unwrap().text(), BY_RBAC);
}
