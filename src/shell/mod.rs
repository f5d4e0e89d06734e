//! The proxy-wasm contexts. They translate the proxy's callbacks into calls of [`crate::engine`] and its actions into host
//! calls, and decide nothing.

#![allow(unsafe_code)] // C functions are exported and imported.

mod abi;
mod callbacks;
mod host;
mod http;
mod key_cell;
mod logger;
mod peers;
mod root;
mod shared_data;
mod stats;
#[cfg(feature = "test-hooks")]
mod test_hooks;
mod wakeups;
mod worker;
