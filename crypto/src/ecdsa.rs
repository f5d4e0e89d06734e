//! ECDSA (RFC 7518 §3.4) on P-256, P-384 and P-521.
//!
//! Without the feature `all-curves` this module accepts every key on P-384 and P-521 and no signature. The host then verifies
//! both curves, and denies a point that is not on its curve: BoringSSL checks each point that it reads.

use p256::ecdsa::signature::Verifier as _;

/// Whether this module can verify signatures on P-384 and P-521: the feature `all-curves`.
pub const IS_AVAILABLE: bool = cfg!(feature = "all-curves");

#[cfg(feature = "all-curves")]
mod curves {
    use p384::ecdsa::signature::Verifier as _;

    pub(super) type P384 = p384::ecdsa::VerifyingKey;
    pub(super) type P521 = p521::ecdsa::VerifyingKey;

    pub(super) fn p384(sec1: &[u8]) -> Option<P384> {
        P384::from_sec1_bytes(sec1).ok()
    }

    pub(super) fn p521(sec1: &[u8]) -> Option<P521> {
        P521::from_sec1_bytes(sec1).ok()
    }

    pub(super) fn verify_p384(key: &P384, message: &[u8], signature: &[u8]) -> bool {
        p384::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }

    pub(super) fn verify_p521(key: &P521, message: &[u8], signature: &[u8]) -> bool {
        p521::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }
}

#[cfg(not(feature = "all-curves"))]
mod curves {
    #[derive(Clone)]
    pub(super) struct P384;
    #[derive(Clone)]
    pub(super) struct P521;

    pub(super) fn p384(_sec1: &[u8]) -> Option<P384> {
        Some(P384)
    }

    pub(super) fn p521(_sec1: &[u8]) -> Option<P521> {
        Some(P521)
    }

    pub(super) fn verify_p384(_key: &P384, _message: &[u8], _signature: &[u8]) -> bool {
        false
    }

    pub(super) fn verify_p521(_key: &P521, _message: &[u8], _signature: &[u8]) -> bool {
        false
    }
}

/// A public key on P-256.
#[derive(Clone)]
pub struct P256Key(p256::ecdsa::VerifyingKey);

impl P256Key {
    /// The key with the big-endian coordinates `x` and `y`. Returns `None` if the point is not on the curve.
    pub fn new(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&[&[4][..], x, y].concat()).ok().map(Self)
    }
}

/// A public key on P-384.
#[derive(Clone)]
pub struct P384Key(curves::P384);

impl P384Key {
    /// The key with the big-endian coordinates `x` and `y`. Returns `None` if the point is not on the curve.
    pub fn new(x: &[u8; 48], y: &[u8; 48]) -> Option<Self> {
        curves::p384(&[&[4][..], x, y].concat()).map(Self)
    }
}

/// A public key on P-521.
#[derive(Clone)]
pub struct P521Key(curves::P521);

impl P521Key {
    /// The key with the big-endian coordinates `x` and `y`. Returns `None` if the point is not on the curve.
    pub fn new(x: &[u8; 66], y: &[u8; 66]) -> Option<Self> {
        curves::p521(&[&[4][..], x, y].concat()).map(Self)
    }
}

/// Verifies ECDSA on P-256 with SHA-256: `ES256`. `signature` is in JOSE form, `r` followed by `s`.
pub fn verify_p256(key: &P256Key, message: &[u8], signature: &[u8]) -> bool {
    p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.0.verify(message, &signature).is_ok())
}

/// Verifies ECDSA on P-384 with SHA-384: `ES384`. `signature` is in JOSE form, `r` followed by `s`.
pub fn verify_p384(key: &P384Key, message: &[u8], signature: &[u8]) -> bool {
    curves::verify_p384(&key.0, message, signature)
}

/// Verifies ECDSA on P-521 with SHA-512: `ES512`. `signature` is in JOSE form, `r` followed by `s`.
pub fn verify_p521(key: &P521Key, message: &[u8], signature: &[u8]) -> bool {
    curves::verify_p521(&key.0, message, signature)
}
