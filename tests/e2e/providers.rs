//! The blocks of `docs/providers.md`, with tokens such as each issuer makes.

use std::collections::BTreeSet;

use jwks_gate_issuer::Alg;
use jwks_gate_testbed::http::Request;
use serde_json::{json, Map, Value};

use crate::{
    docs::{blocks, read, yaml},
    setup::{issuer_with, Plan},
};

/// The provider of each block.
fn providers() -> Map<String, Value> {
    let providers = blocks(&read("docs/providers.md"), "yaml").into_iter().flat_map(|block| {
        let mut document = yaml(&block).remove(0);
        jwks_gate::config::parse(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}\n{block}"));
        std::mem::take(document["providers"].as_object_mut().unwrap())
    });
    providers.collect()
}

/// Changes of the good token's claims, and the status that follows. `null` removes a claim.
type Changes = Vec<(Value, u16)>;

/// For each provider, claims of a good token, and changes of them.
fn cases() -> Vec<(&'static str, Value, Changes)> {
    let (tenant, api) = ("11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000");
    let second = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
    vec![
        (
            "entra",
            json!({
                "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"), "aud": api, "tid": tenant,
                "ver": "2.0", "scp": "profile access_as_user",
            }),
            vec![
                (json!({"iss": format!("https://sts.windows.net/{tenant}/"), "ver": "1.0"}), 401),
                (json!({"aud": "00000003-0000-0000-c000-000000000000"}), 403),
                (json!({"tid": api}), 403),
                (json!({"scp": null}), 403),
                (json!({"scp": null, "roles": ["access_as_user"]}), 403),
            ],
        ),
        (
            "entra_tenants",
            json!({
                "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"), "aud": api, "tid": tenant,
                "scp": "access_as_user",
            }),
            vec![
                (json!({"iss": format!("https://sts.windows.net/{tenant}/"), "aud": format!("api://{api}")}), 200),
                (json!({"iss": format!("https://login.microsoftonline.com/{second}/v2.0"), "tid": second}), 200),
                (json!({"iss": format!("https://login.microsoftonline.com/{api}/v2.0"), "tid": api}), 401),
                (json!({"tid": second}), 401),
                (json!({"iss": format!("https://sts.windows.net/{tenant}")}), 401),
            ],
        ),
        (
            "auth0",
            json!({"iss": "https://example.eu.auth0.com/", "aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"]}),
            vec![
                (json!({"iss": "https://example.eu.auth0.com"}), 401),
                (json!({"aud": "https://example.eu.auth0.com/userinfo"}), 403),
            ],
        ),
        (
            "okta",
            json!({"iss": "https://example.okta.com/oauth2/default", "aud": "api://default", "cid": "0oa1example2345"}),
            vec![
                (json!({"iss": "https://example.okta.com", "aud": "https://example.okta.com"}), 401),
                (json!({"cid": "0oa1example9999"}), 403),
            ],
        ),
        (
            "cognito",
            json!({
                "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example", "aud": null,
                "client_id": "1example23456789", "token_use": "access",
            }),
            vec![
                (json!({"client_id": null, "aud": "1example23456789", "token_use": "id"}), 403),
                (json!({"client_id": "1example99999999"}), 403),
                (json!({"token_use": "id"}), 403),
            ],
        ),
        (
            "keycloak",
            json!({"iss": "https://sso.example.com/realms/example", "aud": ["api", "account"], "azp": "web", "typ": "Bearer"}),
            vec![
                (json!({"aud": "account"}), 403),
                (json!({"azp": "other"}), 403),
                (json!({"typ": "ID"}), 403),
                (json!({"iss": "https://sso.example.com/realms/other"}), 401),
            ],
        ),
        (
            "google",
            json!({
                "iss": "https://accounts.google.com", "aud": "1234567890-example.apps.googleusercontent.com",
                "hd": "example.com",
            }),
            vec![
                (json!({"iss": "accounts.google.com"}), 200),
                (json!({"iss": "https://accounts.google.com/"}), 401),
                (json!({"hd": null}), 403),
                (json!({"aud": "1234567890-other.apps.googleusercontent.com"}), 403),
            ],
        ),
        (
            "kubernetes",
            json!({"iss": "https://kubernetes.default.svc.cluster.local", "aud": ["api"], "sub": "system:serviceaccount:prod:web"}),
            vec![
                (json!({"sub": "system:serviceaccount:production:web"}), 401),
                (json!({"aud": ["https://kubernetes.default.svc.cluster.local"]}), 403),
                (json!({"exp": null}), 401),
            ],
        ),
        (
            "github",
            json!({
                "iss": "https://token.actions.githubusercontent.com", "aud": "https://deploy.example.com",
                "repository": "octo-org/octo-repo", "repository_owner_id": "65", "ref": "refs/heads/main",
            }),
            vec![
                (json!({"repository": "octo-org/octo-tools"}), 200),
                (json!({"repository": "octo-org/other"}), 403),
                (json!({"repository_owner_id": "66"}), 403),
                (json!({"ref": "refs/pull/1/merge"}), 403),
            ],
        ),
        (
            "spire",
            json!({"iss": null, "aud": ["api"], "sub": "spiffe://example.org/web"}),
            vec![(json!({"sub": "spiffe://example.org.other.test/web"}), 401), (json!({"aud": ["other"]}), 403)],
        ),
    ]
}

#[test]
fn each_block_admits_the_tokens_of_its_issuer_only() {
    let (issuer, mut providers) = (issuer_with(Alg::Rs256, Some(600)), providers());
    for provider in providers.values_mut() {
        provider["remote_jwks"]["http_uri"] = json!({"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "5s"});
    }
    let names: BTreeSet<&str> = providers.keys().map(String::as_str).collect();
    assert_eq!(names, cases().iter().map(|(name, ..)| *name).collect());
    let rule = |name: &str| json!({"match": {"path": format!("/{name}")}, "requires": {"provider_name": name}});
    let rules: Value = names.iter().map(|name| rule(name)).collect();
    let site = Plan::with(issuer).top("providers", providers.clone()).top("rules", rules).start();
    for (name, good, others) in cases() {
        let status = |changes: &Value| {
            let mut claims = site.issuer.claims();
            for (claim, value) in good.as_object().unwrap().iter().chain(changes.as_object().unwrap()) {
                match value.is_null() {
                    true => drop(claims.as_object_mut().unwrap().remove(claim)),
                    false => claims[claim] = value.clone(),
                }
            }
            let token = site.issuer.current().mint(&claims);
            site.send(&Request::get(&format!("/{name}")).bearer(&token)).status
        };
        assert_eq!(status(&json!({})), 200, "{name}");
        for (changes, expected) in others {
            assert_eq!(status(&changes), expected, "{name}: {changes}");
        }
        assert_eq!(site.send(&Request::get(&format!("/{name}"))).status, 401, "{name}");
    }
    site.assert_no_vm_restarted();
}
