//! What a request costs beside Envoy's `jwt_authn`, and beside a Wasm filter that does nothing.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};
use jwks_gate::keys::Key;
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::wasm_filter;
use serde_json::{json, Value};

use crate::{
    in_a_day,
    site::{floor_filter, wasm_filter_from, Site},
    table::{self, Row},
    Filter,
};

const ROUNDS: usize = 25;
const ROUNDS_OF_ALGORITHMS: usize = 15;
/// More than any cache holds, so that the cache drops a token before its next use.
const TOKENS: usize = 4_500;

/// Tokens as a service mesh and a login service issue them. All differ.
fn tokens(key: &SigningKey, count: usize) -> Vec<String> {
    let expires = in_a_day();
    let claims = |number: usize| {
        json!({
            "iss": "https://issuer.test", "aud": ["api", "other"], "sub": "spiffe://cluster.local/ns/shop/sa/orders",
            "exp": expires, "iat": expires - 90_000, "jti": format!("{number:032x}"), "scope": "orders:read orders:write",
            "email": "somebody@example.com", "groups": ["staff", "orders", "payments"],
        })
    };
    (0..count).map(|number| key.mint(&claims(number))).collect()
}

fn config(key: &SigningKey, prefix: &str, more: &Value) -> Value {
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let mut provider = json!({
        "issuer": "https://issuer.test", "audiences": ["api"], "local_jwks": {"inline_string": jwks},
    });
    for (field, value) in more.as_object().unwrap() {
        provider[field] = value.clone();
    }
    json!({
        "providers": {"p": provider},
        "rules": [{"match": {"prefix": prefix}, "requires": {"provider_name": "p"}}],
    })
}

/// The argument of Envoy's `verify_signature` for this RS256 token: a protobuf message of hash, key, signature and text.
fn host_check(key: &SigningKey, token: &str) -> Vec<u8> {
    let key = Key::from_json(&key.public_jwk().to_string()).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let fields = [&b"sha256"[..], key.public_der().unwrap(), &signature, text.as_bytes()];
    let encode = |(number, bytes): (u8, &[u8])| {
        // Two bytes hold any length below 16,384.
        let length = [bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8];
        [&[(number + 1) << 3 | 2][..], &length, bytes].concat()
    };
    (0..).zip(fields).flat_map(encode).collect()
}

fn row(name: &str, site: usize, relative_to: usize, goal: Option<f64>) -> Row {
    Row { name: name.to_owned(), site, relative_to, goal }
}

pub fn run() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let fresh = tokens(&key, TOKENS);
    let known = &fresh[..1];
    let plain = json!({});
    let start = |filter, tokens: &[String]| Site::start(Some(filter), "/api/x", tokens);
    let native = |more: &Value| Filter::JwtAuthn.configured(&config(&key, "/api/", more));
    let ours = |prefix: &str| wasm_filter(&config(&key, prefix, &plain));
    let mut in_the_vm = config(&key, "/api/", &plain);
    in_the_vm["use_host_crypto"] = json!(false);
    let mut sites = vec![
        Site::start(None, "/api/x", &fresh),
        start(native(&plain), &fresh),
        start(native(&json!({"jwt_cache_config": {}})), known),
        start(floor_filter(b""), &fresh),
        start(ours("/other/"), &fresh),
        start(ours("/api/"), &fresh),
        start(wasm_filter(&in_the_vm), &fresh),
        start(ours("/api/"), known),
        start(floor_filter(b"headers"), &fresh),
        start(floor_filter(b"known"), known),
        start(floor_filter(&host_check(&key, &fresh[0])), &fresh),
    ];
    let mut rows = vec![
        row("`jwt_authn`, token seen for the first time", 1, 1, None),
        row("`jwt_authn`, token seen before, with `jwt_cache_config`", 2, 1, None),
        row("an empty Wasm filter", 3, 1, None),
        row("host calls alone: all headers", 8, 1, None),
        row("host calls alone: token seen before", 9, 1, None),
        row("host calls alone: token seen for the first time", 10, 1, None),
        row("jwks-gate, no rule matches, relative to the empty filter", 4, 3, Some(1.1)),
        row("jwks-gate, no rule matches", 4, 1, None),
        row("jwks-gate, token seen before", 7, 1, Some(0.3)),
        row("jwks-gate, token seen for the first time", 5, 1, Some(0.85)),
        row("the same, signatures checked in the VM", 6, 1, None),
    ];
    // An optional second build to compare with: the ratios are to the first build's.
    if let Ok(wasm) = std::env::var("OTHER_WASM") {
        for (name, prefix, tokens, relative_to) in [
            ("other build, no rule matches", "/other/", &fresh[..], 4),
            ("other build, first time", "/api/", &fresh, 5),
            ("other build, seen before", "/api/", known, 7),
        ] {
            rows.push(row(name, sites.len(), relative_to, None));
            sites.push(start(wasm_filter_from(&wasm, &config(&key, prefix, &plain)), tokens));
        }
    }
    let title = format!("RS256, tokens of {} bytes; ratios to a first use in `jwt_authn`.", fresh[0].len());
    table::run("requests", &title, &sites, &rows, ROUNDS);
}

/// First uses of tokens with other algorithms.
pub fn algorithms() {
    let mut sites = Vec::new();
    let mut rows = Vec::new();
    for (alg, goal) in [(Alg::Es256, 0.85), (Alg::EdDsa, 1.2), (Alg::Es384, 1.2), (Alg::Es512, 1.2), (Alg::Ps256, 1.5)]
    {
        let key = SigningKey::generate(alg, "k");
        let fresh = tokens(&key, TOKENS);
        let config = config(&key, "/api/", &json!({}));
        if sites.is_empty() {
            sites.push(Site::start(None, "/api/x", &fresh));
        }
        rows.push(row(alg.name(), sites.len() + 1, sites.len(), Some(goal)));
        for filter in [Filter::JwtAuthn, Filter::JwksGate] {
            sites.push(Site::start(Some(filter.configured(&config)), "/api/x", &fresh));
        }
    }
    table::run(
        "algorithms",
        "Tokens seen for the first time; ratios to `jwt_authn`.",
        &sites,
        &rows,
        ROUNDS_OF_ALGORITHMS,
    );
}
