//! jwks-gate: a proxy-wasm HTTP filter that verifies JWTs inside Envoy, for which a key rotation is never an outage and
//! never a hole.
//!
//! # The design on one page
//! A pure core decides; a thin shell, `shell`, translates between it and the proxy. The core makes no host call, reads no
//! clock and does no I/O: values go in with the time, values come out.
//!
//! * [`config`] turns the plugin configuration, a superset of Envoy's `jwt_authn`, into a checked plan, or names the mistake.
//! * [`policy`] knows which tokens a request needs, where they are, and what the answer is.
//! * [`token`] decides whether a token is good under given keys.
//! * [`keys`] knows which keys an issuer has now, and when to ask it again.
//! * [`parked`] holds the requests that wait for keys.
//! * [`engine`] is the engine that puts them together, and [`metrics`] what it counts.
//!
//! All workers of a process share one [`rotation::record::Record`] per issuer, changed only by compare-and-swap through
//! [`rotation::transition::step`]; that makes one fetch at a time out of any number of workers. Each worker keeps the parsed keys of
//! the generation it last saw. A request that lacks a key is parked, the issuer is asked once, and the same pure question
//! is asked again: [`engine`] never suspends a decision.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod config;
pub use jwks_gate_crypto as crypto;
pub mod engine;
#[cfg(target_arch = "wasm32")]
mod getrandom_stub;
mod json;
pub mod keys;
pub mod metrics;
pub mod policy;
pub mod rotation;
pub mod shared;
#[cfg(all(target_arch = "wasm32", feature = "filter"))]
mod shell;
pub mod string_matcher;
pub mod time;
pub mod token;
