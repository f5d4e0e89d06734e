//! The proxy-wasm contexts. They translate the proxy's callbacks into calls of [`crate::engine`] and its actions into host
//! calls, and decide nothing.

#![allow(unsafe_code)] // `proxy_wasm::main!` exports C functions.

mod abi;
mod host;
mod http;
mod key_cell;
mod peers;
mod root;
mod shared_data;
mod stats;
#[cfg(feature = "test-hooks")]
mod test_hooks;
mod wakeups;
mod worker;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(root::Root(id)));
}}
