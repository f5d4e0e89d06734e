//! Sends the same requests to Envoy's `jwt_authn` and to jwks-gate, both with the same configuration. Status, body,
//! challenge and the upstream's request must be equal, except for the differences that docs/jwt_authn.md lists.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used)]
// These tests use the real clock, and export no API.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, unreachable_pub)]

mod cases;
mod converted;
mod document_server;
mod documents;
mod more;
mod notation;
mod pair;
mod random_documents;
mod tokens;
