//! Processor time per request under few and many providers, rules and issuers.

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::{
    http::{Connection, Request},
    wasm_filter, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::median;

const ROUNDS: usize = 20;
const REQUESTS: usize = 300;

/// One rule for each provider, and one rule that accepts a token of any provider.
fn config(providers: usize, jwks: &str) -> Value {
    let names = || (0..providers).map(|number| format!("p{number}"));
    let provider = |name: String| {
        let keys = json!({"inline_string": jwks});
        (name.clone(), json!({"issuer": format!("https://{name}.test"), "local_jwks": keys}))
    };
    let rule = |name: String| json!({"match": {"prefix": format!("/{name}/")}, "requires": {"provider_name": name}});
    let mut any: Vec<_> = names().map(|name| json!({"provider_name": name})).collect();
    any.push(json!({"allow_missing": {}}));
    let any = json!({"match": {"prefix": "/any/"}, "requires": {"requires_any": {"requirements": any}}});
    let rules: Vec<_> = names().map(rule).chain([any]).collect();
    let providers: serde_json::Map<_, _> = names().map(provider).collect();
    json!({"providers": providers, "rules": rules})
}

pub fn run() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let expires = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 86_400;
    let routes = json!({"virtual_hosts": [{
        "name": "all", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }]});
    let nowhere = (std::net::Ipv4Addr::LOCALHOST, 9).into();
    let mut sites = Vec::new();
    for providers in [1, 10, 100, 1_000] {
        let bootstrap = Bootstrap::with_filter(nowhere, wasm_filter(&config(providers, &jwks)))
            .connection_manager_option("route_config", routes.clone());
        let options = EnvoyOptions { concurrency: 1, ..EnvoyOptions::default() };
        let envoy = Envoy::start(&bootstrap.yaml(), options).unwrap();
        let connection = Connection::open(envoy.addr()).unwrap();
        let last = format!("p{}", providers - 1);
        let token = key.mint(&json!({"iss": format!("https://{last}.test"), "sub": "s", "exp": expires}));
        let paths = [format!("/{last}/x"), "/any/x".to_owned()];
        sites.push((providers, envoy, connection, token, paths, [Vec::new(), Vec::new()]));
    }
    for round in 0..ROUNDS + 3 {
        for (_, envoy, connection, token, paths, micros) in &mut sites {
            for (path, micros) in paths.iter().zip(micros) {
                let begin = envoy.cpu_time();
                for _ in 0..REQUESTS {
                    assert_eq!(connection.send(&Request::get(path).bearer(token)).unwrap().status, 200, "{path}");
                }
                // The first rounds warm up.
                if round >= 3 {
                    micros.push((envoy.cpu_time() - begin).as_secs_f64() * 1e6 / REQUESTS as f64);
                }
            }
        }
    }
    println!("\nCPU per request, us, for a token seen before.\n");
    println!("| providers and rules | own rule, the last | one rule for any of them |\n|---|---|---|");
    for (providers, _, _, _, _, [last, any]) in sites {
        println!("| {providers} | {:.1} | {:.1} |", median(last), median(any));
    }
}
