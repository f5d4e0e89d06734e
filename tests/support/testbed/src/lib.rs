//! Test infrastructure for the end-to-end tests and the demo: a real Envoy process, its bootstrap, and an HTTP client
//! that sends exactly the bytes that a test names.
//!
//! Most functions panic on failure.

mod bootstrap;
mod directory;
mod envoy;
pub mod http;
pub mod leaks;
pub mod paired;
mod paths;
pub mod probe;
mod process;
pub mod svg;
mod watched;

use std::thread;
use std::time::{Duration, Instant};

pub use bootstrap::{wasm_filter, wasm_filter_of, Bootstrap};
pub use directory::Directory;
pub use envoy::{pinned, Envoy, EnvoyOptions, StartError};
pub use paths::{envoy_path, floor_path, hooks_path, probe_path, wasm_path, workspace_root, wrk_path};
pub use process::Process;
pub use watched::Watched;

/// A port on the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Whether `condition` becomes true within `timeout`.
pub fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
