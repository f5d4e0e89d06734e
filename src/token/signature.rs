//! Checking a signature. The crypto is a value passed in, so that another implementation can stand in for this one.

use jwt_compact::{
    alg::{Es256, Rsa, RsaSignature},
    Algorithm as JoseAlgorithm, AlgorithmSignature,
};

use crate::keys::{Algorithm, Key, Material};

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
}

/// Checks in the VM itself, by jwt-compact.
#[derive(Clone, Copy, Debug, Default)]
pub struct InVm;

impl SignatureCheck for InVm {
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        if !key.fits(algorithm) {
            return Err(BadSignature);
        }
        let good = match (key.material(), algorithm) {
            (Material::Rsa(key), Algorithm::Rs256) => RsaSignature::try_from_slice(signature)
                .is_ok_and(|signature| Rsa::rs256().verify_signature(&signature, key, signed)),
            (Material::P256(key), Algorithm::Es256) => <Es256 as JoseAlgorithm>::Signature::try_from_slice(signature)
                .is_ok_and(|signature| Es256.verify_signature(&signature, key, signed)),
            (Material::Rsa(_), Algorithm::Es256) | (Material::P256(_), Algorithm::Rs256) => false,
        };
        good.then_some(()).ok_or(BadSignature)
    }
}
