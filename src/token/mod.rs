//! Is this token good under these keys?
//!
//! [`jws`] and [`claims`] parse, [`validation`] checks what the token says, [`issuers`] whose the token claims to be, [`signature`]
//! checks who said it, and [`verify`] alone puts the checks together. [`claim_rules`] checks what rules say of claims.
//! [`host_verifier`] lets the host check signatures; [`cache`] remembers verified tokens. [`payload_value`] writes a payload in the
//! form that Envoy's dynamic metadata have.

#[doc(hidden)]
pub mod cache;
#[doc(hidden)]
pub mod claim_rules;
#[doc(hidden)]
pub mod claims;
mod error;
#[doc(hidden)]
pub mod host_verifier;
#[doc(hidden)]
pub mod issuers;
#[doc(hidden)]
pub mod jws;
pub(crate) mod payload_value;
pub mod signature;
#[doc(hidden)]
pub mod validation;
#[doc(hidden)]
pub mod verify;

pub use error::{MalformedField, TokenError};
