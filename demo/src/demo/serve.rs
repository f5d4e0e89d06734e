//! `serve` runs everything until Ctrl-C, and prints curl commands to try.

use std::thread;
use std::time::Duration;

use crate::processes::Processes;
use crate::token::{base64url, with_kid};
use crate::{Result, ADMIN, API, ISSUER, ISSUER_NAME};

/// Prints the commands, then waits until a process exits, which is an error.
pub(crate) fn run() -> Result<bool> {
    let mut processes = Processes::start()?;
    let payload = base64url(format!(r#"{{"iss":"{ISSUER_NAME}","aud":"api"}}"#).as_bytes());
    let unknown = with_kid(&format!("e30.{payload}.AAAA"), "nobody");
    println!("Envoy is up, and logs to {}.", processes.log().display());
    println!("Ctrl-C ends everything. To try in another terminal:");
    for (what, command) in [
        ("a token of the issuer", format!("TOKEN=$(curl -s -d '{{}}' {ISSUER}/token)")),
        ("200, and what the upstream saw", format!("curl -i {API}/api/orders -H \"authorization: Bearer $TOKEN\"")),
        ("401: no token", format!("curl -i {API}/api/orders")),
        (
            "401: a token with claims of your choice, here one that has expired",
            format!("curl -i {API}/api/orders -H \"authorization: Bearer $(curl -s -d '{{\"exp\":1}}' {ISSUER}/token)\""),
        ),
        (
            "401 after two fetches from the issuer: an unknown kid",
            format!("curl -i {API}/api/orders -H 'authorization: Bearer {unknown}'"),
        ),
        (
            "replace the key: a new TOKEN works, within the 2 s of unknown_kid_min_interval, and then the old one does not",
            format!("curl -X POST '{ISSUER}/admin/rotate?mode=hard'"),
        ),
        (
            "break the issuer: tokens of known keys still work; kind can also be delay, hang, reset, garbage, truncated or empty",
            format!("curl -X POST '{ISSUER}/admin/fault?kind=status&status=500&times=1000'"),
        ),
        ("mend the issuer", format!("curl -X POST {ISSUER}/admin/heal")),
        ("how often the keys were fetched", format!("curl {ISSUER}/admin/stats")),
        ("what the filter counted", format!("curl -s {ADMIN}/stats | grep wasmcustom")),
    ] {
        println!("\n  # {what}\n  {command}");
    }
    loop {
        thread::sleep(Duration::from_millis(500));
        if let Some(name) = processes.exited() {
            return Err(format!("{name} has exited").into());
        }
    }
}
