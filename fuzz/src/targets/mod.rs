//! The targets. Each is a function of bytes, with the seeds that its corpus begins with.

pub mod cache_headers;
pub mod claim_rules;
pub mod claims;
pub mod config;
pub mod config_struct;
pub mod discovery;
pub mod engine;
pub mod jwk;
pub mod jwks;
pub mod jws;
pub mod record;
pub mod request;
pub mod routes;
pub mod rsa;
pub mod shared;
pub mod token;

/// A fuzz target.
pub struct Target {
    /// The name of its program.
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How often the test without libFuzzer runs it on a mutation.
    pub mutations: u32,
}

macro_rules! targets {
    ($($name:ident: $mutations:expr,)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds, mutations: $mutations },)*
        ];
    };
}

targets! {
    cache_headers: 20_000,
    claim_rules: 20_000,
    claims: 20_000,
    config: 10_000,
    config_struct: 10_000,
    discovery: 20_000,
    engine: 5_000,
    jwk: 5_000,
    jwks: 2_000,
    jws: 20_000,
    record: 20_000,
    request: 20_000,
    routes: 10_000,
    rsa: 300,
    shared: 20_000,
    token: 2_000,
}

/// Texts as inputs.
pub(crate) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
