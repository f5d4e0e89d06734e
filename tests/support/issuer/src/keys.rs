//! Signing keys, and tokens assembled without a JWT library, because a library does not mint the invalid tokens that
//! tests need.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use aws_lc_rs::{digest, hmac};
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use base64::Engine;
use serde_json::{json, Value};

use crate::alg::Alg;
use crate::{pem, spare};

/// A private key with its `kid` and algorithm.
pub struct SigningKey {
    /// The key id in token headers and in the JWK.
    pub kid: String,
    /// The algorithm that the key signs with, whatever a header says.
    pub alg: Alg,
    secret: Secret,
}

enum Secret {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Hmac(Vec<u8>),
}

impl SigningKey {
    /// Generates a key. RSA keys have 2048 bits.
    pub fn generate(alg: Alg, kid: &str) -> SigningKey {
        let secret = match alg {
            Alg::Rs256 | Alg::Rs384 | Alg::Rs512 | Alg::Ps256 | Alg::Ps384 | Alg::Ps512 => Secret::Rsa(spare::take()),
            Alg::Es256 => ec(&sig::ECDSA_P256_SHA256_FIXED_SIGNING),
            Alg::Es384 => ec(&sig::ECDSA_P384_SHA384_FIXED_SIGNING),
            Alg::Es512 => ec(&sig::ECDSA_P521_SHA512_FIXED_SIGNING),
            Alg::EdDsa => Secret::Ed(Ed25519KeyPair::generate().expect("the library generates Ed25519 keys")),
            Alg::Hs256 | Alg::Hs384 | Alg::Hs512 => Secret::Hmac(random::<64>().to_vec()),
        };
        SigningKey { kid: kid.to_owned(), alg, secret }
    }

    /// Generates an RSA key of 2048, 3072, 4096 or 8192 bits. Long keys take seconds.
    ///
    /// # Panics
    ///
    /// If `alg` is not an RSA algorithm or `bits` has another value.
    pub fn generate_rsa(alg: Alg, kid: &str, bits: usize) -> SigningKey {
        assert!(alg.is_rsa(), "{alg} does not use RSA keys");
        let size = match bits {
            2048 => return SigningKey::generate(alg, kid),
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            8192 => KeySize::Rsa8192,
            _ => panic!("RSA keys of {bits} bits cannot be generated"),
        };
        let key = rsa::KeyPair::generate(size).expect("the library generates RSA keys");
        SigningKey { kid: kid.to_owned(), alg, secret: Secret::Rsa(key) }
    }

    /// The key as an entry of a JWKS, with `kid`, `alg` and `use`. The entry of an HMAC key holds the secret.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &self.secret {
            Secret::Rsa(key) => {
                let public = key.public_key();
                json!({
                    "kty": "RSA",
                    "n": BASE64.encode(public.modulus().big_endian_without_leading_zero()),
                    "e": BASE64.encode(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Secret::Ec(key) => {
                // The uncompressed point: 4, then x and y at the full width of the field, as RFC 7518 requires.
                let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
                json!({ "kty": "EC", "crv": self.curve(), "x": BASE64.encode(x), "y": BASE64.encode(y) })
            }
            Secret::Ed(key) => {
                json!({ "kty": "OKP", "crv": self.curve(), "x": BASE64.encode(key.public_key()) })
            }
            Secret::Hmac(secret) => json!({ "kty": "oct", "k": BASE64.encode(secret) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.alg.name());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key in PEM, `BEGIN PUBLIC KEY`.
    ///
    /// # Panics
    ///
    /// If the key is a secret.
    pub fn public_key_pem(&self) -> String {
        pem::pem("PUBLIC KEY", &self.public_der())
    }

    /// A certificate of the public key in PEM, as in the documents of Google and Firebase. The certificate has expired.
    ///
    /// # Panics
    ///
    /// If the key is a secret.
    pub fn certificate_pem(&self) -> String {
        pem::pem("CERTIFICATE", &pem::certificate(&self.public_der()))
    }

    fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der = match &self.secret {
            Secret::Rsa(key) => key.public_key().as_der(),
            Secret::Ec(key) => key.public_key().as_der(),
            Secret::Ed(key) => key.public_key().as_der(),
            Secret::Hmac(_) => panic!("a secret has no public key"),
        }
        .expect("the library encodes public keys");
        der.as_ref().to_vec()
    }

    /// A token with these claims and the header `alg`, `typ`, `kid`.
    pub fn mint(&self, claims: &Value) -> String {
        self.mint_with_header(&json!({ "alg": self.alg.name(), "typ": "JWT", "kid": self.kid }), claims)
    }

    /// A token with exactly this header, always signed by this key.
    pub fn mint_with_header(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = BASE64.encode(self.sign_raw(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// The signature in JOSE form. For ECDSA, the form is r followed by s.
    pub fn sign_raw(&self, signing_input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Rsa(key) => {
                let padding: &'static dyn sig::RsaEncoding = match self.alg {
                    Alg::Rs384 => &sig::RSA_PKCS1_SHA384,
                    Alg::Rs512 => &sig::RSA_PKCS1_SHA512,
                    Alg::Ps256 => &sig::RSA_PSS_SHA256,
                    Alg::Ps384 => &sig::RSA_PSS_SHA384,
                    Alg::Ps512 => &sig::RSA_PSS_SHA512,
                    _ => &sig::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, signing_input, &mut signature).expect("an RSA key signs");
                signature
            }
            Secret::Ec(key) => key.sign(&random, signing_input).expect("an EC key signs").as_ref().to_vec(),
            Secret::Ed(key) => key.sign(signing_input).as_ref().to_vec(),
            Secret::Hmac(secret) => {
                let algorithm = match self.alg {
                    Alg::Hs384 => hmac::HMAC_SHA384,
                    Alg::Hs512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(algorithm, secret), signing_input).as_ref().to_vec()
            }
        }
    }

    fn curve(&self) -> &'static str {
        match self.alg {
            Alg::Es384 => "P-384",
            Alg::Es512 => "P-521",
            Alg::EdDsa => "Ed25519",
            _ => "P-256",
        }
    }
}

fn ec(algorithm: &'static sig::EcdsaSigningAlgorithm) -> Secret {
    Secret::Ec(EcdsaKeyPair::generate(algorithm).expect("the library generates EC keys"))
}

/// A random `kid`, unique across runs.
pub(crate) fn fresh_kid() -> String {
    random_id::<8>()
}

/// Random bytes in hexadecimal.
pub(crate) fn random_id<const N: usize>() -> String {
    hex(&random::<N>())
}

/// A truncated SHA-256 hash in hexadecimal.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    hex(&digest::digest(&digest::SHA256, bytes).as_ref()[..16])
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
