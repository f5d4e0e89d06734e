//! Runs an issuer, an upstream and Envoy with `envoy/envoy.yaml`.
//!
//! `jwks-gate-demo` shows a rotation, a flood and an outage step by step, and exits with 1 if a step has an unexpected
//! result. `jwks-gate-demo serve` keeps everything running.

mod client;
mod expect;
mod processes;
mod serve;
mod steps;
mod story;
mod token;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, result};

type Result<T> = result::Result<T, Box<dyn Error>>;

// As in envoy/envoy.yaml.
const API: SocketAddr = local(10_000);
const ADMIN: SocketAddr = local(9_901);
const ISSUER: SocketAddr = local(9_000);
const UPSTREAM: SocketAddr = local(9_001);
const ISSUER_NAME: &str = "https://issuer.test";
const UNKNOWN_KID_MIN_INTERVAL: Duration = Duration::from_secs(2);

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn main() -> ExitCode {
    let result = match env::args().nth(1).as_deref() {
        None => steps::run(),
        Some("serve") => serve::run(),
        Some(other) => Err(format!("unknown argument {other:?}; the only argument is `serve`").into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
