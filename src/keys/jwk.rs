//! Parsing of one JSON Web Key (RFC 7517, RFC 7518 §6).

use std::fmt;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};
use jwt_compact::{
    alg::{Ed25519, Es256},
    jwk::JsonWebKey,
    Algorithm as JoseAlgorithm,
};
use serde::{de::IgnoredAny, Deserialize};

use super::Algorithm;
use crate::crypto::{der, ecdsa, rsa::PublicKey as RsaPublicKey, Hash};

/// The cryptographic key of a JWK.
#[derive(Clone)]
pub enum Material {
    /// An Ed25519 public key (RFC 8037).
    Ed25519(<Ed25519 as JoseAlgorithm>::VerifyingKey),
    /// A secret shared with the issuer (RFC 7518 §6.4).
    Hmac(Secret),
    /// A public key on P-256.
    P256(Box<<Es256 as JoseAlgorithm>::VerifyingKey>),
    /// A public key on P-384.
    P384(Box<ecdsa::P384Key>),
    /// A public key on P-521.
    P521(Box<ecdsa::P521Key>),
    /// An RSA public key.
    Rsa(Box<RsaPublicKey>),
}

/// The bytes of a secret. `Debug` prints their number only.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Returns the secret.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A key that verifies signatures of an issuer.
#[derive(Clone, Debug)]
pub struct Key {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
    thumbprint: String,
    /// SubjectPublicKeyInfo for the host's verifier; `None` if the host does not support the key type.
    public_der: Option<Vec<u8>>,
}

/// Why a JWK cannot be used. The document skips the key and keeps its other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The JWK is not a JSON object, or a member is missing or has the wrong type or encoding.
    Malformed,
    /// `use`, `key_ops` or `alg` excludes verification with a supported algorithm.
    NotForVerifying,
    /// The JWK contains private or secret members: the issuer has published a private key.
    Private,
    /// `kty` or `crv` is not supported.
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
struct Jwk {
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
    k: Option<String>,
}

impl Jwk {
    /// Whether the JWK contains a private member (RFC 7518 §6.2.2 and §6.3.2).
    fn is_private(&self) -> bool {
        [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth].iter().any(|m| m.is_some())
    }
}

impl Key {
    /// Parses a member of `keys` in a JWKS.
    ///
    /// # Errors
    /// See [`KeyError`]; the caller skips the key.
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        Self::read(json, false)
    }

    /// Parses a key of `local_jwks`, which may also be a secret (`kty` `oct`).
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_local_json(json: &str) -> Result<Self, KeyError> {
        Self::read(json, true)
    }

    fn read(json: &str, allow_secret: bool) -> Result<Self, KeyError> {
        if !json.trim_start().starts_with('{') {
            return Err(KeyError::Malformed);
        }
        let jwk: Jwk = serde_json::from_str(json).map_err(|_| KeyError::Malformed)?;
        if jwk.is_private() || (jwk.k.is_some() && !(allow_secret && jwk.kty == "oct")) {
            return Err(KeyError::Private);
        }
        if jwk.usage.as_ref().is_some_and(|usage| usage != "sig") {
            return Err(KeyError::NotForVerifying);
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err(KeyError::NotForVerifying);
        }
        let Prepared { material, canonical, public_der } = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => Prepared::p256(&jwk)?,
            ("EC", Some("P-384")) => Prepared::p384(&jwk)?,
            ("EC", Some("P-521")) => Prepared::p521(&jwk)?,
            ("OKP", Some("Ed25519")) => Prepared::ed25519(&jwk)?,
            ("RSA", _) => Prepared::rsa(&jwk)?,
            ("oct", _) if allow_secret => Prepared::hmac(&jwk)?,
            _ => return Err(KeyError::Unsupported),
        };
        let algorithm = match jwk.alg.as_deref() {
            None => None,
            Some(name) => {
                let algorithm = Algorithm::from_name(name).filter(|a| material.fits(*a));
                Some(algorithm.ok_or(KeyError::NotForVerifying)?)
            }
        };
        let thumbprint = URL_SAFE_NO_PAD.encode(Hash::Sha256.digest(&[canonical.as_bytes()]));
        Ok(Self { kid: jwk.kid, algorithm, material, thumbprint, public_der })
    }

    /// The `kid` of the JWK.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The RFC 7638 thumbprint with SHA-256, in base64url.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether both keys have the same key material, `kid` and `alg`.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.thumbprint, &self.kid, self.algorithm) == (&other.thumbprint, &other.kid, other.algorithm)
    }

    /// The DER SubjectPublicKeyInfo (RFC 5280 §4.1) of an RSA or EC key.
    pub fn public_der(&self) -> Option<&[u8]> {
        self.public_der.as_deref()
    }

    /// The cryptographic key.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Whether this key may verify signatures of `algorithm`. The key decides, never the token alone (RFC 8725 §3.1).
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.algorithm.is_none_or(|this| this == algorithm)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519(_) => "Ed25519",
            Self::Hmac(_) => "HMAC",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::P521(_) => "P-521",
            Self::Rsa(_) => "RSA",
        })
    }
}

impl Material {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (Self::Ed25519(_), Algorithm::EdDsa)
            | (Self::P256(_), Algorithm::Es(Hash::Sha256))
            | (Self::P384(_), Algorithm::Es(Hash::Sha384))
            | (Self::P521(_), Algorithm::Es(Hash::Sha512))
            | (Self::Rsa(_), Algorithm::Ps(_) | Algorithm::Rs(_)) => true,
            // A secret must be at least as long as the digest (RFC 7518 §3.2).
            (Self::Hmac(secret), Algorithm::Hs(hash)) => secret.0.len() >= hash.size(),
            _ => false,
        }
    }
}

/// The parts of a [`Key`] that depend on its type.
struct Prepared {
    material: Material,
    /// The JSON that the thumbprint hashes (RFC 7638 §3.2, §3.3).
    canonical: String,
    public_der: Option<Vec<u8>>,
}

impl Prepared {
    fn rsa(jwk: &Jwk) -> Result<Self, KeyError> {
        let (modulus, exponent) = (unsigned(&jwk.n)?, unsigned(&jwk.e)?);
        let key = RsaPublicKey::new(&modulus, &exponent).ok_or(KeyError::Weak)?;
        let [e, n] = [&exponent, &modulus].map(|number| URL_SAFE_NO_PAD.encode(number));
        Ok(Self {
            material: Material::Rsa(Box::new(key)),
            canonical: format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            public_der: Some(der::rsa_key(&modulus, &exponent)),
        })
    }

    fn p256(jwk: &Jwk) -> Result<Self, KeyError> {
        Self::ec(jwk, "P-256", der::P256, 32, |x, y| {
            let jwk = JsonWebKey::EllipticCurve { curve: "P-256".into(), x: x.into(), y: y.into(), secret: None };
            let key = <Es256 as JoseAlgorithm>::VerifyingKey::try_from(&jwk).ok()?;
            Some(Material::P256(Box::new(key)))
        })
    }

    fn p384(jwk: &Jwk) -> Result<Self, KeyError> {
        Self::ec(jwk, "P-384", der::P384, 48, |x, y| {
            Some(Material::P384(Box::new(ecdsa::P384Key::new(x.try_into().ok()?, y.try_into().ok()?)?)))
        })
    }

    fn p521(jwk: &Jwk) -> Result<Self, KeyError> {
        Self::ec(jwk, "P-521", der::P521, 66, |x, y| {
            Some(Material::P521(Box::new(ecdsa::P521Key::new(x.try_into().ok()?, y.try_into().ok()?)?)))
        })
    }

    /// A point with coordinates of `size` bytes (RFC 7518 §6.2.1). `material` returns `None` if the point is not on the
    /// curve.
    fn ec(
        jwk: &Jwk,
        name: &str,
        curve: &[u8],
        size: usize,
        material: impl Fn(&[u8], &[u8]) -> Option<Material>,
    ) -> Result<Self, KeyError> {
        let (x, y) = (decode(&jwk.x)?, decode(&jwk.y)?);
        if x.len() != size || y.len() != size {
            return Err(KeyError::Weak);
        }
        let material = material(&x, &y).ok_or(KeyError::Weak)?;
        let public_der = Some(der::ec_key(curve, &x, &y));
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let canonical = format!(r#"{{"crv":"{name}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Ok(Self { material, canonical, public_der })
    }

    /// An Ed25519 key. A point of small order is weak: anybody can make signatures that verify under such a key.
    fn ed25519(jwk: &Jwk) -> Result<Self, KeyError> {
        let x = decode(&jwk.x)?;
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(&x));
        let encoded = JsonWebKey::KeyPair { curve: "Ed25519".into(), x: x.into(), secret: None };
        let key = <Ed25519 as JoseAlgorithm>::VerifyingKey::try_from(&encoded).ok();
        let key = key.filter(|key| !key.is_weak()).ok_or(KeyError::Weak)?;
        Ok(Self { material: Material::Ed25519(key), canonical, public_der: None })
    }

    fn hmac(jwk: &Jwk) -> Result<Self, KeyError> {
        let secret = decode(&jwk.k)?;
        if secret.len() < Hash::Sha256.size() {
            return Err(KeyError::Weak);
        }
        let canonical = format!(r#"{{"k":"{}","kty":"oct"}}"#, URL_SAFE_NO_PAD.encode(&secret));
        Ok(Self { material: Material::Hmac(Secret(secret)), canonical, public_der: None })
    }
}

fn decode(member: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = member.as_deref().ok_or(KeyError::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Malformed)
}

/// Decodes a Base64urlUInt. Leading zeros are removed: some issuers send them, although RFC 7518 §2 forbids them.
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
    fn thumbprints_match_rfc_7638() {
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
