use super::*;
use crate::{crypto::Hash, keys::Algorithm};
use serde_json::{json, Value};

// RFC 7515 A.3.1
fn p256() -> Value {
    json!({"kty":"EC","crv":"P-256","kid":"a",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

// RFC 7515 A.2.1
fn rsa() -> Value {
    json!({"kty":"RSA","e":"AQAB","n":concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
        "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
        "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
        "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ")})
}

fn with(mut jwk: Value, member: &str, value: Value) -> Result<Key, KeyError> {
    jwk[member] = value;
    Key::from_json(&jwk.to_string())
}

#[test]
fn the_key_decides_the_algorithm() {
    let ec = Key::from_json(&p256().to_string()).unwrap();
    assert!(ec.fits(Algorithm::Es(Hash::Sha256)) && !ec.fits(Algorithm::Rs(Hash::Sha256)));
    let rsa = Key::from_json(&rsa().to_string()).unwrap();
    assert!(rsa.fits(Algorithm::Rs(Hash::Sha256)) && !rsa.fits(Algorithm::Es(Hash::Sha256)));
    assert_eq!(with(p256(), "alg", json!("RS256")).unwrap_err(), KeyError::NotForVerifying);
    assert_eq!(with(p256(), "alg", json!("none")).unwrap_err(), KeyError::NotForVerifying);
}

#[test]
fn keys_that_must_not_verify_are_rejected() {
    let cases = [
        (p256(), "use", json!("enc"), KeyError::NotForVerifying),
        (p256(), "key_ops", json!(["sign"]), KeyError::NotForVerifying),
        (p256(), "d", json!("AA"), KeyError::Private),
        (rsa(), "qi", json!("AA"), KeyError::Private),
        (rsa(), "oth", json!([]), KeyError::Private),
        (p256(), "crv", json!("P-224"), KeyError::Unsupported),
        (p256(), "kty", json!("oct"), KeyError::Unsupported),
        (p256(), "kty", json!(7), KeyError::Malformed),
        (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE+"), KeyError::Malformed),
        (p256(), "x", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), KeyError::Weak),
        (p256(), "x", json!("AA"), KeyError::Weak),
        (rsa(), "e", json!("AQ"), KeyError::Weak),
        (rsa(), "e", json!("Ag"), KeyError::Weak),
        (rsa(), "e", json!(""), KeyError::Weak),
        (rsa(), "n", json!("AQAB"), KeyError::Weak),
        (rsa(), "n", json!(""), KeyError::Weak),
    ];
    for (jwk, member, value, error) in cases {
        assert_eq!(with(jwk, member, value.clone()).unwrap_err(), error, "{member}={value}");
    }
    assert_eq!(Key::from_json("[]").unwrap_err(), KeyError::Malformed);
}

#[test]
fn thumbprints_match_rfc_7638() {
    // RFC 7638 §3.1
    let jwk = json!({"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":concat!(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF",
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9",
        "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1",
        "jF44-csFCur-kEgU8awapJzKnqDKgw")});
    assert_eq!(Key::from_json(&jwk.to_string()).unwrap().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let other = with(p256(), "kid", json!("b")).unwrap();
    let same = Key::from_json(&p256().to_string()).unwrap();
    assert!(!other.is_same(&same) && other.thumbprint() == same.thumbprint());
}

/// A JWK with other members, or without those that are "REMOVED".
fn changed(jwk: Value, changes: &Value) -> Result<Key, KeyError> {
    let mut jwk = jwk;
    for (name, value) in changes.as_object().unwrap() {
        if *value == json!("REMOVED") {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    Key::from_json(&jwk.to_string())
}

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";

#[test]
fn what_jwt_authn_takes_is_the_same_key() {
    let padded = |name: &str, jwk: Value| json!({ name: format!("{}=", jwk[name].as_str().unwrap()) });
    let n = rsa()["n"].as_str().unwrap().to_owned();
    // A number in two bytes more.
    let long = |text: &str| {
        let bytes = base64::decode_url_safe(text).unwrap();
        use ::base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
        BASE64.encode([&[0, 0][..], &bytes].concat())
    };
    let cases = [
        (p256(), padded("x", p256())),
        (p256(), padded("y", p256())),
        (p256(), json!({"x": format!("{X}.")})),
        (p256(), json!({"x": format!(" {}\n\t", X.replace('J', "J\n "))})),
        // Bits that belong to no byte.
        (p256(), json!({"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEX"})),
        (p256(), json!({"x": long(X)})),
        (p256(), json!({"crv": "REMOVED"})),
        (p256(), json!({"crv": ""})),
        (p256(), json!({"crv": "REMOVED", "alg": "ES256"})),
        (p256(), json!({"use": "sig", "key_ops": ["verify"]})),
        (p256(), json!({"use": "jwt-svid"})),
        (p256(), json!({"use": "", "key_ops": []})),
        (p256(), json!({"use": null, "key_ops": null, "alg": null})),
        (p256(), json!({"use": 7, "key_ops": "sign", "alg": ["ES384"]})),
        (p256(), json!({"use": ["enc"], "key_ops": [7, null, {}], "alg": {"a": 1}})),
        (p256(), json!({"key_ops": ["sign", 7, "verify"]})),
        (p256(), json!({"alg": ""})),
        (p256(), json!({"d": null, "k": null})),
        (p256(), json!({"d": "", "p": "", "k": ""})),
        (p256(), json!({"n": 7, "e": [], "x5c": 7, "x5t": null, "exp": 1e3, "ext": true, "nested": {"x": [{}]}})),
        (rsa(), json!({"e": "AAEAAQ=="})),
        (rsa(), json!({"n": format!("{n}==")})),
        (rsa(), json!({"n": long(&n)})),
        (rsa(), json!({"crv": 7, "alg": "PS512"})),
    ];
    for (jwk, changes) in cases {
        let expected = Key::from_json(&jwk.to_string()).unwrap();
        let key = changed(jwk, &changes).unwrap_or_else(|error| panic!("{changes}: {error}"));
        assert_eq!((key.thumbprint(), key.kid()), (expected.thumbprint(), expected.kid()), "{changes}");
        assert_eq!(key.public_der(), expected.public_der(), "{changes}");
    }
}

#[test]
fn what_jwt_authn_refuses_is_refused() {
    let cases = [
        (p256(), json!({"x": format!("{X}==")}), KeyError::Malformed),
        (p256(), json!({"x": format!("{X}=A")}), KeyError::Malformed),
        (p256(), json!({"x": null}), KeyError::Malformed),
        (p256(), json!({"x": "REMOVED"}), KeyError::Malformed),
        (p256(), json!({"x": 7}), KeyError::Malformed),
        (p256(), json!({"x": ""}), KeyError::Weak),
        (p256(), json!({"x": "Q".repeat(44)}), KeyError::Weak),
        (p256(), json!({"crv": null}), KeyError::Malformed),
        (p256(), json!({"crv": 256}), KeyError::Malformed),
        (p256(), json!({"crv": "REMOVED", "alg": "ES256K"}), KeyError::Unsupported),
        (p256(), json!({"crv": "REMOVED", "alg": "ES384"}), KeyError::Weak),
        (p256(), json!({"alg": "ES384"}), KeyError::NotForVerifying),
        (p256(), json!({"kty": ""}), KeyError::Malformed),
        (p256(), json!({"kty": "REMOVED"}), KeyError::Malformed),
        (p256(), json!({"kty": "ec"}), KeyError::Unsupported),
        (rsa(), json!({"alg": "RSA-OAEP"}), KeyError::NotForVerifying),
        (rsa(), json!({"e": "AAAAAQ"}), KeyError::Weak),
        (json!({"kty": "OKP", "crv": "Ed25519"}), json!({"x": "Q".repeat(44)}), KeyError::Weak),
        (json!({"kty": "OKP", "x": X}), json!({}), KeyError::Unsupported),
        (json!({"kty": "OKP", "x": X}), json!({"crv": "X25519"}), KeyError::Unsupported),
        (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}), json!({}), KeyError::Unsupported),
    ];
    for (jwk, changes, error) in cases {
        assert_eq!(changed(jwk, &changes).unwrap_err(), error, "{changes}");
    }
}

/// Stricter than `jwt_authn`, on purpose.
#[test]
fn a_stated_purpose_counts() {
    for (changes, error) in [
        (json!({"use": "enc"}), KeyError::NotForVerifying),
        (json!({"use": "x509-svid"}), KeyError::NotForVerifying),
        (json!({"use": "SIG"}), KeyError::NotForVerifying),
        (json!({"key_ops": ["encrypt", "wrapKey"]}), KeyError::NotForVerifying),
        (json!({"d": 0}), KeyError::Private),
        (json!({"d": "AA", "kty": null}), KeyError::Private),
        (json!({"k": "AA"}), KeyError::Private),
    ] {
        assert_eq!(changed(p256(), &changes).unwrap_err(), error, "{changes}");
    }
    let twice = p256().to_string().replacen('{', r#"{"kid":"b","#, 1);
    assert_eq!(Key::from_json(&twice).unwrap_err(), KeyError::Malformed);
    let private = p256().to_string().replacen('{', r#"{"d":"","d":"AA","#, 1);
    assert_eq!(Key::from_json(&private).unwrap_err(), KeyError::Private);
    // However often a member occurs, one is kept.
    let many = p256().to_string().replacen('{', &format!("{{{}", r#""d":"","e":0,"#.repeat(1000)), 1);
    let jwk: Jwk = serde_json::from_str(&many).unwrap();
    assert!(jwk.is_ambiguous && !jwk.repeats_secret && jwk.members.len() <= NAMES.len());
    let unread = p256().to_string().replacen('{', r#"{"x5t":"b","x5t":"c","#, 1);
    assert!(Key::from_json(&unread).is_ok());
}

#[test]
fn a_kid_is_a_text_that_says_something() {
    for (kid, expected) in [
        (json!("b"), Some("b")),
        (json!(" "), Some(" ")),
        (json!(""), None),
        (json!(null), None),
        (json!(7), None),
        (json!(["a"]), None),
        (json!("REMOVED"), None),
    ] {
        assert_eq!(changed(p256(), &json!({"kid": kid})).unwrap().kid(), expected, "{kid}");
    }
}

#[test]
fn short_coordinates_are_padded() {
    // Multiples of the base points.
    for (crv, x, y, full_x, full_y) in [
        (
            "P-256",
            "VUOJSvPQDtfXQKvb11yWsGh3t4fbX3Dup4uQqNfACg",
            "u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I",
            "AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo",
            "u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I",
        ),
        (
            "P-256",
            "mGriUG8f8QTQQjCGHY9LSY9LxMbQCbMPdUTcEpuC0o0",
            "PMzApkYOCuMopNl9PHth2G_GKJwYnyUlEQxEG7B-lw",
            "mGriUG8f8QTQQjCGHY9LSY9LxMbQCbMPdUTcEpuC0o0",
            "ADzMwKZGDgrjKKTZfTx7YdhvxiicGJ8lJREMRBuwfpc",
        ),
        (
            "P-521",
            "xoWOBrcEBOnNnj7LZiOVtEKcZIE5BT-1Ifgor2BrTT26oUted-_nWSj-HcEnov-o3jNIs8GFakKb-X5-McLlvWY",
            "ARg5KWp4mjvABFyKX7QsfRvZmPVESVebRGgXr70XJz5mLJfucple9CZAxVC5AT-tB2E1PHCGonLCQIi-lHaf0WZQ",
            "AMaFjga3BATpzZ4-y2YjlbRCnGSBOQU_tSH4KK9ga009uqFLXnfv51ko_h3BJ6L_qN4zSLPBhWpCm_l-fjHC5b1m",
            "ARg5KWp4mjvABFyKX7QsfRvZmPVESVebRGgXr70XJz5mLJfucple9CZAxVC5AT-tB2E1PHCGonLCQIi-lHaf0WZQ",
        ),
    ] {
        let key = |x, y| Key::from_json(&json!({"kty": "EC", "crv": crv, "x": x, "y": y}).to_string()).unwrap();
        assert!(key(x, y).is_same(&key(full_x, full_y)), "{crv}");
        assert_eq!(key(x, y).public_der(), key(full_x, full_y).public_der(), "{crv}");
    }
}

#[test]
fn a_secret_may_be_padded() {
    let secret = |k: &str| Key::from_local_json(&json!({"kty": "oct", "k": k}).to_string());
    let (bare, padded) = ("A".repeat(43), format!("{}=", "A".repeat(43)));
    assert!(secret(&bare).unwrap().is_same(&secret(&padded).unwrap()));
    assert_eq!(secret("AAAA").unwrap_err(), KeyError::Weak);
    assert_eq!(secret("").unwrap_err(), KeyError::Weak);
}

#[test]
fn a_key_may_be_published_for_an_issuer() {
    let issuer = |member: &str| key_of(member).map(|key| key.issuer().map(str::to_owned));
    fn key_of(member: &str) -> Result<Key, KeyError> {
        let point =
            r#""x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        Key::from_json(&format!(r#"{{"kty":"EC","crv":"P-256","kid":"k",{member}{point}}}"#))
    }
    for (member, expected) in [
        ("", None),
        (r#""issuer":null,"#, None),
        (r#""issuer":"https://e/{tenantid}","#, Some("https://e/{tenantid}")),
        // No token has such an issuer.
        (r#""issuer":"","#, Some("")),
        (r#""issuer":["https://e"],"#, Some("")),
        (r#""issuer":7,"#, Some("")),
    ] {
        assert_eq!(issuer(member), Ok(expected.map(str::to_owned)), "{member}");
    }
    assert_eq!(issuer(r#""issuer":"a","issuer":"a","#), Err(KeyError::Malformed));
    let [none, a, b] = ["", r#""issuer":"a","#, r#""issuer":"b","#].map(|member| key_of(member).unwrap());
    assert!(a.is_same(&b) && a.is_same(&none) && a.thumbprint() == none.thumbprint());
    assert!(a.is_same_entry(&a.clone()) && !a.is_same_entry(&b) && !a.is_same_entry(&none));
}
