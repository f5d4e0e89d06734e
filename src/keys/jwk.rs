//! One JSON Web Key (RFC 7517, RFC 7518 §6) into a key that can verify.

use std::fmt;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};
use jwt_compact::{
    alg::{Es256, RsaPublicKey},
    jwk::JsonWebKey,
    Algorithm as JoseAlgorithm,
};
use serde::{de::IgnoredAny, Deserialize};
use sha2::{Digest, Sha256};

use super::Algorithm;

/// The public key proper.
#[derive(Clone, Debug)]
pub enum Material {
    /// A point on P-256.
    P256(Box<<Es256 as JoseAlgorithm>::VerifyingKey>),
    /// An RSA modulus and exponent.
    Rsa(Box<RsaPublicKey>),
}

/// A key that verifies signatures of its issuer.
#[derive(Clone, Debug)]
pub struct Key {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
    thumbprint: String,
}

/// Why a JWK cannot be used. It is skipped; the other keys of its document are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not a JSON object with members of the right types.
    Malformed,
    /// `use`, `key_ops` or `alg` says that it is not for verifying with an algorithm known here.
    NotForVerifying,
    /// It holds private or secret members: somebody published what nobody may know.
    Private,
    /// `kty` or `crv` is not known here.
    Unsupported,
    /// The modulus, exponent or point is weak or invalid.
    Weak,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::NotForVerifying => "not for verifying",
            Self::Private => "private key published",
            Self::Unsupported => "unsupported type",
            Self::Weak => "weak or invalid",
        })
    }
}

#[derive(Deserialize)]
struct Members {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl Members {
    /// Private or secret members of RFC 7518 §6.2.2, §6.3.2 and §6.4.1.
    fn is_private(&self) -> bool {
        [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k].iter().any(|m| m.is_some())
    }
}

impl Key {
    /// Reads one member of a JWKS's `keys`.
    ///
    /// # Errors
    /// See [`KeyError`]; the key is then to be skipped.
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        if !json.trim_start().starts_with('{') {
            return Err(KeyError::Malformed);
        }
        let jwk: Members = serde_json::from_str(json).map_err(|_| KeyError::Malformed)?;
        if jwk.is_private() {
            return Err(KeyError::Private);
        }
        if jwk.usage.as_ref().is_some_and(|usage| usage != "sig") {
            return Err(KeyError::NotForVerifying);
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err(KeyError::NotForVerifying);
        }
        let (material, thumbprint) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::rsa(&jwk)?,
            ("EC", Some("P-256")) => Material::p256(&jwk)?,
            _ => return Err(KeyError::Unsupported),
        };
        let algorithm = match jwk.alg.as_deref() {
            None => None,
            Some(name) => {
                let algorithm = Algorithm::from_name(name).filter(|a| material.fits(*a));
                Some(algorithm.ok_or(KeyError::NotForVerifying)?)
            }
        };
        Ok(Self { kid: jwk.kid, algorithm, material, thumbprint })
    }

    /// The key's `kid`, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key's thumbprint (RFC 7638) with SHA-256, in base64url.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether this is the same public key under the same name and for the same use.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.thumbprint, &self.kid, self.algorithm) == (&other.thumbprint, &other.kid, other.algorithm)
    }

    /// The public key proper.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Whether a signature of this algorithm may be checked with this key: the key decides, never the token alone (RFC 8725 §3.1).
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

impl Material {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::Rsa(_) => algorithm == Algorithm::Rs256,
        }
    }

    /// The key and its thumbprint.
    fn rsa(jwk: &Members) -> Result<(Self, String), KeyError> {
        let modulus = unsigned(&jwk.n)?;
        let exponent = unsigned(&jwk.e)?;
        let bits =
            modulus.len().saturating_mul(8).saturating_sub(modulus.first().map_or(0, |b| b.leading_zeros() as usize));
        let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
        // RFC 7518 §3.3 wants 2048 bits; `rsa` takes at most 4096. An exponent of 1 would make every signature valid.
        if !(2048..=4096).contains(&bits) || !odd(&modulus) || !odd(&exponent) || exponent == [1] || exponent.len() > 4
        {
            return Err(KeyError::Weak);
        }
        let thumbprint = thumbprint(&format!(
            r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
            URL_SAFE_NO_PAD.encode(&exponent),
            URL_SAFE_NO_PAD.encode(&modulus)
        ));
        let jwk = JsonWebKey::Rsa { modulus: modulus.into(), public_exponent: exponent.into(), private_parts: None };
        let key = RsaPublicKey::try_from(&jwk).map_err(|_| KeyError::Weak)?;
        Ok((Self::Rsa(Box::new(key)), thumbprint))
    }

    fn p256(jwk: &Members) -> Result<(Self, String), KeyError> {
        let (x, y) = (decode(&jwk.x)?, decode(&jwk.y)?);
        let thumbprint = thumbprint(&format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            URL_SAFE_NO_PAD.encode(&x),
            URL_SAFE_NO_PAD.encode(&y)
        ));
        let jwk = JsonWebKey::EllipticCurve { curve: "P-256".into(), x: x.into(), y: y.into(), secret: None };
        let key = <Es256 as JoseAlgorithm>::VerifyingKey::try_from(&jwk).map_err(|_| KeyError::Weak)?;
        Ok((Self::P256(Box::new(key)), thumbprint))
    }
}

/// Of the members that RFC 7638 §3.2 requires, as it orders and writes them.
fn thumbprint(canonical: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

fn decode(member: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = member.as_deref().ok_or(KeyError::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Malformed)
}

/// A Base64urlUInt without its leading zeros; some issuers write them against RFC 7518 §2.
fn unsigned(member: &Option<String>) -> Result<Vec<u8>, KeyError> {
    Ok(decode(member)?.into_iter().skip_while(|b| *b == 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(ec.fits(Algorithm::Es256) && !ec.fits(Algorithm::Rs256));
        let rsa = Key::from_json(&rsa().to_string()).unwrap();
        assert!(rsa.fits(Algorithm::Rs256) && !rsa.fits(Algorithm::Es256));
        assert_eq!(with(p256(), "alg", json!("RS256")).unwrap_err(), KeyError::NotForVerifying);
        assert_eq!(with(p256(), "alg", json!("none")).unwrap_err(), KeyError::NotForVerifying);
    }

    #[test]
    fn keys_that_must_not_verify_are_refused() {
        let cases = [
            (p256(), "use", json!("enc"), KeyError::NotForVerifying),
            (p256(), "key_ops", json!(["sign"]), KeyError::NotForVerifying),
            (p256(), "d", json!("AA"), KeyError::Private),
            (rsa(), "qi", json!("AA"), KeyError::Private),
            (rsa(), "oth", json!([]), KeyError::Private),
            (p256(), "crv", json!("P-224"), KeyError::Unsupported),
            (p256(), "kty", json!("oct"), KeyError::Unsupported),
            (p256(), "kty", json!(7), KeyError::Malformed),
            (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEX"), KeyError::Malformed),
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
    fn thumbprints_are_those_of_rfc_7638() {
        // RFC 7638 §3.1
        let jwk = json!({"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF",
            "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9",
            "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1",
            "jF44-csFCur-kEgU8awapJzKnqDKgw")});
        assert_eq!(
            Key::from_json(&jwk.to_string()).unwrap().thumbprint(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
        let other = with(p256(), "kid", json!("b")).unwrap();
        let same = Key::from_json(&p256().to_string()).unwrap();
        assert!(!other.is_same(&same) && other.thumbprint() == same.thumbprint());
    }
}
