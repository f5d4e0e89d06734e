//! End-to-end tests with real sockets: an Envoy with several workers, an issuer that rotates and fails, and an upstream
//! that echoes each request.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used)]
// These tests use the real clock, and export no API.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, unreachable_pub)]

mod abi;
mod alerts;
mod algorithms;
mod answers;
mod artifact;
mod body;
mod bypass;
mod caching;
mod claim_rules;
mod claims;
mod cold_start;
mod compose;
mod config;
mod docs;
mod fetch_sources;
mod fetching;
#[path = "../support/forged.rs"]
mod forged;
mod hostile;
mod issuers;
mod istio_policies;
mod istio_principals;
mod istio_rbac;
mod key_documents;
mod leaks;
mod mesh;
mod metrics;
mod outage;
mod passing_on;
mod providers;
mod recipes;
mod reconfigure;
mod requirements;
mod revocation;
mod rotation;
mod secret;
mod seed;
mod setup;
mod shared_data;
mod tenants;
mod traps;
mod unknown_kid;
mod verdicts;
