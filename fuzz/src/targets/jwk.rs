//! One JSON Web Key.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::{
    crypto::spki::{self, PublicKey},
    keys::{
        document::{self, Limits},
        Algorithm, Key, KeyError, Material,
    },
};
use sha2::{Digest, Sha256};

use crate::json;

/// RFC 7517 §A.1 and §A.3, RFC 8037 §A.2, RFC 7638 §3.1, and keys that are written in other ways.
pub(super) const KEYS: [&str; 9] = [
    r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}"#,
    r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4=","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"2","key_ops":["verify"]}"#,
    r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29","issuer":"https://issuer.test"}"#,
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow","kid":"HMAC key"}"#,
    r#"{"kty":"EC","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#,
    r#"{"kty":"EC","alg":"ES384","crv":"P-384","x":"AA","y":"AA"}"#,
    r#"{"kty":"RSA","n":"AAAA","e":"Aw","d":null,"kid":7,"use":["sig"],"key_ops":"verify"}"#,
    r#"{"kty":"EC","kty":"EC","d":"","d":"x"}"#,
];

pub fn seeds() -> Vec<Vec<u8>> {
    super::texts(&KEYS)
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (fetched, local) = (Key::from_json(text), Key::from_local_json(text));
    let key = match (fetched, local) {
        (Ok(fetched), Ok(local)) => {
            assert!(fetched.is_same_entry(&local) && fetched.thumbprint() == local.thumbprint());
            fetched
        }
        (Err(KeyError::Private), Ok(secret)) => {
            assert!(matches!(secret.material(), Material::Hmac(_)), "a private key");
            assert!(Algorithm::ASYMMETRIC.into_iter().all(|algorithm| !secret.fits(algorithm)));
            return;
        }
        (Err(fetched), Err(local)) => {
            // Of a secret, the reasons differ: a fetched document has no use for one.
            return assert!(fetched == local || matches!(fetched, KeyError::Private | KeyError::Unsupported));
        }
        (fetched, local) => panic!("{fetched:?}, and in a configuration {local:?}"),
    };
    assert!(Algorithm::SYMMETRIC.into_iter().all(|algorithm| !key.fits(algorithm)), "a public key as a secret");
    for (name, value) in json::members(text).expect("a key is an object") {
        let is_private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].contains(&name.as_str());
        assert!(!is_private || ["null", r#""""#].contains(&value.get()), "{name} of {key:?}");
    }
    check_public_form(&key);
}

/// The DER of a key is the key, and the thumbprint is that of RFC 7638.
fn check_public_form(key: &Key) {
    let Some(der) = key.public_der() else { return };
    let number = |bytes: &[u8]| BASE64.encode(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]);
    let canonical = match (spki::public_key(der), key.material()) {
        (Some(PublicKey::Rsa { modulus, exponent }), Material::Rsa(rsa)) => {
            assert_eq!(modulus.strip_prefix(&[0]).unwrap_or(modulus), rsa.modulus());
            assert_eq!(number(exponent), number(&rsa.exponent().to_be_bytes()));
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, number(exponent), number(modulus))
        }
        (Some(PublicKey::Ec { point, .. }), material) => {
            let curve = match material {
                Material::P256(_) => "P-256",
                Material::P384(_) => "P-384",
                Material::P521(_) => "P-521",
                _ => panic!("{key:?}"),
            };
            let [x, y] =
                [&point[1..][..point.len() / 2], &point[1 + point.len() / 2..]].map(|half| BASE64.encode(half));
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        (read, _) => panic!("{key:?} is written as {read:?}"),
    };
    assert_eq!(key.thumbprint(), BASE64.encode(Sha256::digest(canonical)));
    let pem = pem("PUBLIC KEY", der);
    let map = serde_json::json!({ "k": pem }).to_string();
    let read = document::parse(map.as_bytes(), Limits::default()).expect("a key in PEM");
    assert_eq!(read.keys.published().map(Key::thumbprint).collect::<Vec<_>>(), [key.thumbprint()]);
}

/// A block of PEM.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}
