//! Every algorithm, verified by the host and by the VM. Both must give the same verdict.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use fastrand::Rng;
use jwks_gate::{
    keys::{document, Algorithm},
    time::UnixTime,
    token::{jws::Jws, signature::WasmVerifier, validation::TokenPolicy, verify::verify},
};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::{Connection, Request};
use num_bigint::BigUint;
use serde_json::{json, Value};

use crate::setup::{Plan, Site};

fn keys() -> Vec<SigningKey> {
    let mut keys: Vec<_> = Alg::ALL.into_iter().map(|alg| SigningKey::generate(alg, alg.name())).collect();
    keys.push(SigningKey::generate_rsa(Alg::Rs256, "RS256-3072", 3072));
    keys.push(SigningKey::generate_rsa(Alg::Ps512, "PS512-4096", 4096));
    keys
}

fn jwks(keys: &[SigningKey]) -> String {
    json!({"keys": keys.iter().map(SigningKey::public_jwk).collect::<Vec<_>>()}).to_string()
}

fn names() -> Vec<&'static str> {
    Alg::ALL.into_iter().map(Alg::name).collect()
}

/// A site whose provider has a local JWKS.
fn site(jwks: &str, use_host_crypto: bool) -> Site {
    let mut plan = Plan::new().top("use_host_crypto", use_host_crypto);
    plan.config["providers"]["p"] = json!({
        "issuer": plan.issuer.issuer(), "audiences": ["api"], "algorithms": names(), "local_jwks": {"inline_string": jwks},
    });
    plan.start()
}

#[test]
fn each_algorithm_is_verified_by_host_and_vm() {
    let keys = keys();
    let jwks = jwks(&keys);
    for use_host_crypto in [true, false] {
        let site = site(&jwks, use_host_crypto);
        let by_host = if use_host_crypto { "RS256 RS384 RS512 ES256 ES384 ES512" } else { "none" };
        let line = format!("signatures checked by the host: {by_host};");
        assert!(site.envoy.log().contains(&line), "{}", site.envoy.log());
        for key in &keys {
            let token = key.mint(&site.issuer.claims());
            let response = site.get(&token);
            // The shipped wasm verifies these algorithms on the host only.
            let expected = if !use_host_crypto && matches!(key.alg, Alg::Es384 | Alg::Es512) { 401 } else { 200 };
            assert_eq!(response.status, expected, "{} host {use_host_crypto}: {}", key.kid, response.text());
            if key.alg == Alg::EdDsa {
                let header = json!({"alg": "Ed25519", "kid": key.kid});
                assert_eq!(site.get(&key.mint_with_header(&header, &site.issuer.claims())).status, 200);
            }
        }
        site.assert_no_vm_restarted();
    }
}

/// A token with one change. A few changes leave the token valid.
fn tamper(rng: &mut Rng, key: &SigningKey, keys: &[SigningKey], claims: &Value) -> String {
    let alg = key.alg.name();
    let good = key.mint(claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut signature = BASE64.decode(signature).unwrap();
    let index = rng.usize(..signature.len());
    let half = signature.len() / 2;
    match rng.u8(..12) {
        0 | 1 => signature[index] ^= 1 << rng.u8(..8),
        2 => signature.truncate(index),
        3 => signature.insert(0, 0),
        4 => signature.push(rng.u8(..)),
        5 => signature[..half].fill(0),
        6 => signature[half..].fill(0),
        7 => signature.fill(0xff),
        8 if matches!(alg.as_bytes(), [b'R' | b'P', ..]) => {
            // Equal modulo the modulus, but above the modulus.
            let modulus = BigUint::from_bytes_be(&BASE64.decode(key.public_jwk()["n"].as_str().unwrap()).unwrap());
            signature = (BigUint::from_bytes_be(&signature) + modulus).to_bytes_be();
        }
        // The other of the two valid values of `s`.
        8 if key.alg == Alg::Es256 => negate(&mut signature),
        8 => signature.rotate_left(half),
        9 => {
            // The name of another algorithm with an unchanged signature.
            let header = json!({"alg": names()[rng.usize(..names().len())], "kid": key.kid});
            let part = |value: &Value| BASE64.encode(value.to_string());
            return format!("{}.{}.{}", part(&header), part(claims), BASE64.encode(signature));
        }
        10 => {
            // Properly signed, but naming another key.
            let other = &keys[rng.usize(..keys.len())];
            return key.mint_with_header(&json!({"alg": alg, "kid": other.kid}), claims);
        }
        _ => {
            // Properly signed, without a `kid`.
            return key.mint_with_header(&json!({ "alg": alg }), claims);
        }
    }
    format!("{signed}.{}", BASE64.encode(signature))
}

/// Replaces `s` by `n - s` on P-256.
fn negate(signature: &mut [u8]) {
    let order = b"FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
    let order = BigUint::parse_bytes(order, 16).unwrap();
    let s = (order - BigUint::from_bytes_be(&signature[32..])).to_bytes_be();
    signature[32..].fill(0);
    signature[64 - s.len()..].copy_from_slice(&s);
}

#[test]
fn host_and_vm_agree_on_ten_thousand_tokens() {
    let mut rng = Rng::with_seed(7);
    let keys = keys();
    let jwks = jwks(&keys);
    let sites = [site(&jwks, true), site(&jwks, false)];
    let mut connections = sites.each_ref().map(|site| Connection::open(site.envoy.addr()).unwrap());
    let document = document::parse_local(jwks.as_bytes()).unwrap();
    assert!(document.skipped.is_empty() && document.keys.len() == keys.len());
    let claims = |site: &Site, rng: &mut Rng| {
        let mut claims = site.issuer.claims();
        claims["jti"] = json!(rng.u64(..).to_string());
        claims
    };
    let (mut good, mut bad) = (0, 0);
    for number in 0..10_500 {
        // Chooses the slow signers less often.
        let key = loop {
            let key = &keys[rng.usize(..keys.len())];
            if key.kid.len() == 5 || rng.u8(..8) == 0 {
                break key;
            }
        };
        let claims = claims(&sites[0], &mut rng);
        let token = if number % 4 == 0 { key.mint(&claims) } else { tamper(&mut rng, key, &keys, &claims) };
        let answers = connections.each_mut().map(|connection| {
            let response = connection.send(&Request::get("/api/x").bearer(&token)).unwrap();
            (response.status, response.text())
        });
        let policy = TokenPolicy {
            algorithms: names().into_iter().filter_map(Algorithm::from_name).collect(),
            ..TokenPolicy::permissive()
        };
        let now = UnixTime::default().plus(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap());
        let is_good = |jws: Jws| verify(&jws, &policy, Some(&document.keys), &WasmVerifier, now).is_ok();
        let native = Jws::parse(token.as_bytes().into()).is_ok_and(is_good);
        assert_eq!(answers[0].0 == 200, native, "host and native: {answers:?} {token}");
        // The shipped wasm verifies ES384 and ES512 on the host only.
        if answers[1].1 != "Jwt header [alg] is not supported" {
            let text = |(status, text): &(u16, String)| if *status == 200 { String::new() } else { text.clone() };
            assert_eq!((answers[0].0, text(&answers[0])), (answers[1].0, text(&answers[1])), "host and VM: {token}");
        }
        *if native { &mut good } else { &mut bad } += 1;
    }
    println!("{good} tokens good, {bad} bad, by host, VM and native code alike");
    assert!(good > 3_000 && bad > 5_000, "{good} good, {bad} bad");
    for site in &sites {
        site.assert_no_vm_restarted();
    }
}
