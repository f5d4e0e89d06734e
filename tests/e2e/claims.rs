//! What a provider can require of a token besides its signature, and the token cache.

use std::time::{SystemTime, UNIX_EPOCH};

use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::{json, Value};

use crate::setup::{issuer_with, Plan, Site, BAD_SIGNATURE};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(site: &Site, header: Value, claims: Value) -> String {
    let key = site.issuer.current();
    let (mut all, mut head) = (site.issuer.claims(), json!({"alg": key.alg.name(), "kid": key.kid}));
    for (to, from) in [(&mut all, claims), (&mut head, header)] {
        for (name, value) in from.as_object().unwrap() {
            to[name] = value.clone();
        }
    }
    key.mint_with_header(&head, &all)
}

#[test]
fn a_token_must_meet_every_requirement_of_its_provider() {
    let site = Plan::with(issuer_with(Alg::Ps256, Some(600)))
        .provider("algorithms", json!(["PS256"]))
        .provider("types", json!(["at+jwt"]))
        .provider("subjects", json!({"safe_regex": {"regex": "spiffe://[a-z]+/.*"}}))
        .provider("max_lifetime", "600s")
        .provider("required_scopes", json!(["read"]))
        .provider(
            "required_claims",
            json!([{"claim": "realm.tenant", "equals": "acme"}, {"claim": "groups", "contains": 7}]),
        )
        .start();
    let typ = || json!({"typ": "at+jwt"});
    let good = || {
        json!({
            "sub": "spiffe://a/b", "exp": now() + 300, "scope": "write read", "realm": {"tenant": "acme"}, "groups": [7, 8],
        })
    };
    let with = |claim: &str, value: Value| {
        let mut claims = good();
        claims[claim] = value;
        token(&site, typ(), claims)
    };
    let wrong_typ = "Jwt header [typ] is not allowed";
    let wrong_claims = "Jwt claims are not allowed";
    let wrong_alg = {
        let key = SigningKey::generate(Alg::Es256, &site.issuer.current().kid);
        key.mint(&site.issuer.claims())
    };
    let cases = [
        (token(&site, typ(), good()), 200, "", ""),
        (with("scp", json!(["read"])), 200, "", ""),
        (wrong_alg, 401, "algorithm_not_allowed", "Jwt header [alg] is not supported"),
        (token(&site, json!({"typ": "JWT"}), good()), 401, "type_not_allowed", wrong_typ),
        (with("sub", json!("spiffe://A/b")), 401, "subject_not_allowed", BAD_SIGNATURE),
        (with("exp", json!(now() + 700)), 401, "lifetime_too_long", BAD_SIGNATURE),
        (with("iat", json!(now() + 90)), 401, "not_yet_valid", "Jwt not yet valid"),
        (with("scope", json!("write")), 403, "insufficient_scope", "Jwt scope is insufficient"),
        (with("realm", json!({"tenant": "other"})), 403, "claim_not_allowed", wrong_claims),
        (with("groups", json!(["7"])), 403, "claim_not_allowed", wrong_claims),
    ];
    for (token, status, reason, body) in cases {
        let counter = format!("denied.{reason}");
        let before = if reason.is_empty() { 0 } else { site.stat(&counter) };
        let response = site.get(&token);
        assert_eq!(response.status, status, "{reason}: {}", response.text());
        if status != 200 {
            assert_eq!((response.text().as_str(), site.stat(&counter)), (body, before + 1));
            let code = if reason == "insufficient_scope" { reason } else { "invalid_token" };
            let challenge = response.header("www-authenticate").unwrap();
            assert!(challenge.contains(&format!("error=\"{code}\"")), "{challenge}");
        }
    }
    site.assert_no_vm_restarted();
}

#[test]
fn a_cached_token_still_expires() {
    let site = Plan::new().concurrency(1).start_warm();
    let before = site.settled("jwt_cache_hit");
    let short = token(&site, json!({}), json!({"exp": now() - 56}));
    assert_eq!([site.get(&short).status, site.get(&short).status], [200, 200]);
    assert_eq!(site.settled("jwt_cache_hit"), before + 1);
    std::thread::sleep(std::time::Duration::from_secs(5));
    let late = site.get(&short);
    assert_eq!((late.status, late.text().as_str()), (401, "Jwt is expired"));
    site.assert_healthy();
}

#[test]
fn a_cached_token_does_not_outlive_its_key() {
    let site = Plan::new().rotation("unknown_kid_min_interval", "1s").start_warm();
    let old = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| old.clone()), [(200, 20)]);
    site.issuer.rotate(jwks_gate_issuer::Rotation::Hard);
    let new = site.issuer.token();
    assert_eq!(site.get(&new).status, 200);
    // The old key's tokens are denied at once on every worker.
    assert_eq!(site.get_at_once(20, |_| old.clone()), [(401, 20)]);
}

#[test]
fn the_token_cache_can_be_disabled() {
    let site = Plan::new().provider("jwt_cache_config", json!({"disabled": true})).start_warm();
    let token = site.issuer.token();
    assert_eq!([site.get(&token).status, site.get(&token).status], [200, 200]);
    assert_eq!(site.settled("jwt_cache_hit"), 0);
}

#[test]
fn claims_may_have_dots_in_their_names() {
    let site = Plan::new()
        .provider(
            "required_claims",
            json!([
                {"claim": "https://x.com/roles", "contains": "admin"},
                {"claim": "kubernetes.io.namespace", "equals": "prod"},
            ]),
        )
        .start();
    let namespace = |name: &str| json!({"namespace": name});
    for (claims, status) in [
        (json!({"https://x.com/roles": ["admin"], "kubernetes.io": namespace("prod")}), 200),
        (json!({"https://x.com/roles": "user admin", "kubernetes": {"io": namespace("prod")}}), 200),
        (json!({"https://x.com/roles": ["admin"], "kubernetes.io.namespace": "prod"}), 200),
        (json!({"https://x.com/roles": ["user"], "kubernetes.io": namespace("prod")}), 403),
        (json!({"https://x.com/roles": ["admin"], "kubernetes.io": namespace("test")}), 403),
        (json!({"https://x": {"com/roles": ["user"]}, "kubernetes.io": namespace("prod")}), 403),
        // The whole name counts first.
        (
            json!({"https://x.com/roles": ["admin"], "kubernetes.io.namespace": "test", "kubernetes.io": namespace("prod")}),
            403,
        ),
    ] {
        assert_eq!(site.get(&token(&site, json!({}), claims.clone())).status, status, "{claims}");
    }
    site.assert_no_vm_restarted();
}
