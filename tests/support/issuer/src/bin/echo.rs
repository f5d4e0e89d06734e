//! The upstream as a program: `jwks-gate-echo --listen 127.0.0.1:9001`.

use std::env;
use std::process::ExitCode;
use std::thread;

use jwks_gate_issuer::Echo;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let echo = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--listen", listen] => start(listen),
        _ => Err("usage: jwks-gate-echo --listen ADDR".to_owned()),
    };
    let echo = match echo {
        Ok(echo) => echo,
        Err(reason) => {
            eprintln!("jwks-gate-echo: {reason}");
            return ExitCode::FAILURE;
        }
    };
    println!("echo listens on http://{}", echo.addr());
    loop {
        thread::park();
    }
}

fn start(listen: &str) -> Result<Echo, String> {
    let addr = listen.parse().map_err(|_| format!("not an address with a port: {listen:?}"))?;
    Echo::start(addr).map_err(|error| format!("cannot listen on {addr}: {error}"))
}
