//! Signature verification that jwt-compact does not provide, or not at the speed that a proxy needs: RSA, Ed25519,
//! and ECDSA on P-384 and P-521. Reading and writing of public keys in DER.
//!
//! Every function takes bytes and returns a verdict. The crate signs nothing and holds no secret.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod der;
pub mod ecdsa;
pub mod ed25519;
mod hash;
pub mod rsa;
pub mod spki;

pub use hash::Hash;
