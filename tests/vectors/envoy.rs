//! The same vectors inside Envoy: signatures verified by the host and by the VM, and tokens verified by the filter and
//! explained by `jwks-gate explain`.

use std::collections::BTreeMap;

use jwks_gate::config;
use jwks_gate_issuer::Echo;
use jwks_gate_testbed::{
    http::{self, Request},
    probe::{self, Probe},
    wasm_filter, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::{
    case::base64,
    document_server::serve,
    explained::{telling, Explained},
    jose, rfc, signatures,
};

#[test]
fn host_and_vm_judge_as_published() {
    let mut probe = Probe::start();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for cases in signatures::all().chunks(50) {
        let requested: Vec<_> = cases
            .iter()
            .map(|case| probe::Case {
                algorithm: case.algorithm.to_owned(),
                key: case.key.clone(),
                message: base64(&case.message),
                signature: base64(&case.signature),
            })
            .collect();
        let verdicts = probe.verify(&requested, 0).unwrap();
        assert_eq!(verdicts.len(), cases.len());
        for (case, verdict) in cases.iter().zip(verdicts) {
            count += 1;
            if verdict.good != [case.good; 2] {
                wrong.push(format!("{}: {:?} by host and VM", case.name, verdict.good));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    println!("{count} signatures, each by host and VM");
    assert!(count > 4_900);
}

/// The keys of each JWKS are in the configuration if they may be there, and are fetched otherwise.
fn provider(jwks: &str, number: usize) -> Value {
    let algorithms = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
        "EdDSA",
    ];
    // The tokens of RFC 7515 expired in 2011. Most other payloads are no claims, and such tokens are denied before their signature.
    let skew = 1_000_000_000;
    let local = json!({"clock_skew_seconds": skew, "algorithms": algorithms, "local_jwks": {"inline_string": jwks}});
    if config::parse(json!({"providers": {"p": local}}).to_string().as_bytes()).is_ok() {
        return local;
    }
    json!({"clock_skew_seconds": skew, "remote_jwks": {
        "http_uri": {"uri": format!("http://documents/{number}"), "cluster": "documents", "timeout": "5s"},
        // No vector has a key that a second fetch brings.
        "rotation": {"unknown_kid_max_wait": "1s", "unknown_kid_min_interval": "3600s"},
    }})
}

/// A vector for a bare signature is no token: no request can carry it, so there is nothing to explain.
#[test]
fn tokens_are_explained_as_the_filter_decides() {
    let mut tokens = jose::tokens();
    for (name, key, token) in rfc::examples() {
        let tampered = token.replacen('.', ".e", 1);
        tokens.push((name.to_owned(), jose::set_of(&key), token));
        tokens.push((format!("{name}, tampered"), jose::set_of(&key), tampered));
    }
    let mut documents: BTreeMap<String, usize> = BTreeMap::new();
    for (_, keys, _) in &tokens {
        let number = documents.len();
        documents.entry(keys.to_string()).or_insert(number);
    }
    let mut texts = vec![String::new(); documents.len()];
    let (mut providers, mut rules) = (json!({}), Vec::new());
    for (text, number) in &documents {
        texts[*number].clone_from(text);
        providers[number.to_string()] = provider(text, *number);
        let requires = json!({"provider_name": number.to_string()});
        rules.push(json!({"match": {"prefix": format!("/{number}/")}, "requires": requires}));
    }
    let configuration = json!({"providers": providers, "rules": rules});
    let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let bootstrap = Bootstrap::with_filter(echo.addr(), wasm_filter(&configuration)).cluster("documents", serve(texts));
    let envoy = Envoy::start(&telling(bootstrap).yaml(), EnvoyOptions::default()).unwrap();
    let explained = Explained::new(&configuration);
    let requests: Vec<_> = tokens
        .iter()
        .map(|(_, keys, token)| {
            let path = format!("/{}/", documents[&keys.to_string()]);
            Request::get(&path).header("host", "vectors.test").bearer(token)
        })
        .collect();
    let mut allowed = 0;
    for (requests, tokens) in requests.chunks(50).zip(tokens.chunks(50)) {
        let answers = http::concurrently(envoy.addr(), requests.len(), |index| requests[index].clone());
        for ((request, answer), (name, keys, _)) in requests.iter().zip(answers).zip(tokens) {
            let answer = answer.unwrap();
            allowed += usize::from(answer.status == 200);
            explained.compare(name, request, Some(keys.to_string().as_bytes()), &answer);
        }
    }
    println!("{} tokens, {allowed} allowed", tokens.len());
    assert_eq!(explained.compared(), tokens.len());
    assert!(allowed >= 3, "{allowed}");
}
