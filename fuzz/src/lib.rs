//! Fuzz targets over the core. A target takes bytes and panics where the core breaks a promise.
//!
//! Each target runs in three ways: under libFuzzer (`make fuzz`), over its seeds and a fixed number of their mutations
//! (`tests/mutations.rs`, part of `make test`), and over files that are named on a command line (`cargo run --bin TARGET FILE`).

pub mod json;
pub mod mutation;
pub mod targets;

pub use targets::{Target, TARGETS};

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// The program of one target: a fuzzer if cargo-fuzz builds the program, else a program that runs the target over files.
#[macro_export]
macro_rules! program {
    ($target:ident) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::targets::$target::run(data));

        #[cfg(not(fuzzing))]
        fn main() {
            $crate::run_files($crate::targets::$target::run);
        }
    };
}

/// Runs a target over each file of the command line.
///
/// # Panics
/// A file cannot be read, or the target panics.
pub fn run_files(run: fn(&[u8])) {
    for path in std::env::args().skip(1) {
        run(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")));
        println!("{path}: passed");
    }
}
