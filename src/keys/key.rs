//! A key that verifies signatures, whatever form its issuer published it in.

use std::fmt;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};

use super::Algorithm;
use crate::crypto::{der, ecdsa, ed25519, rsa::PublicKey as RsaPublicKey, Hash};

/// The cryptographic key.
#[derive(Clone)]
pub enum Material {
    /// An Ed25519 public key (RFC 8037).
    Ed25519(Box<ed25519::PublicKey>),
    /// A secret shared with the issuer (RFC 7518 §6.4).
    Hmac(Secret),
    /// A public key on P-256.
    P256(Box<ecdsa::P256Key>),
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
    issuer: Option<String>,
    material: Material,
    thumbprint: String,
    /// SubjectPublicKeyInfo for the host's verifier; `None` if the host does not support the key type.
    public_der: Option<Vec<u8>>,
}

/// Why a key of a document cannot be used. The document skips the key and keeps its other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The JWK is not a JSON object, a member is missing or has the wrong type or encoding, or the PEM cannot be read.
    Malformed,
    /// The document publishes the private key elsewhere.
    Exposed,
    /// `use`, `key_ops` or `alg` excludes verification with a supported algorithm.
    NotForVerifying,
    /// The JWK contains private or secret members, or the PEM a private key: the issuer has published a private key.
    Private,
    /// The type of the key, or its curve, is not supported.
    Unsupported,
    /// The modulus, exponent or point is weak or invalid.
    Weak,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::NotForVerifying => "not for verifying",
            Self::Exposed => "its private key is published",
            Self::Private => "private key published",
            Self::Unsupported => "unsupported type",
            Self::Weak => "weak or invalid",
        })
    }
}

impl Key {
    /// The key of this material, with the `kid` and the `alg` that its issuer published.
    ///
    /// # Errors
    /// [`KeyError::NotForVerifying`] if the material does not verify signatures of `alg`.
    pub(super) fn new(kid: Option<String>, alg: Option<&str>, prepared: Prepared) -> Result<Self, KeyError> {
        let thumbprint = prepared.thumbprint();
        let Prepared { material, public_der, .. } = prepared;
        let fitting = |name| Algorithm::from_name(name).filter(|algorithm| material.fits(*algorithm));
        let algorithm = alg.map(|name| fitting(name).ok_or(KeyError::NotForVerifying)).transpose()?;
        Ok(Self { kid, algorithm, issuer: None, material, thumbprint, public_der })
    }

    /// The same key, published for this issuer.
    pub(super) fn of_issuer(self, issuer: Option<String>) -> Self {
        Self { issuer, ..self }
    }

    /// The `kid` of the key.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The `issuer` of the key: the `iss` for which the key is published. Empty: no issuer that a token can name.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The RFC 7638 thumbprint with SHA-256, in base64url.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether both keys have the same key material, `kid` and `alg`.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.thumbprint, &self.kid, self.algorithm) == (&other.thumbprint, &other.kid, other.algorithm)
    }

    /// Whether both are the same key, published for the same issuer.
    pub fn is_same_entry(&self, other: &Self) -> bool {
        self.is_same(other) && self.issuer == other.issuer
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

/// A curve of NIST.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// The curve with this name (RFC 7518 §6.2.1.1).
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.name() == name)
    }

    /// The curve with this object identifier, given with tag and length.
    pub(super) fn from_oid(oid: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.oid() == oid)
    }

    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => der::P256,
            Self::P384 => der::P384,
            Self::P521 => der::P521,
        }
    }

    /// The bytes of a coordinate.
    pub(super) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The key with these coordinates, each of [`Self::size`] bytes. Returns `None` if the point is not on the curve.
    fn material(self, x: &[u8], y: &[u8]) -> Option<Material> {
        Some(match self {
            Self::P256 => Material::P256(Box::new(ecdsa::P256Key::new(x.try_into().ok()?, y.try_into().ok()?)?)),
            Self::P384 => Material::P384(Box::new(ecdsa::P384Key::new(x.try_into().ok()?, y.try_into().ok()?)?)),
            Self::P521 => Material::P521(Box::new(ecdsa::P521Key::new(x.try_into().ok()?, y.try_into().ok()?)?)),
        })
    }
}

/// The parts of a [`Key`] that depend on its type.
pub(super) struct Prepared {
    material: Material,
    /// The JSON that the thumbprint hashes (RFC 7638 §3.2, §3.3).
    canonical: String,
    public_der: Option<Vec<u8>>,
}

impl Prepared {
    /// An RSA key with big-endian numbers. Leading zeros are ignored: some issuers send them, although RFC 7518 §2 forbids
    /// them.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let [modulus, exponent] = [modulus, exponent].map(without_leading_zeros);
        let key = RsaPublicKey::new(modulus, exponent).ok_or(KeyError::Weak)?;
        let [e, n] = [exponent, modulus].map(|number| URL_SAFE_NO_PAD.encode(number));
        Ok(Self {
            material: Material::Rsa(Box::new(key)),
            canonical: format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            public_der: Some(der::rsa_key(modulus, exponent)),
        })
    }

    /// A point with big-endian coordinates of any length. RFC 7518 §6.2.1.2 wants the full length of the field; some issuers
    /// leave out leading zeros.
    pub(super) fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let padded = |coordinate| {
            let digits = without_leading_zeros(coordinate);
            let zeros = curve.size().checked_sub(digits.len()).ok_or(KeyError::Weak)?;
            Ok([&vec![0; zeros], digits].concat())
        };
        let (x, y) = (padded(x)?, padded(y)?);
        let material = curve.material(&x, &y).ok_or(KeyError::Weak)?;
        let public_der = Some(der::ec_key(curve.oid(), &x, &y));
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let canonical = format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.name());
        Ok(Self { material, canonical, public_der })
    }

    /// An Ed25519 key. A point of small order is weak.
    pub(super) fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(x));
        let key = ed25519::PublicKey::new(x).ok_or(KeyError::Weak)?;
        Ok(Self { material: Material::Ed25519(Box::new(key)), canonical, public_der: None })
    }

    /// A secret for HMAC.
    pub(super) fn hmac(secret: Vec<u8>) -> Result<Self, KeyError> {
        if secret.len() < Hash::Sha256.size() {
            return Err(KeyError::Weak);
        }
        let canonical = format!(r#"{{"k":"{}","kty":"oct"}}"#, URL_SAFE_NO_PAD.encode(&secret));
        Ok(Self { material: Material::Hmac(Secret(secret)), canonical, public_der: None })
    }

    /// The RFC 7638 thumbprint with SHA-256, in base64url.
    pub(super) fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Hash::Sha256.digest(&[self.canonical.as_bytes()]))
    }

    /// The key as a JWK with this `kid`, which is JSON text.
    pub(super) fn to_jwk(&self, kid: &str) -> String {
        format!(r#"{{"kid":{kid},{}"#, self.canonical.trim_start_matches('{'))
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
