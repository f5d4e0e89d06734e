//! Wycheproof's vectors for JWS and JWK.

use jwks_gate::{
    keys::document,
    time::UnixTime,
    token::{jws::Jws, signature::WasmVerifier, verify::signed_by},
};
use serde_json::{json, Value};
use wycheproof_ng_kdf_jose::json_web::TestName;

/// Vectors with a verdict that deviates from the published one, and the reason.
const DEVIATIONS: [(&str, u64, &str); 10] = [
    ("signature", 346, "RFC 7520's PS384 token with a key for PS256: a key's alg is binding (RFC 7517 §4.4)"),
    ("signature", 347, "the key's alg is ES521, which is no algorithm (RFC 7518 §3.1)"),
    ("signature", 350, "as 346"),
    ("signature", 351, "as 347"),
    ("signature", 367, "byte for byte equal to 357, which is valid: the padding that the vector is about is missing"),
    ("signature", 370, "as 367"),
    ("signature", 372, "'?' in the base64url of the header: RFC 7515 §2 does not allow it"),
    ("signature", 373, "as 372, in the payload"),
    ("key", 1, "ambiguous: public and secret keys in one set; secrets are used only if the configuration says so"),
    ("key", 4, "ambiguous: two keys under one kid, as during a rotation; each is tried"),
];

pub fn is_good(keys: &Value, token: &str) -> bool {
    let Ok(document) = document::parse_local(set_of(keys).to_string().as_bytes()) else { return false };
    let Ok(jws) = Jws::parse(token.as_bytes().into()) else { return false };
    signed_by(&jws, &document.keys, |_| true, &WasmVerifier, UnixTime::default()).is_ok()
}

/// The keys and the token of each vector with a token.
pub fn tokens() -> Vec<(String, Value, String)> {
    let mut tokens = Vec::new();
    for (which, name) in [("signature", TestName::JsonWebSignature), ("key", TestName::JsonWebKey)] {
        let vectors: Value = serde_json::from_str(name.json_data()).unwrap();
        for group in vectors["testGroups"].as_array().unwrap() {
            let keys = group.get("public").unwrap_or(&group["private"]);
            for test in group["tests"].as_array().unwrap() {
                if let Some(token) = test["jws"].as_str() {
                    tokens.push((format!("{which} {}", test["tcId"]), set_of(keys), token.to_owned()));
                }
            }
        }
    }
    tokens
}

/// A JWKS of these keys.
pub fn set_of(keys: &Value) -> Value {
    if keys.get("keys").is_some() {
        keys.clone()
    } else {
        json!({ "keys": [keys] })
    }
}

fn check_vectors(which: &'static str, name: TestName) -> (usize, usize) {
    let vectors: Value = serde_json::from_str(name.json_data()).unwrap();
    let (mut count, mut wrong, mut deviations) = (0, Vec::new(), 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        // A group without a public key has a shared secret.
        let keys = group.get("public").unwrap_or(&group["private"]);
        for test in group["tests"].as_array().unwrap() {
            let number = test["tcId"].as_u64().unwrap();
            // Only the compact serialization is supported.
            let good = test["jws"].as_str().is_some_and(|token| is_good(keys, token));
            let differs = good != (test["result"] == "valid");
            let is_listed = DEVIATIONS.iter().any(|(set, known, _)| *set == which && *known == number);
            if differs != is_listed {
                wrong.push(format!("{number} {} {}: {good}", test["comment"], test["flags"]));
            }
            count += 1;
            deviations += usize::from(differs);
        }
    }
    assert_eq!(wrong, [""; 0], "{which}");
    (count, deviations)
}

#[test]
fn tokens_and_keys_are_verified_as_published() {
    let (signatures, keys) =
        (check_vectors("signature", TestName::JsonWebSignature), check_vectors("key", TestName::JsonWebKey));
    println!("JWS: {signatures:?}, JWK: {keys:?} (all, deviating)");
    assert_eq!((signatures, keys), ((401, 8), (26, 2)));
}
