//! The proxy-wasm contexts. They translate the proxy's callbacks into calls of [`crate::gate`] and its actions into host
//! calls, and decide nothing.

#![allow(unsafe_code)] // `proxy_wasm::main!` exports C functions.

mod host;
mod http;
mod root;
mod shared;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
}}

/// `rsa` and `p256` link getrandom, which this target lacks. Verification draws no randomness; if that ever changed, it fails here.
fn no_randomness(_: &mut [u8]) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}
getrandom::register_custom_getrandom!(no_randomness);
