//! One application for many tenants of one identity provider, as with Entra; and tokens of other issuers.

use base64::{
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    Engine as _,
};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::{self, Request};
use serde_json::{json, Value};

use crate::setup::{issuer_with, Plan, Site};

const V2: &str = "https://login.microsoftonline.com/{tid}/v2.0";
const V1: &str = "https://sts.windows.net/{tid}/";
/// The placeholder as Entra's discovery and keys have it.
const KEY_V2: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";
const NOT_CONFIGURED: &str = "Jwt issuer is not configured";

fn tenant(number: usize) -> String {
    format!("72f988bf-86f1-41af-91ab-{number:012x}")
}

fn filled(template: &str, tenant: &str) -> String {
    template.replace("{tid}", tenant)
}

/// A provider of the tenants 0 to 499, in both versions.
fn plan() -> Plan {
    let tenants: Vec<_> = (0..500).map(tenant).collect();
    Plan::new().provider("issuer", "").provider("issuer_template", json!([V2, V1])).provider("tenants", json!(tenants))
}

fn mint(site: &Site, key: &SigningKey, iss: &str, tid: &Value) -> String {
    let mut claims = site.issuer.claims();
    claims["iss"] = json!(iss);
    claims["tid"] = tid.clone();
    key.mint(&claims)
}

impl Site {
    fn of_tenant(&self, template: &str, tenant: &str) -> String {
        mint(self, &self.issuer.current(), &filled(template, tenant), &json!(tenant))
    }

    fn answer(&self, token: &str) -> (u16, String) {
        let response = self.get(token);
        (response.status, response.text())
    }
}

/// `jwt_authn` takes one `issuer` for each provider: 500 tenants are 500 providers, with 500 fetches.
#[test]
fn all_tenants_of_a_provider_share_one_key_set() {
    let site = plan().start();
    let denied = (401, NOT_CONFIGURED.to_owned());
    for round in 0..2 {
        for (template, number) in [(V2, 0), (V2, 499), (V1, 0), (V1, 499), (V2, 250)] {
            assert_eq!(site.get(&site.of_tenant(template, &tenant(number))).status, 200, "{template} {number} {round}");
        }
        assert_eq!(site.answer(&site.of_tenant(V2, &tenant(500))), denied);
        assert_eq!(site.answer(&site.of_tenant(V1, &tenant(500))), denied);
    }
    assert_eq!(site.get_at_once(32, |number| site.of_tenant(V2, &tenant(number))), [(200, 32)]);
    let of = |iss: &str, tid: Value| mint(&site, &site.issuer.current(), iss, &tid);
    let (zero, one) = (tenant(0), tenant(1));
    for token in [
        of(&filled(V2, &zero), json!(one)),
        of(&filled(V1, &one), json!(zero)),
        of(&filled(V2, &zero), Value::Null),
        of(&filled(V2, &zero), json!([zero])),
        of(&filled(V2, &format!("{zero}/v2.0")), json!(format!("{zero}/v2.0"))),
        of(&filled(V2, "a/b"), json!("a/b")),
        of(&filled(V2, ""), json!("")),
        of(&filled(V2, "%2e"), json!("%2e")),
        of(filled(V1, &zero).trim_end_matches('/'), json!(zero)),
        of(&format!("{}/", filled(V2, &zero)), json!(zero)),
        of(V2, json!("{tid}")),
        of(KEY_V2, json!("{tenantid}")),
        of("https://issuer.test", json!(zero)),
        site.issuer.token(),
    ] {
        assert_eq!(site.answer(&token), denied, "{token}");
    }
    assert_eq!(site.gets(), 1);
    assert!(site.settled("denied.issuer_not_configured") > 16);
    // A stat for the provider, none for a tenant.
    let stats = http::send(site.envoy.admin(), &Request::get("/stats")).unwrap().text();
    assert!(stats.contains("jwks_gate") && !stats.contains("72f988bf"));
    site.assert_no_vm_restarted();
}

/// Before any key is known, a token of a foreign tenant is denied without a fetch of its own.
#[test]
fn a_foreign_tenant_does_not_wait_for_keys() {
    let plan = plan().fault(jwks_gate_issuer::Fault::Hang, jwks_gate_issuer::Times::Always);
    let site = plan.start();
    let started = std::time::Instant::now();
    assert_eq!(site.answer(&site.of_tenant(V2, &tenant(500))), (401, NOT_CONFIGURED.to_owned()));
    assert!(started.elapsed() < std::time::Duration::from_millis(1500));
}

/// The JWK of a key, published for this issuer.
fn jwk(key: &SigningKey, issuer: Option<&str>) -> Value {
    let mut jwk = key.public_jwk();
    if let Some(issuer) = issuer {
        jwk["issuer"] = json!(issuer);
    }
    jwk
}

fn publish(plan: &Plan, keys: &[Value]) {
    plan.issuer.publish(json!({"keys": keys}).to_string().into_bytes());
}

/// `jwt_authn` does not look at the `issuer` of a key: any key of the JWKS verifies any token.
#[test]
fn a_key_of_one_tenant_verifies_no_token_of_another() {
    let (a, b) = (tenant(0), tenant(1));
    let keys = ["common", "key-a", "no-issuer", "odd", "elsewhere"].map(|kid| SigningKey::generate(Alg::Es256, kid));
    let [common, key_a, no_issuer, odd, elsewhere] = &keys;
    let nameless = SigningKey::generate(Alg::Es256, "");
    let document = || {
        let mut odd = jwk(odd, None);
        odd["issuer"] = json!([filled(V2, &tenant(0))]);
        let mut nameless = jwk(&nameless, Some(&filled(V2, &tenant(0))));
        nameless.as_object_mut().unwrap().remove("kid");
        let elsewhere = jwk(elsewhere, Some("https://login.microsoftonline.us/{tenantid}/v2.0"));
        [
            jwk(common, Some(KEY_V2)),
            jwk(key_a, Some(&filled(V2, &tenant(0)))),
            jwk(no_issuer, None),
            odd,
            elsewhere,
            nameless,
        ]
    };
    for is_bound in [true, false] {
        let plan = plan().provider("bind_key_issuer", is_bound);
        publish(&plan, &document());
        let site = plan.start();
        let misused = if is_bound { (401, "Jwks key is of another issuer than Jwt") } else { (200, "") };
        let without_kid = |tenant: &str| {
            let mut claims = site.issuer.claims();
            claims["iss"] = json!(filled(V2, tenant));
            claims["tid"] = json!(tenant);
            nameless.mint_with_header(&json!({"alg": "ES256"}), &claims)
        };
        let of = |key: &SigningKey, template: &str, tenant: &str| {
            mint(&site, key, &filled(template, tenant), &json!(tenant))
        };
        for (token, (status, body)) in [
            (of(common, V2, &a), (200, "")),
            (of(common, V2, &b), (200, "")),
            (of(common, V1, &b), (200, "")),
            (of(key_a, V2, &a), (200, "")),
            (of(key_a, V1, &a), (200, "")),
            (of(key_a, V2, &b), misused),
            (of(key_a, V1, &b), misused),
            (of(no_issuer, V2, &b), (200, "")),
            (of(odd, V2, &a), misused),
            (of(elsewhere, V2, &a), misused),
            (without_kid(&a), (200, "")),
            (without_kid(&b), misused),
            // A key that did not sign: the signature is bad, whoever the key is for.
            (
                mint(&site, &SigningKey::generate(Alg::Es256, "key-a"), &filled(V2, &b), &json!(b)),
                (401, "Jwt verification fails"),
            ),
        ] {
            // Twice: the token cache changes nothing.
            for _ in 0..2 {
                let answer = site.answer(&token);
                assert_eq!(answer.0, status, "{is_bound} {token} {}", answer.1);
                assert!(status == 200 || answer.1 == body, "{}", answer.1);
            }
        }
        assert_eq!(site.settled("denied.key_issuer_mismatch") > 0, is_bound);
        assert_eq!(site.gets(), 1, "a key of another tenant is no cause for a fetch");
    }
}

/// A key that left the JWKS stays bound while its grace lasts.
#[test]
fn a_retired_key_stays_bound() {
    let (a, b) = (tenant(0), tenant(1));
    let [old, new] = ["old", "new"].map(|kid| SigningKey::generate(Alg::Es256, kid));
    let plan = plan().provider("bind_key_issuer", true).rotation("retired_key_grace", "60s");
    publish(&plan, &[jwk(&old, Some(&filled(V2, &a)))]);
    let site = plan.start();
    let of = |key: &SigningKey, tenant: &str| mint(&site, key, &filled(V2, tenant), &json!(tenant));
    assert_eq!(site.get(&of(&old, &a)).status, 200);
    site.issuer.publish(json!({"keys": [jwk(&new, Some(KEY_V2))]}).to_string().into_bytes());
    assert_eq!(site.get(&of(&new, &b)).status, 200);
    assert_eq!((site.get(&of(&old, &a)).status, site.get(&of(&old, &b)).status), (200, 401));
    assert!(site.settled("denied.key_issuer_mismatch") > 0);
}

/// A site where tokens of other issuers pass, below `/also/` without a token, too.
fn foreign() -> Site {
    let mut plan = Plan::with(issuer_with(Alg::Es256, Some(600)))
        .provider("claim_to_headers", json!([{"header_name": "x-user", "claim_name": "sub"}]))
        .provider("issuers", json!(["https://other-name.test"]));
    let any = |more: Value| {
        let requirements = [json!({"provider_name": "p"}), json!({"allow_foreign": {}})];
        let list: Vec<_> = requirements.into_iter().chain([more]).filter(Value::is_object).collect();
        json!({"requires_any": {"requirements": list}})
    };
    plan.config["rules"] = json!([
        {"match": {"prefix": "/also/"}, "requires": any(json!({"allow_missing": {}}))},
        {"match": {"prefix": "/alone/"}, "requires": {"allow_foreign": {}}},
        {"match": {"prefix": "/api/"}, "requires": any(Value::Null)},
    ]);
    plan.start_warm()
}

/// `jwt_authn` can do `allow_missing_or_failed` only, which lets expired tokens pass, too.
#[test]
fn tokens_of_other_issuers_pass_and_ours_must_be_good() {
    let site = foreign();
    let other = SigningKey::generate(Alg::Es256, "other");
    let claims = |iss: &str| {
        let mut claims = site.issuer.claims();
        claims["iss"] = json!(iss);
        claims
    };
    let foreign_token = other.mint(&claims("https://foreign.test"));
    for path in ["/api/x", "/also/x", "/alone/x"] {
        for token in [foreign_token.as_str(), "opaque-123", "ya29.a0AfH6SMBx", "a.b.c"] {
            let request = Request::get(path).bearer(token).header("x-user", "mallory");
            let response = site.send(&request);
            assert_eq!(response.status, 200, "{path} {token}");
            let seen = response.json()["headers"].clone();
            assert_eq!(seen["authorization"], json!([format!("Bearer {token}")]), "the token stays");
            assert_eq!(seen["x-user"], Value::Null, "{path} {token}");
        }
        let good = site.send(&Request::get(path).bearer(&site.issuer.token()).header("x-user", "mallory"));
        assert_eq!((good.status, &good.json()["headers"]["x-user"]), (200, &json!(["alice"])), "{path}");
        let mut expired = site.issuer.claims();
        expired["exp"] = json!(1_700_000_000);
        let expired = site.send(&Request::get(path).bearer(&site.issuer.current().mint(&expired)));
        assert_eq!((expired.status, expired.text().as_str()), (401, "Jwt is expired"), "{path}");
        let missing = site.send(&Request::get(path));
        assert_eq!(missing.status, if path == "/also/x" { 200 } else { 401 }, "{path}");
        // One of ours among others.
        let both = Request::get(&format!("{path}?access_token={foreign_token}")).bearer(&site.issuer.token());
        assert_eq!(site.send(&both).status, if path == "/alone/x" { 200 } else { 401 }, "{path}");
        let bad = Request::get(&format!("{path}?access_token={foreign_token}")).bearer(&site.token_of_unknown_key());
        assert_eq!(site.send(&bad).status, 401, "{path}");
    }
    assert_eq!(site.settled("allowed_foreign"), 12);
    // The first, one for an invented key, and a second look for the key.
    assert!(site.gets() <= 3, "{}", site.gets());
    site.assert_no_vm_restarted();
}

#[test]
fn an_odd_way_to_name_our_issuer_is_denied() {
    let site = foreign();
    let ours = site.issuer.claims().to_string();
    let iss = site.issuer.issuer().to_owned();
    let with = |section: &str| format!("eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.{section}.c2ln");
    let of = |payload: &[u8]| with(&URL_SAFE_NO_PAD.encode(payload));
    let good = site.issuer.token();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, unsigned) = good.split_once('.').unwrap();
    let utf16: Vec<u8> = ours.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let tokens = [
        format!("{signed}.%"),
        format!("{signed}."),
        format!("{signed}.A"),
        signed.to_owned(),
        format!("bad.{unsigned}"),
        format!(".{unsigned}"),
        format!("{good}.x.y"),
        with(&STANDARD.encode(format!("{ours} "))),
        with(&STANDARD.encode(format!("{ours}  "))),
        of(format!(r#"{{"iss":"https://foreign.test","iss":"{iss}"}}"#).as_bytes()),
        of(format!(r#"{{"iss":"{iss}","iss":"https://foreign.test"}}"#).as_bytes()),
        of(format!(r#"{{"iss":"https://foreign.test","ISS":"{iss}"}}"#).as_bytes()),
        of(format!(r#"{{"iss":"{}"}}"#, iss.replace('h', r"\u0068")).as_bytes()),
        of(format!(r#"{{"iss":"{}"}}"#, iss.replace('/', r"\/")).as_bytes()),
        of(format!(r#"{{"iss":"{iss}/"}}"#).as_bytes()),
        of(format!(r#"{{"iss":["{iss}"]}}"#).as_bytes()),
        of(format!(r#"{{"iss":"{}"}}"#, iss.to_uppercase()).as_bytes()),
        of(br#"{"iss":"https://other-name.test"}"#),
        of(&[ours.trim_end_matches('}').as_bytes(), b",\"x\":\"\xff\"}"].concat()),
        of(&utf16),
        of(good.as_bytes()),
        good.replace('.', "%2E"),
        format!("\"{good}\""),
        format!("{good},{good}"),
    ];
    for token in &tokens {
        for path in ["/api/x", "/also/x", "/alone/x"] {
            // A token that can be read lacks its audience.
            let is_denied = |request: &Request| matches!(site.send(request).status, 401 | 403);
            assert!(is_denied(&Request::get(path).bearer(token)), "{path} {token}");
            let encoded: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let in_query = Request::get(&format!("{path}?access_token={encoded}"));
            assert!(is_denied(&in_query), "{path} {token}");
        }
    }
    assert_eq!(site.stat("allowed_foreign"), 0);
    site.assert_no_vm_restarted();
}

#[test]
fn no_token_is_foreign_where_a_provider_accepts_any_issuer() {
    let mut plan = Plan::new().provider("issuer", "");
    plan.config["rules"] = json!([{"match": {"prefix": "/"}, "requires": {"allow_foreign": {}}}]);
    let log = plan.rejected();
    let expected = "rules[0].requires.allow_foreign: no token is foreign: the provider \"p\" accepts any issuer";
    assert!(log.contains(expected), "{log}");
}
