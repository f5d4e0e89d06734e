//! The same block and the same requests to Envoy's own `jwt_authn` and to our filter: status, body, challenge and what the
//! upstream gets must be the same, but for the differences that docs/jwt_authn.md lists.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used)]
// Here time is real, and nothing is published.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, unreachable_pub)]

mod cases;
mod more;
mod pair;
