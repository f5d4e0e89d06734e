//! Microseconds per signature check in Envoy, for each algorithm and verifier.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::probe::{Case, Probe};

use crate::median;

const ROUNDS: usize = 7;
/// A message as long as the signed part of a typical token.
const MESSAGE: [u8; 600] = [b'x'; 600];

pub fn run() {
    let mut keys: Vec<_> = Alg::ALL
        .into_iter()
        .filter(|alg| !alg.name().starts_with('H'))
        .map(|alg| SigningKey::generate(alg, "k"))
        .collect();
    keys.push(SigningKey::generate_rsa(Alg::Rs256, "RS256 (3072 bits)", 3072));
    keys.push(SigningKey::generate_rsa(Alg::Rs256, "RS256 (4096 bits)", 4096));
    let cases: Vec<_> = keys
        .iter()
        .map(|key| Case {
            algorithm: key.alg.name().to_owned(),
            key: key.public_jwk().to_string(),
            message: BASE64.encode(MESSAGE),
            signature: BASE64.encode(key.sign_raw(&MESSAGE)),
        })
        .collect();
    let mut probe = Probe::start();
    let mut micros = vec![[Vec::new(), Vec::new()]; cases.len()];
    for round in 0..=ROUNDS {
        for (case, micros) in cases.iter().zip(&mut micros) {
            let slow = ["ES384", "ES512"].contains(&case.algorithm.as_str());
            let verdict = probe.verify(std::slice::from_ref(case), if slow { 20 } else { 200 }).unwrap()[0];
            assert_eq!(verdict.good, [true; 2], "{}", case.algorithm);
            // The first round warms up: V8 compiles twice.
            if round > 0 {
                for (all, one) in micros.iter_mut().zip(verdict.micros) {
                    all.push(one);
                }
            }
        }
    }
    println!("\n| algorithm | host, us | VM, us |\n|---|---|---|");
    for (key, [host, vm]) in keys.iter().zip(micros) {
        let name = if key.kid == "k" { key.alg.name() } else { &key.kid };
        let is_offered = matches!(key.alg.name().as_bytes(), [b'R' | b'E', b'S', ..]);
        let host = if is_offered { format!("{:.0}", median(host)) } else { "-".to_owned() };
        println!("| {name} | {host} | {:.0} |", median(vm));
    }
}
