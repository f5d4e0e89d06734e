//! The key documents of issuers as they publish them: the members, the names of keys and the headers of tokens are those of
//! each issuer's documentation; the keys are fresh.

use std::time::Duration;

use jwks_gate_issuer::{Alg, Issuer, SigningKey};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::{json, Value};

use crate::setup::{issuer_with, remote, Plan};

/// What an issuer publishes.
struct Published {
    issuer: &'static str,
    document: Value,
    /// The tokens of these keys are allowed. `None` instead of a header: `alg`, `typ` and `kid`.
    good: Vec<(SigningKey, Option<Value>)>,
    /// The tokens of these keys are denied: the document has the keys for another use.
    bad: Vec<SigningKey>,
}

/// The JWK of a key: the members that the issuer publishes, in place of `kid`, `alg` and `use`.
fn jwk(key: &SigningKey, members: Value) -> Value {
    let mut jwk = key.public_jwk();
    let known = jwk.as_object_mut().unwrap();
    for name in ["kid", "alg", "use"] {
        known.remove(name);
    }
    known.extend(members.as_object().unwrap().clone());
    jwk
}

fn rsa(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Rs256, kid)
}

fn ec(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, kid)
}

/// Two RSA keys with these members beside the key and `kid`, as most issuers publish them.
fn two_rsa(issuer: &'static str, kids: [&str; 2], members: impl Fn(&SigningKey) -> Value) -> Published {
    let keys = kids.map(rsa);
    let entry = |key: &SigningKey| {
        let mut entry = jwk(key, members(key));
        entry["kid"] = json!(key.kid);
        entry
    };
    let document = json!({"keys": keys.iter().map(entry).collect::<Vec<_>>()});
    Published { issuer, document, good: keys.into_iter().map(|key| (key, None)).collect(), bad: Vec::new() }
}

/// The certificate chain of a JWK; nobody looks at the chain.
fn x5c(key: &SigningKey) -> Value {
    let pem = key.certificate_pem();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    json!([base64])
}

fn plain(_: &SigningKey) -> Value {
    json!({"alg": "RS256", "use": "sig"})
}

fn with_chain(key: &SigningKey) -> Value {
    json!({"alg": "RS256", "use": "sig", "x5c": x5c(key), "x5t": "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg"})
}

fn entra(issuer: &'static str, key_issuer: Option<&str>) -> Published {
    two_rsa(issuer, ["HS23b7Do7TcaU1RoLHwpIq24VYg", "LwAC7Sf2nNqXdxE9H2-TUv_jzkA"], |key| {
        let mut members = json!({"use": "sig", "x5t": key.kid, "x5c": x5c(key)});
        if let Some(key_issuer) = key_issuer {
            members["issuer"] = json!(key_issuer);
            members["cloud_instance_name"] = json!("microsoftonline.com");
        }
        members
    })
}

fn firebase() -> Published {
    let keys = ["f7e5b1a2c4d3960a8b7c", "a1b2c3d4e5f60718293a"].map(rsa);
    let map = keys.iter().map(|key| (key.kid.clone(), json!(key.certificate_pem()))).collect();
    let good = keys.into_iter().map(|key| (key, None)).collect();
    Published { issuer: "Firebase", document: Value::Object(map), good, bad: Vec::new() }
}

fn keycloak() -> Published {
    let (signing, encryption) = (rsa("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"), rsa("o2Yf0tD6cCvLk8Zq"));
    let entry = |key: &SigningKey, usage: &str, alg: &str| {
        jwk(
            key,
            json!({"kid": key.kid, "use": usage, "alg": alg, "x5c": x5c(key), "x5t": "vw", "x5t#S256": "W5jxm3Rj"}),
        )
    };
    let document = json!({"keys": [entry(&encryption, "enc", "RSA-OAEP"), entry(&signing, "sig", "RS256")]});
    Published { issuer: "Keycloak", document, good: vec![(signing, None)], bad: vec![encryption] }
}

fn ping() -> Published {
    let (one, two) = (rsa("default"), ec("ec-2026"));
    let document = json!({"keys": [
        jwk(&one, json!({"kid": one.kid, "use": "sig", "x5t": "vw", "x5c": x5c(&one)})),
        jwk(&two, json!({"kid": two.kid, "use": "sig"})),
    ]});
    Published { issuer: "Ping", document, good: vec![(one, None), (two, None)], bad: Vec::new() }
}

fn spire() -> Published {
    let (svid, authority) = (ec("FAWZs5yhAoNtFGW1aXV6WHzKBjgSrZiX"), ec(""));
    let document = json!({
        "keys": [
            jwk(&authority, json!({"use": "x509-svid", "x5c": x5c(&authority)})),
            jwk(&svid, json!({"kid": svid.kid, "use": "jwt-svid"})),
        ],
        "spiffe_sequence": 12,
        "spiffe_refresh_hint": 300,
    });
    Published { issuer: "SPIRE", document, good: vec![(svid, None)], bad: vec![authority] }
}

fn supabase() -> Published {
    let key = ec("e2f8f3a0-2c4a-4f53-8d06-6d0a7c1b9f2e");
    let members = json!({"kid": key.kid, "alg": "ES256", "use": "sig", "ext": true, "key_ops": ["verify"]});
    let document = json!({"keys": [jwk(&key, members)]});
    Published { issuer: "Supabase", document, good: vec![(key, None)], bad: Vec::new() }
}

/// An API server's token names its key. Its document states no lifetime.
fn kubernetes() -> Published {
    let mut published = two_rsa("Kubernetes", ["DQVoYxj7cQv7mN4", "w0lCGrp1c5Q8m_T"], plain);
    for (key, header) in &mut published.good {
        *header = Some(json!({"alg": "RS256", "kid": key.kid}));
    }
    published
}

fn published() -> Vec<Published> {
    vec![
        two_rsa("Auth0", ["NjVBRjY5MDlCMUIwNzU4RTA2", "pgVMBNWmz8Rk4gvM"], with_chain),
        two_rsa(
            "Okta",
            ["U5R8cHbGw445Qbq8zVO1PcCpXL8yG6IcovVa3laCoxM", "Y3vBOdYT-l-I0j-gRQ26XjutSX00TeWiSguuDhW3ngo"],
            plain,
        ),
        entra("Entra v1", None),
        entra("Entra v2", Some("https://login.microsoftonline.com/{tenantid}/v2.0")),
        two_rsa(
            "Google",
            ["a50f6e70ef4b548a5fd9142eecd1fb8f54dce9ee", "73e25f9789119c7875d58087a78ac23f5ef2eda3"],
            plain,
        ),
        firebase(),
        two_rsa("Apple", ["W6WcOKB", "fh6Bs8C"], plain),
        two_rsa("Cognito", ["1a2B3c/4D5e6F+7g8H9i0J=", "kLmN0pQr/sTuV+wXyZ12345="], plain),
        keycloak(),
        two_rsa(
            "GitHub Actions",
            ["cc413527-173f-5a05-976e-9c52b1d7b431", "38826b17-6a30-5f9b-b169-8beb8202f723"],
            with_chain,
        ),
        two_rsa(
            "GitLab",
            ["kewiQq9jiC84CvSsJYOB-N6A8WFLSV20Mb-y7IlWDSQ", "4i3sFE7sxqNPOT7FdvcGA1ZVGGI_r-tsDXnEuYT4ZqE"],
            plain,
        ),
        kubernetes(),
        two_rsa("Zitadel", ["254879346289745921", "254879346289811457"], plain),
        two_rsa("Dex", ["b9f1a3c0d2e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8", "c0d2e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9f1a3"], plain),
        ping(),
        two_rsa("Salesforce", ["238", "240"], plain),
        two_rsa("Hydra", ["public:hydra.openid.id-token", "public:hydra.jwt.access-token"], plain),
        two_rsa("Vault", ["2a1c3d0e-9b6f-4a51-8f0d-7e2b5c4d6a98", "7c9e6679-7425-40de-944b-e07fc1f90ae7"], plain),
        spire(),
        supabase(),
        two_rsa("Clerk", ["ins_2FvXyZQpPq3nWm8d7TtRkUoLbJc", "ins_2GwYzARqQr4oXn9e8UuSlVpMcKd"], plain),
    ]
}

#[test]
fn each_issuers_keys_verify_their_tokens() {
    let (published, mut plan, mut rules) = (published(), Plan::new(), Vec::new());
    let issuers: Vec<Issuer> = published.iter().map(|_| issuer_with(Alg::Es256, Some(600))).collect();
    for (number, (issuer, published)) in issuers.iter().zip(&published).enumerate() {
        let name = format!("p{number}");
        issuer.publish(published.document.to_string().into_bytes());
        plan.config["providers"][&name] = remote(issuer, &name);
        rules.push(json!({"match": {"prefix": format!("/{number}/")}, "requires": {"provider_name": name}}));
        plan = plan.cluster(&name, issuer.addr());
    }
    let site = plan.top("rules", rules).start();
    for (number, (issuer, Published { issuer: name, good, bad, document })) in issuers.iter().zip(published).enumerate()
    {
        let status = |token: &str| site.send(&Request::get(&format!("/{number}/x")).bearer(token)).status;
        let claims = issuer.claims();
        for (key, header) in good {
            let token = header.map_or_else(|| key.mint(&claims), |header| key.mint_with_header(&header, &claims));
            let is_allowed = eventually(Duration::from_secs(5), || status(&token) == 200);
            assert!(is_allowed, "{name}: {document:#}");
        }
        for key in bad {
            let without_kid = key.mint_with_header(&json!({"alg": key.alg.name()}), &claims);
            for token in [key.mint(&claims), without_kid] {
                assert_eq!(status(&token), 401, "{name}: {document:#}");
            }
        }
    }
    site.assert_no_vm_restarted();
}
