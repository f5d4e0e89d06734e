//! The decision on a token under a key set, against another JOSE library.
//!
//! The reference decides in its own way, and is told as little as possible: keys are chosen by `kid`, `alg` and `use` as RFC
//! 7515 §4.1.4 and RFC 7517 §4 say. Whatever the filter accepts, the reference accepts. What the reference accepts, the filter
//! accepts or denies for a reason on a short list: its parser is stricter, and refuses weak secrets. The reference has no ES512:
//! for ES512, only the first half is left, that a bad signature is denied.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jsonwebtoken::{jwk::Jwk, DecodingKey, Validation};
use jwks_gate::{
    keys::{document, Algorithm},
    time::UnixTime,
    token::{
        issuers::Issuers,
        jws::Jws,
        signature::WasmVerifier,
        validation::TokenPolicy,
        verify::{verify, Unverified},
        TokenError,
    },
};
use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::{json, Value};

use crate::mutation;

/// Two keys of each algorithm: one may stand in the key set for the other.
static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
    let pair = |alg| [SigningKey::generate(alg, "a"), SigningKey::generate(alg, "b")];
    Alg::ALL.into_iter().flat_map(pair).collect()
});
const KIDS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("")];
const HEADER_ALGS: [&str; 6] = ["none", "None", "HS256", "ES256K", "RS256", ""];

pub fn seeds() -> Vec<Vec<u8>> {
    mutation::random(64, 160)
}

pub fn run(data: &[u8]) {
    let _ = compare(&mut Unstructured::new(data));
}

fn compare(u: &mut Unstructured<'_>) -> Result<bool> {
    let signer = u.choose(&KEYS)?;
    let jwks = key_set(signer, u)?;
    let token = token(signer, &jwks, u)?;
    let found = ours(&token, &jwks);
    let is_es512 = Jws::parse(token.as_bytes().into()).is_ok_and(|jws| jws.algorithm.name() == "ES512");
    let reference = reference(&token, &jwks);
    match (&found, reference) {
        (Ok(()), true) | (Err(_), false) => {}
        (Ok(()), false) => assert!(is_es512, "only the filter accepts {token} under {}", json!(jwks)),
        (Err(error), true) => {
            assert!(is_stricter(*error), "{error:?}: only the reference accepts {token} under {}", json!(jwks))
        }
    }
    Ok(found.is_ok())
}

/// The key of the token, with other keys, in some order; with and without `kid`, `alg` and `use`.
fn key_set(signer: &SigningKey, u: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let mut jwks = Vec::new();
    for index in 0..u.int_in_range(1..=3)? {
        let key = if index == 0 && u.ratio(7, 8)? { signer } else { u.choose(&KEYS)? };
        let mut jwk = key.public_jwk();
        let members = jwk.as_object_mut().expect("an object");
        for name in ["kid", "alg", "use"] {
            if u.ratio(1, 3)? {
                members.remove(name);
            }
        }
        if u.ratio(1, 6)? {
            members.insert("kid".into(), json!(u.choose(&["a", "b"])?));
        }
        if u.ratio(1, 8)? {
            members.insert("alg".into(), json!(u.choose(&Alg::ALL)?.name()));
        }
        if u.ratio(1, 16)? {
            members.insert("use".into(), json!("enc"));
        }
        jwks.push(jwk);
    }
    Ok(jwks)
}

fn token(signer: &SigningKey, jwks: &[Value], u: &mut Unstructured<'_>) -> Result<String> {
    let alg = if u.ratio(7, 8)? {
        signer.alg.name()
    } else if u.arbitrary()? {
        u.choose(&Alg::ALL)?.name()
    } else {
        *u.choose(&HEADER_ALGS)?
    };
    let mut header = json!({ "alg": alg, "typ": "JWT" });
    if let Some(kid) = u.choose(&KIDS)? {
        header["kid"] = json!(kid);
    }
    if u.ratio(1, 32)? {
        header["crit"] = json!(["x"]);
    }
    if u.ratio(1, 16)? {
        // A key that the token brings along counts for nothing.
        header["jwk"] = signer.public_jwk();
    }
    let mut claims = json!({ "iss": "i", "aud": "a" });
    match u.int_in_range(0..=15)? {
        0 => claims["iss"] = json!("other"),
        1 => claims["aud"] = json!(["x", "a"]),
        2 => claims["aud"] = json!("other"),
        3 => claims = json!({ "iss": "i" }),
        4 => claims = json!({ "aud": ["a"] }),
        5 => claims["x"] = json!({ "nested": [1, null, "é"] }),
        6 => claims["aud"] = json!([]),
        _ => {}
    }
    let mut payload = claims.to_string();
    if u.ratio(1, 16)? {
        payload = (*u.choose(&[
            "[]",
            "{}",
            r#"{"iss":"i","iss":"i","aud":"a"}"#,
            r#"{"iss":"i","aud":"a","x":{"y":1,"y":2}}"#,
            "7",
        ])?)
        .to_owned();
    }
    let input = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(payload));
    let mut signature = match u.int_in_range(0..=9)? {
        // A public key as a secret: what a library does that takes the algorithm of the token for its own.
        0 => confused(&input, jwks, u)?,
        1 => u.choose(&KEYS)?.sign_raw(input.as_bytes()),
        _ => signer.sign_raw(input.as_bytes()),
    };
    if u.ratio(1, 6)? && !signature.is_empty() {
        let at = u.choose_index(signature.len())?;
        match u.int_in_range(0..=4)? {
            0 => signature[at] ^= 1 << u.int_in_range(0..=7)?,
            1 => signature.truncate(at),
            2 => signature.push(0),
            3 => signature.insert(0, 0),
            _ => signature.fill(0),
        }
    }
    let mut token = format!("{input}.{}", BASE64.encode(signature)).into_bytes();
    if u.ratio(1, 8)? {
        let at = u.choose_index(token.len())?;
        match u.int_in_range(0..=3)? {
            0 => token[at] = *u.choose(b"AZaz09-_.=")?,
            1 => token.insert(at, *u.choose(b"A.=")?),
            2 => drop(token.remove(at)),
            _ => token.truncate(at),
        }
    }
    Ok(String::from_utf8(token).expect("ASCII"))
}

fn confused(input: &str, jwks: &[Value], u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let jwk = u.choose(jwks)?;
    let secret = match u.int_in_range(0..=2)? {
        0 => jwk.to_string().into_bytes(),
        1 => jwk["n"].as_str().or(jwk["x"].as_str()).unwrap_or("x").as_bytes().to_vec(),
        _ => BASE64.decode(jwk["n"].as_str().or(jwk["x"].as_str()).unwrap_or("AAAA")).unwrap_or_default(),
    };
    let key = jsonwebtoken::EncodingKey::from_secret(&secret).expect("a secret");
    let text = jsonwebtoken::crypto::sign(input.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).expect("HS256");
    Ok(BASE64.decode(text).expect("base64url"))
}

fn ours(token: &str, jwks: &[Value]) -> std::result::Result<(), Unverified> {
    let keys = document::parse_local(json!({ "keys": jwks }).to_string().as_bytes()).expect("a JWKS").keys;
    let policy = TokenPolicy {
        issuers: Issuers::new(vec!["i".into()], Vec::new()),
        audiences: vec!["a".into()],
        algorithms: Algorithm::ASYMMETRIC.into_iter().chain(Algorithm::SYMMETRIC).collect(),
        ..TokenPolicy::permissive()
    };
    let jws = Jws::parse(token.as_bytes().into())?;
    verify(&jws, &policy, Some(&keys), &WasmVerifier, UnixTime::from_millis(super::record::NOW)).map(|_| ())
}

fn reference(token: &str, jwks: &[Value]) -> bool {
    let Ok(header) = jsonwebtoken::decode_header(token) else { return false };
    let mut validation = Validation::new(header.alg);
    // Times depend on the reference's own clock.
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    validation.set_issuer(&["i"]);
    validation.set_audience(&["a"]);
    validation.set_required_spec_claims(&["iss", "aud"]);
    let name = serde_json::to_value(header.alg).expect("a name");
    let kid = header.kid.filter(|kid| !kid.is_empty());
    let may_verify = |jwk: &&Value| {
        let is_named = kid.as_deref().is_none_or(|kid| jwk.get("kid").is_none_or(|known| known == kid));
        is_named && jwk.get("alg").is_none_or(|alg| *alg == name) && jwk.get("use").is_none_or(|usage| usage == "sig")
    };
    jwks.iter().filter(may_verify).any(|jwk| {
        let jwk: std::result::Result<Jwk, _> = serde_json::from_value(jwk.clone());
        let key = jwk.ok().and_then(|jwk| DecodingKey::from_jwk(&jwk).ok());
        key.is_some_and(|key| jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok())
    })
}

/// Whether the filter denies for a reason that the reference does not know.
fn is_stricter(error: Unverified) -> bool {
    match error {
        Unverified::Denied(error) => matches!(
            error.kind(),
            TokenError::MalformedHeader(_) | TokenError::MalformedPayload(_) | TokenError::UnknownExtension
        ),
        Unverified::NoKeys | Unverified::UnknownKey(_) | Unverified::BadSignature => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_good_and_bad() {
        let all: Vec<_> =
            mutation::random(600, 160).iter().filter_map(|data| compare(&mut Unstructured::new(data)).ok()).collect();
        let good = all.iter().filter(|is_good| **is_good).count();
        assert!(good > 50 && all.len() - good > 50, "{good} of {}", all.len());
    }
}
