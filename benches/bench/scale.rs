//! What a request costs under many rules, issuers, tenants and keys.

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::wasm_filter;
use serde_json::{json, Value};

use crate::{
    in_a_day,
    site::Site,
    table::{self, Row},
};

const ROUNDS: usize = 15;
const GOAL: f64 = 1.1;
const TOKENS: usize = 4_500;

/// A condition of rule `number`; the request fulfils that of rule 0.
type Condition = fn(number: usize) -> Value;

fn claims(issuer: usize, number: usize) -> Value {
    json!({"iss": format!("https://{issuer}.test"), "tid": issuer.to_string(), "sub": number.to_string(), "exp": in_a_day()})
}

fn provider(issuer: usize, keys: &[Value]) -> Value {
    json!({
        "issuer": format!("https://{issuer}.test"),
        "local_jwks": {"inline_string": json!({"keys": keys}).to_string()},
    })
}

/// So many rules. The request matches the last.
fn rules(key: &SigningKey, count: usize, condition: Condition) -> Value {
    let rule = |number| json!({"match": condition(number), "requires": {"provider_name": "p"}});
    let rules: Vec<_> = (0..count).rev().map(rule).collect();
    json!({"providers": {"p": provider(0, &[key.public_jwk()])}, "rules": rules})
}

/// So many issuers under one rule. The token is of the last.
fn issuers(key: &SigningKey, count: usize) -> Value {
    let provider = |issuer: usize| (issuer.to_string(), provider(issuer, &[key.public_jwk()]));
    let providers: serde_json::Map<_, _> = (0..count).map(provider).collect();
    let any: Vec<_> = (0..count).rev().map(|issuer| json!({"provider_name": issuer.to_string()})).collect();
    let requires = match any.as_slice() {
        [only] => only.clone(),
        _ => json!({"requires_any": {"requirements": any}}),
    };
    json!({"providers": providers, "rules": [{"match": {"prefix": "/"}, "requires": requires}]})
}

/// So many tenants of one provider, which the token's issuer names. The token is of the last.
fn tenants(key: &SigningKey, count: usize) -> Value {
    let mut provider = provider(0, &[key.public_jwk()]);
    provider["issuer"] = Value::Null;
    provider["issuer_template"] = json!("https://{tid}.test");
    provider["tenants"] = (0..count).rev().map(|tenant| tenant.to_string()).collect();
    json!({
        "providers": {"p": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    })
}

/// So many keys. The token's key is the last.
fn keys(key: &SigningKey, count: usize) -> Value {
    let other = |number: usize| {
        let mut jwk = SigningKey::generate(Alg::Es256, "other").public_jwk();
        jwk["kid"] = json!(format!("other-{number}"));
        jwk
    };
    let keys: Vec<_> = (1..count).map(other).chain([key.public_jwk()]).collect();
    json!({
        "providers": {"p": provider(0, &keys)},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    })
}

pub fn run() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let fresh: Vec<_> = (0..TOKENS).map(|number| key.mint(&claims(0, number))).collect();
    let known = &fresh[..1];
    let conditions: [(&str, Condition); 3] = [
        ("prefix", |number| json!({"prefix": format!("/rule-{number}/")})),
        ("path", |number| json!({"path": format!("/rule-{number}/x")})),
        ("header", |number| {
            let value = json!({"exact": format!("rule-{number}")});
            json!({"prefix": "/", "headers": [{"name": "x-rule", "string_match": value}]})
        }),
    ];
    let mut sites = vec![Site::start(None, "/rule-0/x", &fresh)];
    let mut rows = Vec::new();
    let mut pair = |name: String, one: Value, many: Value, tokens: &[String]| {
        rows.push(Row { name, site: sites.len() + 1, relative_to: sites.len(), goal: Some(GOAL) });
        for config in [one, many] {
            sites.push(Site::start(Some(wasm_filter(&config)), "/rule-0/x", tokens).rule("rule-0"));
        }
    };
    for (name, condition) in conditions {
        let of = |count| rules(&key, count, condition);
        pair(format!("1,000 rules by {name}, token seen before"), of(1), of(1_000), known);
    }
    pair("1,000 issuers, token seen before".into(), issuers(&key, 1), issuers(&key, 1_000), known);
    pair("500 tenants, token seen for the first time".into(), tenants(&key, 1), tenants(&key, 500), &fresh);
    pair("100 keys, token seen for the first time".into(), keys(&key, 1), keys(&key, 100), &fresh);
    table::run("scale", "ES256; ratios to one rule, issuer, tenant or key.", &sites, &rows, ROUNDS);
}
