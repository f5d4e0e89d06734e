//! What the tests and the demo of jwks-gate need at the other end of Envoy, over real sockets:
//!
//! - [`Issuer`] publishes a JWKS, mints tokens, rotates its keys, and fails in every way that was asked for;
//! - [`Echo`] is the upstream that tells what it was sent;
//! - [`SigningKey`] mints tokens of any header and claims without a server.
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
mod reader;
mod server;
mod spare;
mod token;

pub use alg::{Alg, UnknownAlg};
pub use echo::Echo;
pub use fault::{Fault, Times};
pub use issuer::{Issuer, Options, Rotation, Stats};
pub use keys::SigningKey;
