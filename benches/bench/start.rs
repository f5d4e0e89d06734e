//! What a Wasm filter costs before its first request, by the size of its module and by the number of workers.

use std::{fs, net::Ipv4Addr, time::Instant};

use jwks_gate_testbed::{probe_path, wasm_filter, wasm_path, Bootstrap, Directory, Envoy, EnvoyOptions};
use serde_json::{json, Value};

use crate::{
    median,
    site::{direct, idle_filter, wasm_filter_from},
};

const ROUNDS: usize = 5;

/// A module that does nothing: a page of memory, and the functions that a host asks for.
#[rustfmt::skip]
const SMALLEST: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x0f\x03\x60\0\0\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7f\
    \x03\x05\x04\0\x01\x02\0\
    \x05\x03\x01\0\x01\
    \x07\x64\x06\
        \x06memory\x02\0\
        \x0b_initialize\0\0\
        \x06malloc\0\x01\
        \x11proxy_on_vm_start\0\x02\
        \x12proxy_on_configure\0\x02\
        \x17proxy_abi_version_0_2_1\0\x03\
    \x0a\x11\x04\x02\0\x0b\x04\0\x41\0\x0b\x04\0\x41\x01\x0b\x02\0\x0b";

/// What a start cost: seconds until Envoy is live, seconds of processor time until then, and MiB of resident memory.
fn start(filter: &Value, workers: u32) -> [f64; 3] {
    let bootstrap = direct(Bootstrap::with_filter((Ipv4Addr::LOCALHOST, 9).into(), filter.clone())).yaml();
    let begin = Instant::now();
    let envoy = Envoy::start(&bootstrap, EnvoyOptions { concurrency: workers, ..EnvoyOptions::quiet() }).unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    [seconds, envoy.cpu_time().as_secs_f64(), envoy.rss() as f64 / f64::from(1 << 20)]
}

pub fn run() {
    let directory = Directory::create().unwrap();
    let smallest = directory.file("smallest.wasm");
    fs::write(&smallest, SMALLEST).unwrap();
    let buffer = json!({
        "name": "buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1,
        },
    });
    let gate = json!({"providers": {}, "rules": []});
    let kib = |path: &std::path::Path| fs::metadata(path).unwrap().len() / 1024;
    let variants = [
        ("no Wasm filter".to_owned(), buffer),
        ("the smallest module".to_owned(), wasm_filter_from(&smallest, &json!({}))),
        (format!("another module of {} KiB", kib(&probe_path())), idle_filter()),
        (format!("jwks-gate, {} KiB", kib(&wasm_path())), wasm_filter(&gate)),
    ];
    println!("\nStarts in turn, medians of {ROUNDS}.\n");
    println!("| | workers | live after, s | CPU until then, s | resident, MiB |\n|---|---|---|---|---|");
    for workers in [1, 2, 4, 8] {
        let mut costs = vec![[Vec::new(), Vec::new(), Vec::new()]; variants.len()];
        for _ in 0..ROUNDS {
            for ((_, filter), costs) in variants.iter().zip(&mut costs) {
                for (all, one) in costs.iter_mut().zip(start(filter, workers)) {
                    all.push(one);
                }
            }
        }
        for ((name, _), costs) in variants.iter().zip(costs) {
            let [seconds, cpu, mib] = costs.map(median);
            println!("| {name} | {workers} | {seconds:.2} | {cpu:.2} | {mib:.0} |");
        }
    }
}
