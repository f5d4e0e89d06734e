//! The start of an Envoy with many remote issuers, its processor time at rest, and the cost of a request that waits for
//! keys. For `growth`, `ISSUERS=1,1000` and `WORKERS=2` choose some of the sizes.

use std::{
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{Connection, Request},
    Envoy, EnvoyOptions, StartError,
};
use serde_json::{json, Value};

use crate::{in_a_day, median, publisher::Publisher, Filter};

const ISSUERS: [usize; 4] = [1, 100, 1_000, 3_000];
const WORKERS: [usize; 2] = [2, 8];
/// How long each wait may take.
const BOUND: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How many issuers are asked once the last one has keys.
const SAMPLE: usize = 50;
const REST: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);

const PARKED_ROUNDS: usize = 12;
const PARKED_REQUESTS: usize = 40;

/// Each issuer has a path for its JWKS, a provider and a rule.
fn config(issuers: usize, rotation: Option<&Value>) -> Value {
    let provider = |name: String| {
        let mut remote = json!({
            "http_uri": {"uri": format!("http://issuers.test/{name}/jwks"), "cluster": "issuers", "timeout": "10s"},
            "async_fetch": {"fast_listener": true},
            "cache_duration": "600s",
        });
        if let Some(rotation) = rotation {
            remote["rotation"] = rotation.clone();
        }
        (name.clone(), json!({"issuer": format!("https://{name}.test"), "remote_jwks": remote}))
    };
    let rule = |name: String| json!({"match": {"prefix": format!("/{name}/")}, "requires": {"provider_name": name}});
    let names = || (0..issuers).map(|number| format!("i{number}"));
    let providers: serde_json::Map<_, _> = names().map(provider).collect();
    json!({"providers": providers, "rules": names().map(rule).collect::<Vec<_>>()})
}

fn request(issuer: usize, key: &SigningKey) -> Request {
    let claims = json!({"iss": format!("https://i{issuer}.test"), "sub": "s", "exp": in_a_day()});
    Request::get(&format!("/i{issuer}/x")).bearer(&key.mint(&claims))
}

/// Whether the request gets 200 on a new connection, which may belong to any worker.
fn is_allowed(envoy: &Envoy, request: &Request) -> bool {
    let response = Connection::open(envoy.addr()).and_then(|mut connection| connection.send(request));
    response.is_ok_and(|response| response.status == 200)
}

/// Polls until the request gets 200.
fn gets_allowed(envoy: &Envoy, request: &Request) -> bool {
    let end = Instant::now() + BOUND;
    while Instant::now() < end {
        if is_allowed(envoy, request) {
            return true;
        }
        thread::sleep(POLL_INTERVAL);
    }
    false
}

struct Outcome {
    gets: u64,
    failed: u64,
    /// From the start of the process.
    listening: Duration,
    /// From the start of the process to the first 200 for the last issuer.
    last: Option<Duration>,
    sampled: [usize; 2],
    cpu: Duration,
    cpu_after_rest: Duration,
    idle: f64,
    rss: u64,
}

/// `None`: Envoy was not live in time.
fn start(
    filter: Filter,
    issuers: usize,
    workers: usize,
    key: &SigningKey,
    jwks: &str,
    idle: Duration,
) -> Option<Outcome> {
    let publisher = Publisher::start(jwks);
    let bootstrap = filter.bootstrap(&config(issuers, None), publisher.addr).yaml();
    let last = request(issuers - 1, key);
    let options =
        EnvoyOptions { concurrency: u32::try_from(workers).unwrap(), start_timeout: BOUND, ..EnvoyOptions::quiet() };
    let begin = Instant::now();
    let envoy = match Envoy::start(&bootstrap, options) {
        Err(StartError::TimedOut { .. }) => return None,
        envoy => envoy.unwrap(),
    };
    let listening = begin.elapsed();
    let last = gets_allowed(&envoy, &last).then(|| begin.elapsed());
    let cpu = envoy.cpu_time();
    let asked = issuers.min(SAMPLE);
    let others = (0..asked).map(|number| request(number * issuers / asked, key));
    let sampled = [others.filter(|request| is_allowed(&envoy, request)).count(), asked];
    thread::sleep(idle / 2);
    // Work that goes on after the first 200 counts too.
    let cpu_after_rest = envoy.cpu_time();
    let begin = Instant::now();
    thread::sleep(idle);
    let idle = (envoy.cpu_time() - cpu_after_rest).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    let prefix = match filter {
        Filter::JwksGate => "wasmcustom.jwks_gate",
        Filter::JwtAuthn => "http.test.jwt_authn",
    };
    let [succeeded, failed] = ["success", "failed"].map(|end| envoy.stat(&format!("{prefix}.jwks_fetch_{end}")));
    assert!(last.is_none() || succeeded > 0, "a stat has another name");
    let (gets, rss) = (publisher.gets(), envoy.rss());
    Some(Outcome { gets, failed, listening, last, sampled, cpu, cpu_after_rest, idle, rss })
}

fn row(issuers: usize, workers: usize, filter: Filter, outcome: Option<&Outcome>, alone: Option<&Outcome>) {
    let late = || format!("not within {} s", BOUND.as_secs());
    print!("| {issuers} | {workers} | {} |", filter.name());
    let Some(outcome) = outcome else {
        println!(" - | - | {} | - | - | - | - | - | - |", late());
        return;
    };
    let last = outcome.last.map_or_else(late, |last| format!("{:.2}", last.as_secs_f64()));
    let beyond = alone.map_or_else(
        || "-".to_owned(),
        |alone| format!("{:.2}", outcome.cpu_after_rest.as_secs_f64() - alone.cpu_after_rest.as_secs_f64()),
    );
    println!(
        " {} | {} | {:.2} | {last} | {} of {} | {:.2} | {beyond} | {:.2} | {} |",
        outcome.gets,
        outcome.failed,
        outcome.listening.as_secs_f64(),
        outcome.sampled[0],
        outcome.sampled[1],
        outcome.cpu.as_secs_f64(),
        outcome.idle,
        outcome.rss >> 20,
    );
}

/// The numbers in a variable of the environment.
fn chosen(variable: &str, all: &[usize]) -> Vec<usize> {
    let Ok(list) = std::env::var(variable) else { return all.to_vec() };
    list.split(',').map(|number| number.parse().expect("numbers, separated by commas")).collect()
}

pub fn run() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let sizes = chosen("ISSUERS", &ISSUERS);
    println!(
        "\nStart with remote issuers: seconds since the start of the process, CPU in seconds, CPU at rest in per cent \
         of a core, memory in MiB.\n"
    );
    println!(
        "| issuers | workers | | JWKS GETs | failed | listener accepts | last issuer's first 200 | sample | CPU until \
         then | CPU beyond one issuer | CPU at rest | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    // The first starts read Envoy and the filter from the disk.
    for filter in Filter::BOTH {
        start(filter, 1, 1, &key, &jwks, Duration::ZERO);
    }
    for workers in chosen("WORKERS", &WORKERS) {
        let mut alone = [None, None];
        for issuers in &sizes {
            for (filter, alone) in Filter::BOTH.into_iter().zip(&mut alone) {
                let outcome = start(filter, *issuers, workers, &key, &jwks, IDLE);
                row(*issuers, workers, filter, outcome.as_ref(), alone.as_ref());
                if *issuers == 1 {
                    *alone = outcome;
                }
            }
        }
    }
}

/// Processor time of a request with an invented `kid`, which waits for a refresh and is then denied.
pub fn parked() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let rotation = json!({"unknown_kid_min_interval": "0.001s", "unknown_kid_max_wait": "5s"});
    let mut sites = Vec::new();
    for issuers in [1, 1_000] {
        let publisher = Publisher::start(&jwks);
        let bootstrap = Filter::JwksGate.bootstrap(&config(issuers, Some(&rotation)), publisher.addr).yaml();
        let options = EnvoyOptions { concurrency: 1, start_timeout: BOUND, ..EnvoyOptions::quiet() };
        let envoy = Envoy::start(&bootstrap, options).unwrap();
        if !gets_allowed(&envoy, &request(issuers - 1, &key)) || !eventually(BOUND, || publisher.paths() == issuers) {
            println!("\n{issuers} issuers: not all have keys within {} s.", BOUND.as_secs());
            return;
        }
        let connection = Connection::open(envoy.addr()).unwrap();
        sites.push((issuers, publisher, envoy, connection, Vec::new(), Vec::new()));
    }
    thread::sleep(REST);
    let before: Vec<_> = sites.iter().map(|(_, publisher, ..)| publisher.gets()).collect();
    for round in 0..PARKED_ROUNDS + 2 {
        for (issuers, _, envoy, connection, micros, millis) in &mut sites {
            let last = *issuers - 1;
            let claims = json!({"iss": format!("https://i{last}.test"), "sub": "s", "exp": in_a_day()});
            let invented = |number| {
                let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("invented-{round}-{number}")});
                Request::get(&format!("/i{last}/x")).bearer(&key.mint_with_header(&header, &claims))
            };
            let requests: Vec<_> = (0..PARKED_REQUESTS).map(invented).collect();
            let (begin, cpu) = (Instant::now(), envoy.cpu_time());
            for request in &requests {
                assert_eq!(connection.send(request).unwrap().status, 401);
            }
            // The first rounds warm up.
            if round >= 2 {
                micros.push((envoy.cpu_time() - cpu).as_secs_f64() * 1e6 / PARKED_REQUESTS as f64);
                millis.push(begin.elapsed().as_secs_f64() * 1e3 / PARKED_REQUESTS as f64);
            }
        }
    }
    println!("\nA request that waits for a refresh and is denied, one worker, {PARKED_ROUNDS} rounds in turn.\n");
    println!("| issuers | CPU per request, us | relative to one issuer | wait, ms | JWKS GETs per request | waited |");
    println!("|---|---|---|---|---|---|");
    let sent = (PARKED_ROUNDS + 2) * PARKED_REQUESTS;
    let alone = sites[0].4.clone();
    for ((issuers, publisher, envoy, _, micros, millis), before) in sites.into_iter().zip(before) {
        let ratio = median(micros.iter().zip(&alone).map(|(this, alone)| this / alone).collect());
        let gets = (publisher.gets() - before) as f64 / sent as f64;
        // A request before the keys were there may have waited too.
        let waited = envoy.stat("wasmcustom.jwks_gate.parked").min(sent as u64);
        println!(
            "| {issuers} | {:.0} | {ratio:.2} | {:.1} | {gets:.2} | {waited} of {sent} |",
            median(micros),
            median(millis)
        );
    }
}
