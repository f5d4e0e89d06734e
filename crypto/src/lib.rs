//! Signatures over bytes, and nothing else: each algorithm that jwt-compact does not bring, or not at the speed that a
//! proxy needs, as an [`Algorithm`](jwt_compact::Algorithm) of it. Only verification: there is no secret here to keep.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod der;
pub mod ecdsa;
mod hash;
pub mod rsa;

use std::borrow::Cow;

pub use hash::Hash;
use jwt_compact::AlgorithmSignature;

/// The signing key of an algorithm that only verifies: there is none.
#[derive(Clone, Copy, Debug)]
pub enum NoKey {}

/// A signature as it came: what it must look like is for its algorithm and key to say.
#[derive(Clone, Debug)]
pub struct RawSignature(Vec<u8>);

impl AlgorithmSignature for RawSignature {
    fn try_from_slice(slice: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(slice.to_vec()))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }
}
