//! Rehearses rotations: `jwks-gate-rehearse --issuer HOST:PORT --api HOST:PORT [--every SECONDS] [--times N]`.
//!
//! In each rotation, the issuer replaces its only key without notice. Twenty clients then send tokens of the new key at
//! once. One line reports how many requests were allowed, and the number of JWKS fetches. With `--times`, the program
//! ends after that many rotations. The exit code is 1 unless every request was allowed and every rotation cost one
//! fetch.

use std::env;
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jwks_gate_testbed::eventually;
use jwks_gate_testbed::http::{self, Request};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: jwks-gate-rehearse --issuer HOST:PORT --api HOST:PORT [--every SECONDS] [--times N]";
const CLIENTS: usize = 20;
const START_TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match Options::read(env::args().skip(1)).and_then(|options| rehearse(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("jwks-gate-rehearse: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    issuer: String,
    api: String,
    every: Duration,
    times: Option<u32>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let (mut issuer, mut api, mut every, mut times) = (None, None, Duration::from_secs(20), None);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} lacks its value\n{USAGE}"))?;
            match name.as_str() {
                "--issuer" => issuer = Some(value),
                "--api" => api = Some(value),
                "--every" => every = Duration::from_secs(value.parse()?),
                "--times" => times = Some(value.parse()?),
                _ => return Err(format!("unknown argument {name:?}\n{USAGE}").into()),
            }
        }
        Ok(Self { issuer: issuer.ok_or(USAGE)?, api: api.ok_or(USAGE)?, every, times })
    }
}

fn resolve(host: &str) -> Result<SocketAddr> {
    let mut addresses = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    Ok(addresses.find(SocketAddr::is_ipv4).ok_or_else(|| format!("{host} has no address"))?)
}

/// Returns whether every request was allowed and every rotation cost one fetch.
fn rehearse(options: &Options) -> Result<bool> {
    let is_up =
        |host: &str, path: &str| resolve(host).and_then(|addr| Ok(http::send(addr, &Request::get(path))?)).is_ok();
    if !eventually(START_TIMEOUT, || is_up(&options.issuer, "/admin/stats") && is_up(&options.api, "/")) {
        return Err(format!("{} and {} do not answer", options.issuer, options.api).into());
    }
    let (issuer, api) = (resolve(&options.issuer)?, resolve(&options.api)?);
    let mut is_good = true;
    let mut rotation = 0;
    while options.times.is_none_or(|times| rotation < times) {
        thread::sleep(options.every);
        rotation += 1;
        match rotate(issuer, api) {
            Ok(Outcome { kid, passed, gets }) => {
                println!(
                    "rotation {rotation}: {kid} takes the place of the key before; {passed} of {CLIENTS} first requests let in; {gets} JWKS fetched"
                );
                is_good &= passed == CLIENTS && gets == 1;
            }
            // The rehearsal continues: a user may have set a fault.
            Err(error) => {
                println!("rotation {rotation}: {error}");
                is_good = false;
            }
        }
    }
    Ok(is_good)
}

struct Outcome {
    kid: String,
    passed: usize,
    gets: u64,
}

fn rotate(issuer: SocketAddr, api: SocketAddr) -> Result<Outcome> {
    let post = |path: &str, body: &str| http::send(issuer, &Request::post(path).body(body));
    let gets = || -> Result<u64> {
        let stats = http::send(issuer, &Request::get("/admin/stats"))?;
        Ok(stats.json()["jwks_requests"].as_u64().unwrap_or_default())
    };
    let before = gets()?;
    let kid = post("/admin/rotate?mode=hard", "")?.json()["kid"].as_str().unwrap_or_default().to_owned();
    let token = post("/token", "{}")?.text();
    let answers = http::concurrently(api, CLIENTS, |_| Request::get("/api/orders").bearer(token.trim()));
    let passed = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)).count();
    Ok(Outcome { kid, passed, gets: gets()?.saturating_sub(before) })
}
