//! Published test vectors. Every verdict is as published, or the deviation has a reason.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used, unreachable_pub)]

mod case;
mod envoy;
mod jose;
mod rfc;
mod signatures;
