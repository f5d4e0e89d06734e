//! Published test vectors. Every verdict is as published, or the deviation has a reason.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used, unreachable_pub)]

mod case;
#[path = "../differential/document_server.rs"]
mod document_server;
mod envoy;
#[path = "../support/explained.rs"]
mod explained;
mod jose;
mod rfc;
mod signatures;
