//! jwks-gate: a proxy-wasm HTTP filter that verifies JWTs inside Envoy, built so that a key rotation neither rejects valid
//! tokens nor accepts revoked ones.
//!
//! # The design on one page
//! A pure core decides; a thin shell, `shell`, translates between the core and the proxy. The core makes no host call, reads no
//! clock and does no I/O: values go in with the time, values come out.
//!
//! * [`config`] turns the plugin configuration, a superset of Envoy's `jwt_authn`, into a checked plan, or names the mistake.
//! * `policy` knows which tokens a request needs, where they are, and what the answer is.
//! * `token` verifies a token under given keys.
//! * `keys` knows which keys verify; `rotation` knows when to fetch them and what a fetch changes.
//! * `shared` holds the forms in which workers share values.
//! * [`engine`] puts the parts together; `metrics` names what the engine counts.
//!
//! All workers of a process share one record per key set, `rotation::record::Record`. Only compare-and-swap changes a record,
//! through [`engine::Update::apply`], so any number of workers makes one fetch at a time. Each worker keeps the parsed keys of the
//! generation that it knows. A request that lacks a key is parked, the issuer is asked once, and the requirement of the request is
//! evaluated again from the start: [`engine`] never suspends a decision.
//!
//! # Use
//! ```
//! use jwks_gate::{config, engine::Engine, token::signature::WasmVerifier};
//!
//! let plan = config::parse(
//!     br#"{
//!         "providers": {"p": {"issuer": "https://issuer.test", "remote_jwks": {
//!             "http_uri": {"uri": "https://issuer.test/jwks.json", "cluster": "issuer", "timeout": "2s"}}}},
//!         "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]
//!     }"#,
//! )?;
//! assert_eq!(plan.remotes().count(), 1);
//! let engine = Engine::new(plan, WasmVerifier);
//! assert_eq!(engine.waiting(), 0);
//!
//! let mistake = config::parse(br#"{"providers": {"p": {"isuer": "https://issuer.test"}}}"#).unwrap_err();
//! assert!(mistake.to_string().starts_with("providers.p.isuer"));
//! # Ok::<(), jwks_gate::config::ConfigError>(())
//! ```

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

#[cfg(any(test, all(target_arch = "wasm32", feature = "filter")))]
mod allocator;
mod bytes;
pub mod config;
pub mod engine;
mod json;
#[cfg(all(target_arch = "wasm32", feature = "filter"))]
mod shell;
mod sorted;
pub mod time;
pub mod token;

// Not part of the interface: public for the tests, benchmarks and tools of this repository.
#[doc(hidden)]
pub mod ids;
#[doc(hidden)]
pub mod keys;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod policy;
#[doc(hidden)]
pub mod rotation;
#[doc(hidden)]
pub mod shared;
#[doc(hidden)]
pub mod string_matcher;
#[doc(hidden)]
pub use jwks_gate_crypto as crypto;
