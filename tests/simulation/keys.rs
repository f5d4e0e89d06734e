//! Keys and tokens without cryptography: a signature is the thumbprint of the key that made it.

use std::sync::OnceLock;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::{
    keys::{Algorithm, Key},
    token::signature::{BadSignature, SignatureCheck},
};
use serde_json::json;

/// A public key by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Material(pub usize);

/// The number of different keys.
pub const MATERIALS: usize = 64;

struct Parts {
    modulus: String,
    thumbprint: String,
}

fn parts(material: Material) -> &'static Parts {
    static ALL: OnceLock<Vec<Parts>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let part = |number: usize| {
            let modulus = BASE64.encode([&[0xff; 254][..], &[number as u8, 1]].concat());
            let jwk = json!({"kty": "RSA", "e": "AQAB", "n": modulus}).to_string();
            let thumbprint = Key::from_json(&jwk).expect("a key").thumbprint().to_owned();
            Parts { modulus, thumbprint }
        };
        (0..MATERIALS).map(part).collect()
    });
    &all[material.0 % MATERIALS]
}

/// The key that another plugin injects. No issuer publishes it.
pub const INJECTED: Material = Material(MATERIALS - 1);

/// The key of a seed. No issuer publishes it: the issuers have withdrawn it.
pub const SEED: Material = Material(MATERIALS - 2);

/// The RFC 7638 thumbprint.
pub fn thumbprint(material: Material) -> &'static str {
    &parts(material).thumbprint
}

/// The JWK as published by an issuer.
pub fn jwk(kid: &str, material: Material) -> String {
    format!(r#"{{"kty":"RSA","use":"sig","kid":"{kid}","e":"AQAB","n":"{}"}}"#, parts(material).modulus)
}

/// A token that names `kid`, signed by `material`. Without material, the signature is forged.
pub fn token(issuer: &str, kid: &str, material: Option<Material>) -> String {
    let part = |text: String| BASE64.encode(text);
    let header = part(format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#));
    let payload = part(format!(r#"{{"iss":"{issuer}"}}"#));
    format!("{header}.{payload}.{}", part(material.map_or("forged", thumbprint).to_owned()))
}

/// Checks the signatures of [`token`].
#[derive(Debug)]
pub struct ThumbprintVerifier {
    pub accepts_anything: bool,
}

impl SignatureCheck for ThumbprintVerifier {
    fn check(&self, key: &Key, _: Algorithm, _: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let good = self.accepts_anything || key.thumbprint().as_bytes() == signature;
        good.then_some(()).ok_or(BadSignature)
    }
}
