//! The latency of requests with the old key while the issuer rotates its keys.

use std::{thread, time::Duration};

use jwks_gate_issuer::{Alg, Issuer, Options, Rotation};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    paired::Estimate,
    wasm_filter, Bootstrap,
};
use serde_json::json;

use crate::site::{direct, Site};

const ROUNDS: usize = 25;
const WARM_UP: usize = 2;
const GOAL: f64 = 1.5;

pub fn run() {
    // To make an RSA key would take a processor for longer than the measurement can bear.
    let options = Options { issuer: "https://issuer.test".into(), alg: Alg::Es256, ..Options::default() };
    let issuer = Issuer::start(options).unwrap();
    let rotation = json!({"unknown_kid_min_interval": "0.1s"});
    let uri = json!({"uri": issuer.jwks_uri(), "cluster": "keys", "timeout": "5s"});
    let config = json!({
        "providers": {"p": {
            "issuer": "https://issuer.test",
            "remote_jwks": {"http_uri": uri, "cache_duration": "600s", "rotation": rotation},
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    });
    let nowhere = (std::net::Ipv4Addr::LOCALHOST, 9).into();
    let bootstrap = direct(Bootstrap::with_filter(nowhere, wasm_filter(&config))).cluster("keys", issuer.addr());
    let site = Site::of(&bootstrap, "/", &[issuer.token()]);
    let address = site.envoy.addr();
    let status = |token: &str| http::send(address, &Request::get("/").bearer(token)).unwrap().status;
    assert!(eventually(Duration::from_secs(10), || status(&issuer.token()) == 200));
    let mut ratios = Vec::new();
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS + WARM_UP {
        site.send(&[issuer.token()]);
        let without = site.measure().p99_micros;
        let with = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                issuer.rotate(Rotation::Overlap);
                assert_eq!(status(&issuer.token()), 200);
            });
            site.measure().p99_micros
        });
        if round >= WARM_UP {
            ratios.push(with / without);
            all[0].push(without);
            all[1].push(with);
        }
    }
    let ratio = Estimate::of(ratios);
    let [without, with] = all.map(|micros| Estimate::of(micros).median / 1e3);
    let verdict = ratio.verdict(GOAL);
    println!("\n99th percentile of the latency, a token seen before, {ROUNDS} rounds of a second with and without a rotation.\n");
    println!("| without, ms | with, ms | ratio | 95 % | goal | |\n|---|---|---|---|---|---|");
    println!(
        "| {without:.2} | {with:.2} | {:.2} | {:.2}–{:.2} | ≤ {GOAL} | {verdict} |",
        ratio.median, ratio.low, ratio.high
    );
}
