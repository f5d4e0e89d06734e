//! End to end: a real Envoy with several workers, a real issuer that rotates and fails, an upstream that tells what
//! reached it, and sockets between them.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used)]
// Here time is real, and nothing is published.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, unreachable_pub)]

mod alerts;
mod algorithms;
mod answers;
mod body;
mod bypass;
mod caching;
mod claims;
mod cold_start;
mod compose;
mod config;
mod docs;
mod hostile;
mod metrics;
mod outage;
mod passing_on;
mod reconfigure;
mod requirements;
mod rotation;
mod setup;
mod unknown_kid;
mod verdicts;
