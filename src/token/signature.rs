//! Checking a signature. The crypto is a value passed in, so that another implementation can stand in for this one.

use jwt_compact::{
    alg::{Ed25519, Es256, Hs256, Hs384, Hs512},
    Algorithm as JoseAlgorithm, AlgorithmSignature,
};

use crate::{
    crypto::{
        ecdsa::{self, Es384, Es512},
        rsa::{Pkcs1, Pss},
        Hash,
    },
    keys::{Algorithm, Key, Material},
};

/// The signature is not by this key over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// Something that can check signatures.
pub trait SignatureCheck {
    /// Checks `signature` (in JOSE form) over `signed` with `key`.
    ///
    /// # Errors
    /// [`BadSignature`], also when key and algorithm do not fit.
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature>;

    /// Whether signatures of this algorithm can be checked at all.
    fn supports(&self, _algorithm: Algorithm) -> bool {
        true
    }
}

/// Checks in the VM itself, by jwt-compact and the algorithms of [`crate::crypto`].
#[derive(Clone, Copy, Debug, Default)]
pub struct WasmVerifier;

impl SignatureCheck for WasmVerifier {
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        if !key.fits(algorithm) {
            return Err(BadSignature);
        }
        let good = match (key.material(), algorithm) {
            (Material::Ed25519(key), Algorithm::EdDsa) => is_good(&Ed25519, key, signed, signature),
            (Material::Hmac(secret), Algorithm::Hs(hash)) => match hash {
                Hash::Sha256 => is_good(&Hs256, &secret.as_bytes().into(), signed, signature),
                Hash::Sha384 => is_good(&Hs384, &secret.as_bytes().into(), signed, signature),
                Hash::Sha512 => is_good(&Hs512, &secret.as_bytes().into(), signed, signature),
            },
            (Material::P256(key), Algorithm::Es(Hash::Sha256)) => is_good(&Es256, key, signed, signature),
            (Material::P384(key), Algorithm::Es(Hash::Sha384)) => is_good(&Es384, key, signed, signature),
            (Material::P521(key), Algorithm::Es(Hash::Sha512)) => is_good(&Es512, key, signed, signature),
            (Material::Rsa(key), Algorithm::Ps(hash)) => is_good(&Pss(hash), key, signed, signature),
            (Material::Rsa(key), Algorithm::Rs(hash)) => is_good(&Pkcs1(hash), key, signed, signature),
            _ => false,
        };
        good.then_some(()).ok_or(BadSignature)
    }

    fn supports(&self, algorithm: Algorithm) -> bool {
        ecdsa::IS_AVAILABLE || !matches!(algorithm, Algorithm::Es(Hash::Sha384 | Hash::Sha512))
    }
}

fn is_good<A: JoseAlgorithm>(algorithm: &A, key: &A::VerifyingKey, signed: &[u8], signature: &[u8]) -> bool {
    // Some signatures cannot be made from bytes of another length without a panic.
    A::Signature::LENGTH.is_none_or(|length| length.get() == signature.len())
        && A::Signature::try_from_slice(signature)
            .is_ok_and(|signature| algorithm.verify_signature(&signature, key, signed))
}
