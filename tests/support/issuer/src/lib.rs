//! The issuer and the upstream for the tests and the demo of jwks-gate, over real sockets:
//!
//! - [`Issuer`] publishes a JWKS, mints tokens, rotates its keys, and fails on demand.
//! - [`Echo`] is an upstream that answers with the request that it got.
//! - [`SigningKey`] mints tokens with any header and claims, without a server.
//!
//! Both servers are also programs, `jwks-gate-issuer` and `jwks-gate-echo`.

mod admin;
mod alg;
mod core;
mod date;
mod echo;
mod fault;
mod gateway;
mod http;
mod issuer;
mod jwks;
mod keys;
mod pem;
mod reader;
mod server;
mod spare;
mod token;

pub use alg::{Alg, UnknownAlg};
pub use echo::Echo;
pub use fault::{Fault, Times};
pub use issuer::{Issuer, Options, Rotation, Stats};
pub use keys::SigningKey;
