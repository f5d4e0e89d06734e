//! Rules on claims: the claim of the audience, conditions, headers that claims must equal, and demands of single rules.

use jwks_gate_issuer::{Alg, Fault, Times};
use jwks_gate_testbed::http::{self, Request};
use serde_json::{json, Value};

use crate::{
    docs::{blocks, read, yaml},
    setup::{issuer_with, Plan, Site},
};

/// A token of the site's issuer with these claims. `null` removes a claim.
fn token(site: &Site, claims: &Value) -> String {
    let mut all = site.issuer.claims();
    for (name, value) in claims.as_object().unwrap() {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => all[name] = value.clone(),
        }
    }
    site.issuer.current().mint(&all)
}

fn provider(fields: &Value) -> Plan {
    fields.as_object().unwrap().iter().fold(Plan::new(), |plan, (field, value)| plan.provider(field, value.clone()))
}

#[track_caller]
fn assert_status(site: &Site, request: &Request, status: u16, reason: &str) {
    let response = site.send(request);
    let text = match (status, reason) {
        (200, _) => None,
        (_, "audience_not_allowed") => Some("Audiences in Jwt are not allowed"),
        (_, "claim_not_allowed") => Some("Jwt claims are not allowed"),
        (_, other) => panic!("{other}"),
    };
    let sent: Vec<_> = request.headers.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))).collect();
    assert_eq!(response.status, status, "{sent:?}: {}", response.text());
    assert!(text.is_none_or(|text| response.text() == text), "{sent:?}: {}", response.text());
}

/// `jwt_authn` looks into `aud` alone.
#[test]
fn another_claim_may_name_the_audience() {
    let cognito = json!({"aud": null, "client_id": "api"});
    let both = json!({"aud": "other", "client_id": "api"});
    let site = provider(&json!({"audience_claims": ["aud", "client_id"]})).start_warm();
    let denied = "audience_not_allowed";
    for (claims, status, reason) in [
        (&cognito, 200, ""),
        (&json!({"aud": null, "client_id": ["x", "https://api/"]}), 200, ""),
        (&json!({"aud": "api", "client_id": "other"}), 200, ""),
        (&both, 403, denied),
        (&json!({"aud": [], "client_id": "api"}), 403, denied),
        (&json!({"aud": null, "client_id": "other"}), 403, denied),
        (&json!({"aud": null, "client_id": {"api": "api"}}), 403, denied),
        (&json!({"aud": null}), 403, denied),
    ] {
        // The second request, which may find the token in the cache, gets the same answer.
        for _ in 0..2 {
            assert_status(&site, &Request::get("/api/x").bearer(&token(&site, claims)), status, reason);
        }
    }
    assert_eq!(site.settled("denied.audience_not_allowed"), 10);
    site.assert_healthy();

    let keycloak = provider(&json!({"audience_claims": ["azp"]})).start();
    for (claims, status) in
        [(json!({"azp": "api", "aud": "account"}), 200), (json!({"azp": "other"}), 403), (json!({}), 403)]
    {
        assert_status(&keycloak, &Request::get("/api/x").bearer(&token(&keycloak, &claims)), status, denied);
    }

    let plan = Plan::new();
    let mut config = plan.config.clone();
    config["providers"]["p"]["remote_jwks"].as_object_mut().unwrap().remove("rotation");
    config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
    let native = plan.filters(vec![json!({"name": "jwt_authn", "typed_config": config})]).start_with_vms(None);
    for (claims, status) in [(&json!({}), 200), (&cognito, 403), (&both, 403)] {
        assert_status(&native, &Request::get("/api/x").bearer(&token(&native, claims)), status, denied);
    }
}

#[test]
fn conditions_on_claims_hold_for_values_lists_and_paths() {
    let site = provider(&json!({"required_claims": [
        {"claim": "ref", "one_of": ["refs/heads/main", "refs/heads/release", 7]},
        {"claim": "workflow", "matches": {"safe_regex": {"regex": "acme/[a-z]+@v[0-9]+"}}},
        {"path": ["https://x.com/claims", "tenant.id"], "equals": "acme"},
    ]}))
    .start();
    let good = json!({
        "ref": "refs/heads/main", "workflow": "acme/build@v1", "https://x.com/claims": {"tenant.id": "acme"},
    });
    for (claim, value, status) in [
        ("sub", json!("anybody"), 200),
        ("ref", json!(7.0), 200),
        ("ref", json!(["x", "refs/heads/release"]), 200),
        ("ref", json!("refs/heads/main refs/heads/x"), 403),
        ("ref", json!("7"), 403),
        ("ref", json!([]), 403),
        ("ref", Value::Null, 403),
        ("workflow", json!(["x", "acme/deploy@v22"]), 200),
        ("workflow", json!("acme/build@v1\n"), 403),
        ("workflow", json!("evil/acme/build@v1"), 403),
        ("workflow", json!(format!("acme/{}@v1", "a".repeat(5000))), 403),
        ("https://x.com/claims", json!({"tenant": {"id": "acme"}}), 403),
        ("https://x.com/claims", json!([{"tenant.id": "acme"}]), 403),
        ("https://x.com/claims", json!({"tenant.id": ["acme"]}), 403),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        let request = Request::get("/api/x").bearer(&token(&site, &claims));
        assert_status(&site, &request, status, "claim_not_allowed");
    }
    site.assert_no_vm_restarted();
}

#[test]
fn a_claim_must_equal_the_header_of_each_request() {
    let site = provider(&json!({"required_claims": [{"claim": "tenants", "equals_header": "X-Tenant"}]})).start();
    let tenants = token(&site, &json!({"tenants": ["acme", "other", "a,b"]}));
    let request = || Request::get("/api/x").bearer(&tenants);
    // Both workers verify and cache the token.
    let fill = http::concurrently(site.envoy.addr(), 16, |_| request().header("x-tenant", "acme"));
    assert!(fill.into_iter().all(|response| response.unwrap().status == 200));
    let before = site.settled("jwt_cache_hit");
    let denied = "claim_not_allowed";
    for (headers, status) in [
        (&[("x-tenant", "acme")][..], 200),
        (&[("X-TENANT", "other")], 200),
        (&[("x-tenant", " other ")], 200),
        (&[("x-tenant", "a,b")], 200),
        (&[("x-tenant", "evil")], 403),
        (&[("x-tenant", "ACME")], 403),
        (&[("x-tenant", "acme,other")], 403),
        (&[("x-tenant", "acme"), ("x-tenant", "other")], 403),
        (&[("x-tenant", "acme"), ("x-tenant", "acme")], 403),
        (&[("x-tenant", "acme"), ("X-Tenant", "evil")], 403),
        (&[("x-tenant", "")], 403),
        (&[("x-tenants", "acme")], 403),
        (&[], 403),
    ] {
        let request = headers.iter().fold(request(), |request, (name, value)| request.header(name, *value));
        assert_status(&site, &request, status, denied);
    }
    assert_eq!(site.settled("jwt_cache_hit"), before + 13, "every answer was given with the cached token");
    for (claim, value, status) in [(json!(42), "42", 200), (json!(42), "42.0", 403), (json!(42.5), "42.5", 403)] {
        let request =
            Request::get("/api/x").bearer(&token(&site, &json!({"tenants": claim}))).header("x-tenant", value);
        assert_status(&site, &request, status, denied);
    }
    assert_eq!((site.gets(), site.settled("denied.claim_not_allowed")), (1, 11));
    site.assert_no_vm_restarted();
}

#[test]
fn a_claim_may_have_to_equal_the_host() {
    for name in ["host", ":authority"] {
        let site = provider(&json!({"required_claims": [{"claim": "host", "equals_header": name}]})).start();
        let token = token(&site, &json!({"host": ["acme.test", "acme.test:8443"]}));
        for (host, status) in
            [("acme.test", 200), ("acme.test:8443", 200), ("evil.test", 403), ("ACME.test", 403), ("acme.test:1", 403)]
        {
            let request = Request::get("/api/x").bearer(&token).header("host", host);
            assert_status(&site, &request, status, "claim_not_allowed");
        }
    }
}

/// A filter before jwks-gate overwrites the header of the client.
#[test]
fn a_filter_in_front_may_set_the_header() {
    let plan = provider(&json!({"required_claims": [{"claim": "tenant", "equals_header": "x-tenant"}]}));
    let set = json!({"append": {
        "header": {"key": "x-tenant", "value": "%REQ(:AUTHORITY)%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }});
    let mutation = json!({
        "name": "set-tenant",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [set]},
        },
    });
    let filter = jwks_gate_testbed::wasm_filter(&plan.config);
    let site = plan.filters(vec![mutation, filter]).start();
    let token = token(&site, &json!({"tenant": "acme.test"}));
    for (host, status) in [("acme.test", 200), ("evil.test", 403)] {
        let request = Request::get("/api/x").bearer(&token).header("host", host);
        for request in [request.clone(), request.header("x-tenant", "acme.test").header("x-tenant", "x")] {
            assert_status(&site, &request, status, "claim_not_allowed");
        }
    }
}

#[test]
fn a_parked_request_is_decided_with_the_header_that_it_came_with() {
    let site = provider(&json!({"required_claims": [{"claim": "tenant", "equals_header": "x-tenant"}]}))
        .fault(Fault::Hang, Times::Always)
        .start();
    let token = token(&site, &json!({"tenant": "acme"}));
    let request = |tenant: &str| Request::get("/api/x").bearer(&token).header("x-tenant", tenant);
    std::thread::scope(|scope| {
        let waiting = ["acme", "evil", "acme"].map(|tenant| {
            let request = request(tenant);
            let addr = site.envoy.addr();
            scope.spawn(move || http::send(addr, &request).unwrap().status)
        });
        site.heal_when_parked(3);
        assert_eq!(waiting.map(|thread| thread.join().unwrap()), [200, 403, 200]);
    });
    site.assert_no_vm_restarted();
}

#[test]
fn rules_with_other_demands_share_the_keys_and_the_cache() {
    let rule = |prefix: &str, requires: Value| json!({"match": {"prefix": prefix}, "requires": requires});
    let scoped = |scope: &str| json!({"provider_name": "p", "scopes": [scope]});
    let admins = json!({"provider_and_audiences": {"provider_name": "p", "claims": [{"claim": "groups", "contains": "admins"}]}});
    let requirements = |list: Value| json!({ "requirements": list });
    let site = provider(&json!({"required_scopes": ["api"]}))
        .top(
            "rules",
            json!([
                rule("/api/", json!({"provider_name": "p"})),
                rule("/read/", scoped("read")),
                rule("/write/", scoped("write")),
                rule("/any/", json!({"requires_any": requirements(json!([scoped("write"), admins]))})),
                rule("/all/", json!({"requires_all": requirements(json!([scoped("read"), scoped("write")]))})),
            ]),
        )
        .start();
    let claims = |scope: &str, groups: &[&str]| token(&site, &json!({"scope": scope, "groups": groups}));
    let (reader, admin, writer) = (claims("api read", &[]), claims("api", &["admins"]), claims("api read write", &[]));
    let cases = [
        ("/api/", [200, 200, 200]),
        ("/read/", [200, 403, 200]),
        ("/write/", [403, 403, 200]),
        ("/any/", [403, 200, 200]),
        ("/all/", [403, 403, 200]),
    ];
    for _ in 0..4 {
        for (path, statuses) in cases {
            let answers = [&reader, &admin, &writer].map(|token| site.send(&Request::get(path).bearer(token)).status);
            assert_eq!(answers, statuses, "{path}");
        }
    }
    // 60 requests; each of the two workers verifies each of the three tokens once at most.
    let hits = site.settled("jwt_cache_hit");
    assert!((54..=57).contains(&hits), "{hits}");
    assert_eq!(
        (site.gets(), site.stat("denied.insufficient_scope"), site.stat("denied.claim_not_allowed")),
        (1, 20, 4)
    );
    for (path, scopes) in [("/read/", "api read"), ("/any/", "api write"), ("/all/", "api read write")] {
        let denied = site.send(&Request::get(path).bearer(&claims("api", &[])));
        let challenge = denied.header("www-authenticate").unwrap();
        match path {
            "/any/" => assert_eq!(denied.text(), "Jwt claims are not allowed", "the last alternative tells"),
            _ => assert!(challenge.ends_with(&format!(", scope=\"{scopes}\"")), "{challenge}"),
        }
    }
    site.assert_no_vm_restarted();
}

/// Where nothing can deny the request, a token that does not meet the demands is as an invalid one.
#[test]
fn a_token_that_does_not_meet_the_demands_is_not_forwarded() {
    let any = json!({"requires_any": {"requirements": [
        {"provider_name": "p", "claims": [{"claim": "tenant", "equals_header": "x-tenant"}]},
        {"allow_missing_or_failed": {}},
    ]}});
    let site = provider(&json!({
        "claim_to_headers": [{"header_name": "x-sub", "claim_name": "sub"}],
        "failed_status_in_metadata": "failed",
    }))
    .top("rules", json!([{"match": {"prefix": "/"}, "requires": any}]))
    .start();
    let token = token(&site, &json!({"sub": "me", "tenant": "acme"}));
    let headers = |tenant: &str| {
        let response = site.send(&Request::get("/x").bearer(&token).header("x-tenant", tenant));
        assert_eq!(response.status, 200);
        response.json()["headers"].clone()
    };
    assert!(
        jwks_gate_testbed::eventually(std::time::Duration::from_secs(5), || headers("acme")["x-sub"] == json!(["me"]))
    );
    for (tenant, sub) in [("evil", Value::Null), ("acme", json!(["me"])), ("evil", Value::Null)] {
        assert_eq!(headers(tenant)["x-sub"], sub, "{tenant}");
        assert_eq!(headers(tenant)["authorization"].is_null(), !sub.is_null(), "a token that is no good stays");
    }
}

#[test]
fn report_mode_counts_what_rules_would_deny() {
    let rule = json!({"match": {"prefix": "/"}, "requires": {"provider_name": "p", "scopes": ["read"], "claims": [
        {"claim": "tenant", "equals_header": "x-tenant"},
    ]}});
    let site = Plan::new().top("rules", json!([rule])).top("mode", "report").start();
    assert!(jwks_gate_testbed::eventually(std::time::Duration::from_secs(5), || site.stat("jwks_fetch_success") == 1));
    for (claims, tenant) in [
        (json!({"tenant": "acme", "scope": "read"}), "acme"),
        (json!({"tenant": "acme", "scope": "read"}), "evil"),
        (json!({"tenant": "acme", "scope": "write"}), "acme"),
    ] {
        let request = Request::get("/x").bearer(&token(&site, &claims)).header("x-tenant", tenant);
        let echoed = site.send(&request);
        assert_eq!((echoed.status, &echoed.json()["headers"]["x-tenant"]), (200, &json!([tenant])));
    }
    assert_eq!(site.settled("would_deny.claim_not_allowed"), 1);
    assert_eq!((site.stat("would_deny.insufficient_scope"), site.stat("would_deny")), (1, 2));
}

/// The configurations of docs/claims.md, between the issuer and the upstream of the tests.
#[test]
fn the_configurations_of_the_page_do_what_the_page_says() {
    let page = blocks(&read("docs/claims.md"), "yaml");
    let site = |index: usize, name: &str| {
        let mut plan = Plan::with(issuer_with(Alg::Es256, Some(600)));
        let mut config = yaml(&page[index])[0].clone();
        let provider = &mut config["providers"][name];
        provider["issuer"] = plan.config["providers"]["p"]["issuer"].clone();
        provider["remote_jwks"] = plan.config["providers"]["p"]["remote_jwks"].clone();
        plan.config = config;
        plan.start()
    };
    let check = |site: &Site, cases: &[(Request, Value, u16)]| {
        for (request, claims, status) in cases {
            let answer = site.send(&request.clone().bearer(&token(site, claims)));
            assert_eq!(answer.status, *status, "{request:?} {claims} {}", answer.text());
        }
    };
    let get = Request::get;
    let client = "1example23456789";
    check(
        &site(0, "cognito"),
        &[
            (get("/api"), json!({"aud": null, "client_id": client}), 200),
            (get("/api"), json!({"aud": client}), 200),
            (get("/api"), json!({"aud": "other", "client_id": client}), 403),
        ],
    );
    let github = |change: Value| {
        let mut claims = json!({"repository_owner_id": "1234", "ref": "refs/heads/main",
            "job_workflow_ref": "acme/workflows/.github/workflows/deploy.yaml@refs/tags/v1"});
        change.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        claims
    };
    check(
        &site(1, "github"),
        &[
            (get("/deploy"), github(json!({})), 200),
            (get("/deploy"), github(json!({"repository_owner_id": 1234})), 403),
            (get("/deploy"), github(json!({"ref": "refs/heads/x"})), 403),
            (get("/deploy"), github(json!({"job_workflow_ref": "evil/acme/workflows/.github/workflows/"})), 403),
        ],
    );
    let keycloak = |azp: &str, roles: &[&str], tenant: &str| {
        json!({"azp": azp, "aud": "account", "realm_access": {"roles": roles},
            "https://example.com/claims": {"tenant.id": tenant}})
    };
    check(
        &site(2, "keycloak"),
        &[
            (get("/operations"), keycloak("api", &["user", "operator"], "acme"), 200),
            (get("/operations"), keycloak("web", &["operator"], "acme"), 403),
            (get("/operations"), keycloak("api", &["user"], "acme"), 403),
            (get("/operations"), keycloak("api", &["admin"], "other"), 403),
        ],
    );
    let post = Request::post;
    check(
        &site(3, "staff"),
        &[
            (get("/orders"), json!({"scope": "orders orders.read"}), 200),
            (get("/orders"), json!({"scope": "orders.read"}), 403),
            (get("/orders"), json!({"scope": "orders orders.write"}), 403),
            (post("/orders"), json!({"scope": "orders orders.write"}), 200),
            (post("/orders"), json!({"scope": "orders", "groups": ["admins"]}), 200),
            (post("/orders"), json!({"scope": "orders orders.read", "groups": ["x"]}), 403),
        ],
    );
    check(
        &site(4, "tenants"),
        &[
            (get("/api").header("x-tenant", "acme"), json!({"tenants": ["acme", "b"]}), 200),
            (get("/api").header("x-tenant", "c"), json!({"tenants": ["acme", "b"]}), 403),
            (get("/api"), json!({"tenants": ["acme", "b"]}), 403),
        ],
    );
}
