//! What the end-to-end tests and the demo share: a real Envoy process, the bootstrap it is given,
//! and an HTTP client that sends exactly the bytes it is told to.
//!
//! This is test infrastructure: what it cannot do it says in a panic.

mod bootstrap;
mod directory;
mod envoy;
pub mod http;
mod paths;
pub mod probe;
mod process;

use std::thread;
use std::time::{Duration, Instant};

pub use bootstrap::{wasm_filter, Bootstrap};
pub use directory::Directory;
pub use envoy::{Envoy, EnvoyOptions, StartError};
pub use paths::{envoy_path, wasm_path, workspace_root};
pub use process::Process;

/// A port on the loopback interface that nobody listened on just now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Whether `condition` comes true within `timeout`.
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
