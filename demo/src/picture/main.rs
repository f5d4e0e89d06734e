//! Measures hard key rotations under load, through Envoy's own `jwt_authn` and through jwks-gate side by side, and draws
//! docs/rotation.svg.

mod chart;
mod load;
mod recording;
mod side;

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use jwks_gate_testbed::workspace_root;

use crate::chart::{Chart, Panel};
use crate::load::{Measured, Plan};
use crate::side::{Side, CACHE_DURATION, JWKS_GATE, JWT_AUTHN, RETIRED_KEY_GRACE, UNKNOWN_KID_MIN_INTERVAL};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const OUTPUT: &str = "docs/rotation.svg";

/// 160 requests a second for 27 seconds, through each Envoy.
const PLAN: Plan = Plan {
    clients: 8,
    requests_per_client: 540,
    period: Duration::from_millis(50),
    rotations: 8,
    rotation_interval: Duration::from_secs(3),
    renewal_stagger: Duration::from_millis(300),
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let sides = [Side::jwt_authn()?, Side::jwks_gate()?];
    println!("Two Envoys are up; measuring for {} s.", PLAN.duration().as_secs());
    let measured = load::run(&PLAN, &sides)?;
    for (side, recording) in sides.iter().zip(&measured.recordings) {
        println!("{}: {}; statuses {:?}", side.name, recording.totals(), recording.statuses);
    }
    let path = workspace_root().join(OUTPUT);
    let drawn = chart(&sides[0].envoy_version()?, &measured).draw();
    fs::write(&path, drawn).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("written: {OUTPUT}");
    Ok(())
}

fn chart<'a>(envoy_version: &str, measured: &'a Measured) -> Chart<'a> {
    let Plan { clients, rotations, .. } = PLAN;
    let (rate, interval) = (PLAN.requests_per_second(), PLAN.rotation_interval.as_secs());
    let renewal = PLAN.longest_renewal().as_secs_f64();
    let [jwt_authn, jwks_gate] = &measured.recordings;
    Chart {
        title: format!("{rotations} hard key rotations under load"),
        subtitle: vec![
            format!("Two Envoys ({envoy_version}) side by side, each with {rate} requests a second over {clients} connections. Every {interval} s the issuer replaces"),
            format!("its only key without notice, and the clients change to tokens of the new key one by one within {renewal} s."),
        ],
        panels: [
            Panel {
                name: JWT_AUTHN,
                behaviour: format!("fetches on demand, then keeps its JWKS for cache_duration: {CACHE_DURATION}"),
                recording: jwt_authn,
            },
            Panel {
                name: JWKS_GATE,
                behaviour: "also fetches when a token names an unknown key, and lets the request wait".to_owned(),
                recording: jwks_gate,
            },
        ],
        rotations: &measured.rotations,
        duration: PLAN.duration(),
        notes: vec![
            "Measured by “make picture”, in bars of 100 ms; fetches before the start are shown at 0 s. The issuers send no cache headers.".to_owned(),
            format!("jwks-gate has its default settings, except unknown_kid_min_interval: {UNKNOWN_KID_MIN_INTERVAL} instead of 10s, since the keys rotate every {interval} s, and"),
            format!("retired_key_grace: {RETIRED_KEY_GRACE} instead of 0s, so that tokens of the replaced key stay good while the clients change."),
        ],
    }
}
