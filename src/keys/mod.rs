//! Which keys does an issuer have now?
//!
//! [`document`] turns fetched bytes into a [`KeySet`]; [`life`] says when to fetch and what a fetch changes;
//! [`record`] is the form in which that life is shared by all workers of the process.

mod algorithm;
pub mod document;
pub mod http_cache;
mod jwk;
mod key_set;
pub mod lease;
pub mod life;
pub mod record;
pub mod retired;
pub mod revoked;
pub mod schedule;
pub mod timeline;

pub use algorithm::Algorithm;
pub use jwk::{Key, KeyError, Material};
pub use key_set::KeySet;
