//! Tokens verify with the public key of the key that minted them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self as sig, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use base64::Engine;
use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::{json, Value};

#[test]
fn tokens_of_every_algorithm_verify() {
    for alg in Alg::ALL {
        let key = SigningKey::generate(alg, "k1");
        let jwk = key.public_jwk();
        assert_eq!((&jwk["kid"], &jwk["alg"], &jwk["use"]), (&json!("k1"), &json!(alg.name()), &json!("sig")));
        let token = key.mint(&json!({ "sub": "alice" }));
        let (header, claims) = parts(&token);
        assert_eq!(header, json!({ "alg": alg.name(), "typ": "JWT", "kid": "k1" }));
        assert_eq!(claims, json!({ "sub": "alice" }));
        assert!(verifies(alg, &jwk, &token), "{alg}");
        assert!(!verifies(alg, &SigningKey::generate(alg, "k1").public_jwk(), &token), "{alg} under another key");
    }
}

#[test]
fn signatures_and_coordinates_have_full_width() {
    for (alg, coordinate) in [(Alg::Es256, 32), (Alg::Es384, 48), (Alg::Es512, 66)] {
        // Enough keys to see a leading zero byte: one key in 256, and for P-521 one key in two.
        for _ in 0..300 {
            let key = SigningKey::generate(alg, "k");
            assert_eq!(bytes(&key.public_jwk()["x"]).len(), coordinate);
            assert_eq!(bytes(&key.public_jwk()["y"]).len(), coordinate);
            assert_eq!(key.sign_raw(b"input").len(), 2 * coordinate);
        }
    }
}

#[test]
fn any_header_is_signed_as_given() {
    let key = SigningKey::generate(Alg::Es256, "k1");
    for header in [json!({ "alg": "none" }), json!({ "alg": "HS256", "crit": ["x"] }), json!([]), json!("text")] {
        let token = key.mint_with_header(&header, &json!({}));
        assert_eq!(parts(&token).0, header);
        assert!(verifies(Alg::Es256, &key.public_jwk(), &token));
    }
}

#[test]
fn rsa_keys_of_other_sizes() {
    for bits in [3072, 4096] {
        let key = SigningKey::generate_rsa(Alg::Ps256, "big", bits);
        assert_eq!(bytes(&key.public_jwk()["n"]).len() * 8, bits);
        assert!(verifies(Alg::Ps256, &key.public_jwk(), &key.mint(&json!({}))));
    }
}

fn verifies(alg: Alg, jwk: &Value, token: &str) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64.decode(signature).unwrap();
    let field = |name: &str| bytes(&jwk[name]);
    let rsa = |parameters: &sig::RsaParameters| {
        let public = RsaPublicKeyComponents { n: field("n"), e: field("e") };
        public.verify(parameters, input.as_bytes(), &signature).is_ok()
    };
    let raw = |algorithm: &'static dyn VerificationAlgorithm, public: Vec<u8>| {
        UnparsedPublicKey::new(algorithm, public).verify(input.as_bytes(), &signature).is_ok()
    };
    let point = || [vec![4], field("x"), field("y")].concat();
    let mac = |algorithm| hmac::verify(&hmac::Key::new(algorithm, &field("k")), input.as_bytes(), &signature).is_ok();
    match alg {
        Alg::Rs256 => rsa(&sig::RSA_PKCS1_2048_8192_SHA256),
        Alg::Rs384 => rsa(&sig::RSA_PKCS1_2048_8192_SHA384),
        Alg::Rs512 => rsa(&sig::RSA_PKCS1_2048_8192_SHA512),
        Alg::Ps256 => rsa(&sig::RSA_PSS_2048_8192_SHA256),
        Alg::Ps384 => rsa(&sig::RSA_PSS_2048_8192_SHA384),
        Alg::Ps512 => rsa(&sig::RSA_PSS_2048_8192_SHA512),
        Alg::Es256 => raw(&sig::ECDSA_P256_SHA256_FIXED, point()),
        Alg::Es384 => raw(&sig::ECDSA_P384_SHA384_FIXED, point()),
        Alg::Es512 => raw(&sig::ECDSA_P521_SHA512_FIXED, point()),
        Alg::EdDsa => raw(&sig::ED25519, field("x")),
        Alg::Hs256 => mac(hmac::HMAC_SHA256),
        Alg::Hs384 => mac(hmac::HMAC_SHA384),
        Alg::Hs512 => mac(hmac::HMAC_SHA512),
    }
}

fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| BASE64.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap()).unwrap()
}
