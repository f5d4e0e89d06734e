//! `make bench`: the cost of a signature check by the host and by the VM, and the cost of a request beside Envoy's
//! `jwt_authn`. The benchmarks measure processor time, not wall time. The variants take turns, so that the machine's
//! load affects all variants alike.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used, unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod providers;
mod requests;
mod signatures;

fn main() {
    // `cargo bench … -- requests` runs one benchmark.
    let wanted = |name: &str| {
        !std::env::args().any(|arg| ["signatures", "requests", "providers"].contains(&arg.as_str()) && arg != name)
    };
    if wanted("signatures") {
        signatures::run();
    }
    if wanted("requests") {
        requests::run();
    }
    if wanted("providers") {
        providers::run();
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
