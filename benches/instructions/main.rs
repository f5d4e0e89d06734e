//! `make instructions`: how many instructions a request takes in the filter's own code. The native build of the same code runs
//! under valgrind's callgrind, which counts the same on a busy machine as on an idle one. Host calls and signatures are left out.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)]

use std::{env, hint::black_box, process::Command};

use jwks_gate::{
    config,
    engine::{Decision, Engine, Headers, StreamId},
    ids::ClientId,
    keys::{Algorithm, Key},
    shared::pairs,
    time::UnixTime,
    token::signature::{BadSignature, SignatureCheck},
};
use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::{json, Value};

/// Names, the rule's prefix, how many tokens take turns, and how many tenants the provider has: none is an `issuer`.
const CASES: [(&str, &str, u32, usize); 5] = [
    ("no rule matches", "/other/", 1, 0),
    ("token seen before", "/api/", 1, 0),
    ("token seen for the first time", "/api/", 50, 0),
    ("the same, one tenant", "/api/", 50, 1),
    ("the same, 500 tenants", "/api/", 50, 500),
];
/// The variable that has this program send requests: how many, the configuration and the tokens.
const TASK: &str = "INSTRUCTIONS_TASK";
/// The start is the same for few requests and for many.
const FEW: u32 = 100;
const MANY: u32 = 1100;

/// Says that every signature is good.
struct Unchecked;

impl SignatureCheck for Unchecked {
    fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }

    fn supports(&self, _: Algorithm) -> bool {
        true
    }
}

fn main() {
    if let Ok(task) = env::var(TASK) {
        let (requests, config, tokens): (u32, String, Vec<String>) = serde_json::from_str(&task).unwrap();
        return send(requests, &config, &tokens);
    }
    println!(
        "\nInstructions per request, native build, without host calls and signatures.\n\n| | instructions |\n|---|---|"
    );
    let key = SigningKey::generate(Alg::Rs256, "k");
    for (name, prefix, tokens, tenants) in CASES {
        let tokens: Vec<_> = (0..tokens).map(|number| token(&key, number)).collect();
        let [few, many] = [FEW, MANY].map(|requests| count(&json!([requests, config(&key, prefix, tenants), tokens])));
        println!("| {name} | {} |", (many - few) / u64::from(MANY - FEW));
    }
}

/// The instructions of a run of this program.
fn count(task: &Value) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe().unwrap());
    let output = valgrind.env(TASK, task.to_string()).output();
    let output = output.unwrap_or_else(|error| panic!("valgrind: {error}; Debian's package has that name"));
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("{text}"))
}

/// A token as in `make bench`.
fn token(key: &SigningKey, number: u32) -> String {
    key.mint(&json!({
        "iss": "https://issuer.test", "tid": "issuer", "aud": ["api", "other"], "sub": "spiffe://cluster.local/ns/shop/sa/orders",
        "exp": 2_000_000_000, "iat": 1_000_000_000, "jti": format!("{number:032x}"), "scope": "orders:read orders:write",
        "email": "somebody@example.com", "groups": ["staff", "orders", "payments"],
    }))
}

fn config(key: &SigningKey, prefix: &str, tenants: usize) -> String {
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let mut provider = json!({
        "audiences": ["api"], "local_jwks": {"inline_string": jwks},
        // Fewer than there are tokens, so that each token is new again when its turn comes.
        "jwt_cache_config": {"jwt_cache_size": 10},
    });
    if tenants == 0 {
        provider["issuer"] = json!("https://issuer.test");
    } else {
        let others = (1..tenants).map(|number| format!("72f988bf-86f1-41af-91ab-{number:012x}"));
        provider["issuer_template"] = json!("https://{tid}.test");
        provider["tenants"] = others.chain(["issuer".to_owned()]).collect();
    }
    let rules = json!([{"match": {"prefix": prefix}, "requires": {"provider_name": "p"}}]);
    json!({"providers": {"p": provider}, "rules": rules}).to_string()
}

fn send(requests: u32, config: &str, tokens: &[String]) {
    let mut engine = Engine::new(config::parse(config.as_bytes()).unwrap(), Unchecked);
    let headers = |token| {
        pairs::write(&[
            (":authority", "127.0.0.1:1234"),
            (":path", "/api/x"),
            (":method", "GET"),
            (":scheme", "http"),
            ("authorization", &format!("Bearer {token}")),
            ("x-forwarded-proto", "http"),
            ("x-request-id", "3b5c8a64-9f09-4a51-8a2b-0123456789ab"),
        ])
    };
    let lists: Vec<_> = tokens.iter().map(headers).collect();
    for (stream, bytes) in (0..requests).zip(lists.iter().cycle()) {
        let list = pairs::read(bytes).unwrap();
        let headers = Headers::new(&list);
        let resolved = engine.resolve(headers);
        black_box(resolved.providers());
        let now = UnixTime::from_millis(1_900_000_000_000);
        let decision = engine.on_request(StreamId(stream), resolved, headers, ClientId::default, now);
        assert!(matches!(decision, Decision::Continue(..)));
        engine.on_stream_end(StreamId(stream));
        black_box(decision);
    }
}
