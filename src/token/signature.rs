//! Signature verification. The verifier is a value that callers pass in: the VM, the host and tests each provide one.

use hmac::{digest::KeyInit, Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};

use crate::{
    crypto::{ecdsa, ed25519, rsa, Hash},
    keys::{Algorithm, Key, Material},
};

/// The signature was not made with this key over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// A verifier of signatures.
pub trait SignatureCheck {
    /// Verifies `signature`, in JOSE form (RFC 7518 §3), over `signed` with `key`.
    ///
    /// # Errors
    /// [`BadSignature`] if the signature does not verify, or if `key` does not fit `algorithm`.
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature>;

    /// Whether this verifier implements `algorithm`.
    fn supports(&self, _algorithm: Algorithm) -> bool {
        true
    }
}

/// Verifies in the VM, with [`crate::crypto`] and the crate hmac.
#[derive(Clone, Copy, Debug, Default)]
pub struct WasmVerifier;

impl SignatureCheck for WasmVerifier {
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        if !key.fits(algorithm) {
            return Err(BadSignature);
        }
        let is_good = match (key.material(), algorithm) {
            (Material::Ed25519(key), Algorithm::EdDsa) => ed25519::verify(key, signed, signature),
            (Material::Hmac(secret), Algorithm::Hs(hash)) => match hash {
                Hash::Sha256 => verify_hmac::<Hmac<Sha256>>(secret.as_bytes(), signed, signature),
                Hash::Sha384 => verify_hmac::<Hmac<Sha384>>(secret.as_bytes(), signed, signature),
                Hash::Sha512 => verify_hmac::<Hmac<Sha512>>(secret.as_bytes(), signed, signature),
            },
            (Material::P256(key), Algorithm::Es(Hash::Sha256)) => ecdsa::verify_p256(key, signed, signature),
            (Material::P384(key), Algorithm::Es(Hash::Sha384)) => ecdsa::verify_p384(key, signed, signature),
            (Material::P521(key), Algorithm::Es(Hash::Sha512)) => ecdsa::verify_p521(key, signed, signature),
            (Material::Rsa(key), Algorithm::Ps(hash)) => rsa::verify_pss(key, hash, signed, signature),
            (Material::Rsa(key), Algorithm::Rs(hash)) => rsa::verify_pkcs1(key, hash, signed, signature),
            _ => false,
        };
        is_good.then_some(()).ok_or(BadSignature)
    }

    fn supports(&self, algorithm: Algorithm) -> bool {
        ecdsa::IS_AVAILABLE || !matches!(algorithm, Algorithm::Es(Hash::Sha384 | Hash::Sha512))
    }
}

/// Verifies an authentication tag (RFC 7518 §3.2), in constant time.
fn verify_hmac<M: Mac + KeyInit>(secret: &[u8], signed: &[u8], tag: &[u8]) -> bool {
    // HMAC takes a secret of any length.
    <M as Mac>::new_from_slice(secret).is_ok_and(|mac| mac.chain_update(signed).verify_slice(tag).is_ok())
}
