//! Which keys verify: one JWK, a JWKS document, the set of keys that a token is checked with.

mod algorithm;
pub mod changes;
pub mod document;
mod jwk;
mod key_set;
pub mod revoked;

pub use algorithm::Algorithm;
pub use jwk::{Key, KeyError, Material};
pub use key_set::KeySet;
