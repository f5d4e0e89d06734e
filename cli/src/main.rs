//! `jwks-gate`. See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    jwks_gate_cli::main()
}
