//! The issuer as a program: `jwks-gate-issuer --listen 127.0.0.1:9000`.

use std::env;
use std::process::ExitCode;
use std::thread;

use jwks_gate_issuer::{Issuer, Options};

const USAGE: &str =
    "usage: jwks-gate-issuer --listen ADDR [--issuer NAME] [--alg RS256] [--max-age SECONDS] [--filter FILE]";

fn main() -> ExitCode {
    let issuer = match options(env::args().skip(1)).and_then(start) {
        Ok(issuer) => issuer,
        Err(reason) => {
            eprintln!("jwks-gate-issuer: {reason}");
            return ExitCode::FAILURE;
        }
    };
    println!("{} listens on http://{}", issuer.issuer(), issuer.addr());
    loop {
        thread::park();
    }
}

fn start(options: Options) -> Result<Issuer, String> {
    let listen = options.listen;
    Issuer::start(options).map_err(|error| format!("cannot listen on {listen}: {error}"))
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut listen = None;
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{name} lacks its value\n{USAGE}"));
        match name.as_str() {
            "--listen" => listen = Some(value()?),
            "--issuer" => options.issuer = value()?,
            "--alg" => options.alg = value()?.parse().map_err(|error| format!("--alg: {error}"))?,
            "--max-age" => {
                options.max_age = Some(value()?.parse().map_err(|error| format!("--max-age: {error}"))?);
            }
            "--filter" => options.filter = Some(value()?.into()),
            _ => return Err(format!("unknown argument {name:?}\n{USAGE}")),
        }
    }
    let listen = listen.ok_or_else(|| format!("--listen is missing\n{USAGE}"))?;
    options.listen = listen.parse().map_err(|_| format!("not an address with a port: {listen:?}"))?;
    Ok(options)
}
