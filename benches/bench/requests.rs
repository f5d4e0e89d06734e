//! Processor time per request of one worker, for RS256 tokens seen for the first time and seen before.

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::{
    http::{Connection, Request},
    wasm_filter, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::median;

const ROUNDS: usize = 40;
const REQUESTS: usize = 400;
/// More than any cache holds, so that the cache drops a token before its next use.
const TOKENS: usize = 4_500;

struct Variant {
    name: &'static str,
    envoy: Envoy,
    connection: Connection,
    /// Whether each request has a different token.
    is_fresh: bool,
    next: usize,
    micros: Vec<f64>,
}

impl Variant {
    fn new(name: &'static str, filter: Option<Value>, is_fresh: bool) -> Self {
        let router = json!({
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        });
        let filters: Vec<_> = filter.into_iter().chain([router]).collect();
        // Envoy answers directly. An upstream would add the same cost, with noise, to each variant.
        let routes = json!({"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        }]});
        let nowhere = (std::net::Ipv4Addr::LOCALHOST, 9).into();
        let bootstrap = Bootstrap::with_filter(nowhere, json!({}))
            .connection_manager_option("http_filters", json!(filters))
            .connection_manager_option("route_config", routes);
        let envoy =
            Envoy::start(&bootstrap.yaml(), EnvoyOptions { concurrency: 1, ..EnvoyOptions::default() }).unwrap();
        let connection = Connection::open(envoy.addr()).unwrap();
        Self { name, envoy, connection, is_fresh, next: 0, micros: Vec::new() }
    }

    fn round(&mut self, tokens: &[String], is_measured: bool) {
        let begin = self.envoy.cpu_time();
        for _ in 0..REQUESTS {
            let token = &tokens[if self.is_fresh { self.next % tokens.len() } else { 0 }];
            self.next += 1;
            let response = self.connection.send(&Request::get("/api/x").bearer(token)).unwrap();
            assert_eq!(response.status, 200, "{}: {}", self.name, response.text());
        }
        if is_measured {
            self.micros.push((self.envoy.cpu_time() - begin).as_secs_f64() * 1e6 / REQUESTS as f64);
        }
    }
}

pub fn run() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let expires = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 86_400;
    let claims = |number: usize| {
        json!({
            "iss": "https://issuer.test", "aud": ["api", "other"], "sub": "spiffe://cluster.local/ns/shop/sa/orders",
            "exp": expires, "iat": expires - 90_000, "jti": format!("{number:032x}"), "scope": "orders:read orders:write",
            "email": "somebody@example.com", "groups": ["staff", "orders", "payments"],
        })
    };
    let tokens: Vec<_> = (0..TOKENS).map(|number| key.mint(&claims(number))).collect();
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let provider = |more: Value| {
        let mut provider = json!({
            "issuer": "https://issuer.test", "audiences": ["api"], "local_jwks": {"inline_string": jwks},
        });
        for (field, value) in more.as_object().unwrap() {
            provider[field] = value.clone();
        }
        json!({"p": provider})
    };
    let rules = |prefix: &str| json!([{"match": {"prefix": prefix}, "requires": {"provider_name": "p"}}]);
    let native = |more| {
        Some(json!({
            "name": "jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": provider(more),
                "rules": rules("/api/"),
            },
        }))
    };
    let ours = |prefix: &str, host: bool| {
        let config = json!({"providers": provider(json!({})), "rules": rules(prefix), "use_host_crypto": host});
        Some(wasm_filter(&config))
    };
    let mut variants = vec![
        Variant::new("no filter", None, true),
        Variant::new("jwt_authn", native(json!({})), true),
        Variant::new("jwt_authn, jwt_cache_config, token seen before", native(json!({"jwt_cache_config": {}})), false),
        Variant::new("jwks-gate, no rule matches", ours("/other/", true), true),
        Variant::new("jwks-gate, token seen for the first time", ours("/api/", true), true),
        Variant::new("the same, crypto of the VM", ours("/api/", false), true),
        Variant::new("jwks-gate, token seen before", ours("/api/", true), false),
    ];
    // An optional second build to compare with.
    if let Ok(wasm) = std::env::var("OTHER_WASM") {
        for (name, prefix, is_fresh) in [
            ("other wasm, no rule matches", "/other/", true),
            ("other wasm, first time", "/api/", true),
            ("other wasm, seen before", "/api/", false),
        ] {
            let mut filter = ours(prefix, true);
            if let Some(filter) = &mut filter {
                filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] = json!(wasm);
            }
            variants.push(Variant::new(name, filter, is_fresh));
        }
    }
    for round in 0..ROUNDS + 4 {
        for variant in &mut variants {
            // The first rounds warm up.
            variant.round(&tokens, round >= 4);
        }
    }
    // Within a round, the machine's load is about the same for all variants.
    let over_rounds = |of: &dyn Fn(usize) -> f64| median((0..ROUNDS).map(of).collect());
    println!(
        "\nRS256, tokens of {} bytes, one worker, {ROUNDS} rounds of {REQUESTS} requests in turn.\n",
        tokens[0].len()
    );
    println!("| | CPU per request, us | added | of what jwt_authn adds |\n|---|---|---|---|");
    for variant in &variants {
        let added = |which: &Variant, round: usize| which.micros[round] - variants[0].micros[round];
        let total = median(variant.micros.clone());
        let share = over_rounds(&|round| added(variant, round) / added(&variants[1], round));
        println!("| {} | {total:.1} | {:.1} | {share:.2} |", variant.name, over_rounds(&|round| added(variant, round)));
    }
}
