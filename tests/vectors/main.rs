//! Published test vectors, all decided as published, or the reason why not.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used, unreachable_pub)]

mod case;
mod envoy;
mod jose;
mod rfc;
mod signatures;
