//! Which keys verify: one JWK, one PEM, a document of keys, the set of keys that a token is checked with.

mod algorithm;
mod base64;
pub mod changes;
pub mod document;
mod jwk;
mod key;
mod key_set;
mod pem;
pub mod revoked;

pub use algorithm::Algorithm;
pub use key::{Key, KeyError, Material};
pub use key_set::{KeySet, MAX_TRIED};
