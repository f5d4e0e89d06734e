//! ECDSA (RFC 7518 §3.4) on the curves that jwt-compact does not know.
//!
//! Without the feature `all-curves`, keys are taken as they are and nothing can be verified with them here: then it is for
//! the host to refuse a point that is not on its curve, as BoringSSL does whenever it reads one.

use std::borrow::Cow;

use jwt_compact::Algorithm;

use super::{NoKey, RawSignature};

/// Whether these algorithms can be verified here.
pub const IS_AVAILABLE: bool = cfg!(feature = "all-curves");

#[cfg(feature = "all-curves")]
mod curves {
    use p384::ecdsa::signature::Verifier as _;

    #[derive(Clone)]
    pub(super) struct P384(p384::ecdsa::VerifyingKey);
    #[derive(Clone)]
    pub(super) struct P521(p521::ecdsa::VerifyingKey);

    impl P384 {
        pub(super) fn new(sec1: &[u8]) -> Option<Self> {
            p384::ecdsa::VerifyingKey::from_sec1_bytes(sec1).ok().map(Self)
        }

        pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
        }
    }

    impl P521 {
        pub(super) fn new(sec1: &[u8]) -> Option<Self> {
            p521::ecdsa::VerifyingKey::from_sec1_bytes(sec1).ok().map(Self)
        }

        pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
        }
    }
}

#[cfg(not(feature = "all-curves"))]
mod curves {
    #[derive(Clone)]
    pub(super) struct P384;
    #[derive(Clone)]
    pub(super) struct P521;

    impl P384 {
        pub(super) fn new(_sec1: &[u8]) -> Option<Self> {
            Some(Self)
        }

        pub(super) fn verify(&self, _message: &[u8], _signature: &[u8]) -> bool {
            false
        }
    }

    impl P521 {
        pub(super) fn new(_sec1: &[u8]) -> Option<Self> {
            Some(Self)
        }

        pub(super) fn verify(&self, _message: &[u8], _signature: &[u8]) -> bool {
            false
        }
    }
}

/// A point on P-384.
#[derive(Clone)]
pub struct P384Key(curves::P384);

impl P384Key {
    /// The point of these coordinates; `None`: it is not on the curve.
    pub fn new(x: &[u8; 48], y: &[u8; 48]) -> Option<Self> {
        curves::P384::new(&[&[4][..], x, y].concat()).map(Self)
    }
}

/// A point on P-521.
#[derive(Clone)]
pub struct P521Key(curves::P521);

impl P521Key {
    /// The point of these coordinates; `None`: it is not on the curve.
    pub fn new(x: &[u8; 66], y: &[u8; 66]) -> Option<Self> {
        curves::P521::new(&[&[4][..], x, y].concat()).map(Self)
    }
}

/// ECDSA on P-384 with SHA-384.
#[derive(Clone, Copy, Debug)]
pub struct Es384;

impl Algorithm for Es384 {
    type SigningKey = NoKey;
    type VerifyingKey = P384Key;
    type Signature = RawSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("ES384")
    }

    fn sign(&self, key: &NoKey, _message: &[u8]) -> RawSignature {
        match *key {}
    }

    fn verify_signature(&self, signature: &RawSignature, key: &P384Key, message: &[u8]) -> bool {
        key.0.verify(message, &signature.0)
    }
}

/// ECDSA on P-521 with SHA-512.
#[derive(Clone, Copy, Debug)]
pub struct Es512;

impl Algorithm for Es512 {
    type SigningKey = NoKey;
    type VerifyingKey = P521Key;
    type Signature = RawSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("ES512")
    }

    fn sign(&self, key: &NoKey, _message: &[u8]) -> RawSignature {
        match *key {}
    }

    fn verify_signature(&self, signature: &RawSignature, key: &P521Key, message: &[u8]) -> bool {
        key.0.verify(message, &signature.0)
    }
}
