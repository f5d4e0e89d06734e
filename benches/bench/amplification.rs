//! A flood of requests with many tokens that nobody signed, on the worker of a good client.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{Connection, Request},
    Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::{in_a_day, median, publisher::Publisher, Filter};

const ROUNDS: usize = 3;
const CONNECTIONS: usize = 100;
/// On each connection, one after the other.
const REQUESTS: usize = 3;
const TOKENS: usize = 16;
/// As many invented `kid`s fill the room for waiting requests. The requests of the flood fit in an empty room.
const ROOM: usize = 100;
/// The good client's pause between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than `min_ttl` and `unknown_kid_min_interval`: a refresh may start.
const REST: Duration = Duration::from_millis(1_500);

fn config(filter: Filter) -> Value {
    let mut remote = json!({
        "http_uri": {"uri": "http://issuers.test/jwks", "cluster": "issuers", "timeout": "30s"},
        "async_fetch": {"fast_listener": true},
        "cache_duration": "600s",
    });
    let mut config = json!({"rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]});
    if filter == Filter::JwksGate {
        remote["rotation"] = json!({"min_ttl": "1s", "unknown_kid_min_interval": "1s", "unknown_kid_max_wait": "1s"});
        config["max_parked_requests"] = json!(ROOM);
    }
    config["providers"] = json!({"p": {"issuer": "https://issuer.test", "remote_jwks": remote}});
    config
}

fn claims() -> Value {
    json!({"iss": "https://issuer.test", "sub": "s", "exp": in_a_day()})
}

struct Site {
    filter: Filter,
    publisher: Publisher,
    envoy: Envoy,
    good: Connection,
    good_request: Request,
    /// CPU of a good request in seconds.
    good_cpu: f64,
}

/// What a flood cost.
struct Cost {
    cpu: f64,
    slowest: f64,
}

impl Site {
    fn start(filter: Filter, keys: &[SigningKey]) -> Self {
        let jwks = json!({"keys": keys.iter().map(SigningKey::public_jwk).collect::<Vec<_>>()}).to_string();
        let publisher = Publisher::start(&jwks);
        let options = EnvoyOptions { concurrency: 1, ..EnvoyOptions::quiet() };
        let envoy = Envoy::start(&filter.bootstrap(&config(filter), publisher.addr).yaml(), options).unwrap();
        let mut good = Connection::open(envoy.addr()).unwrap();
        let good_request = Request::get("/good").bearer(&keys[0].mint(&claims()));
        let has_keys = eventually(Duration::from_secs(20), || good.send(&good_request).unwrap().status == 200);
        assert!(has_keys, "{}", filter.name());
        let mut site = Self { filter, publisher, envoy, good, good_request, good_cpu: 0.0 };
        for _ in 0..2 {
            let (end, before) = (AtomicBool::new(false), site.envoy.cpu_time());
            let sent = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(REST);
                    end.store(true, SeqCst);
                });
                send_good(&mut site.good, &site.good_request, &end).0
            });
            site.good_cpu = (site.envoy.cpu_time() - before).as_secs_f64() / sent as f64;
        }
        site
    }

    /// Fills the room for waiting requests, if the filter has one. The issuer hangs, so that the requests wait.
    fn fill(&self, key: &SigningKey) -> Vec<Connection> {
        self.publisher.hang(true);
        let parked = || self.envoy.stat("wasmcustom.jwks_gate.parked");
        let before = parked();
        let filler = |number| {
            let header = json!({"alg": key.alg.name(), "typ": "JWT", "kid": format!("invented-{number}")});
            let mut connection = Connection::open(self.envoy.addr()).unwrap();
            connection.transmit(&Request::get("/").bearer(&key.mint_with_header(&header, &claims()))).unwrap();
            connection
        };
        let connections: Vec<_> = (0..ROOM).map(filler).collect();
        if self.filter == Filter::JwksGate {
            let full = eventually(Duration::from_secs(5), || parked() - before >= ROOM as u64);
            assert!(full, "{} of {ROOM} requests wait", parked() - before);
        }
        connections
    }

    fn empty(&self, connections: Vec<Connection>) {
        self.publisher.hang(false);
        for mut connection in connections {
            assert_ne!(connection.receive("GET").unwrap().status, 200);
        }
    }

    fn flood(&mut self, flood: &[Vec<Request>]) -> Cost {
        let mut connections: Vec<_> = flood.iter().map(|_| Connection::open(self.envoy.addr()).unwrap()).collect();
        let (end, before) = (AtomicBool::new(false), self.envoy.cpu_time());
        let (good, good_request) = (&mut self.good, &self.good_request);
        let (sent, slowest) = thread::scope(|scope| {
            let good = scope.spawn(|| send_good(good, good_request, &end));
            // One thread for all connections leaves the processors to Envoy and to the good client.
            for number in 0..REQUESTS {
                for (connection, requests) in connections.iter_mut().zip(flood) {
                    connection.transmit(&requests[number]).unwrap();
                }
                for connection in &mut connections {
                    let status = connection.receive("GET").unwrap().status;
                    assert!(matches!(status, 401 | 503), "{status}");
                }
            }
            end.store(true, SeqCst);
            good.join().unwrap()
        });
        let cpu = (self.envoy.cpu_time() - before).as_secs_f64() - sent as f64 * self.good_cpu;
        Cost { cpu, slowest: slowest.as_secs_f64() }
    }
}

/// Sends good requests until the end. Returns how many, and the longest time until the answer.
fn send_good(connection: &mut Connection, request: &Request, end: &AtomicBool) -> (u32, Duration) {
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    while !end.load(SeqCst) {
        let begin = Instant::now();
        assert_eq!(connection.send(request).unwrap().status, 200);
        slowest = slowest.max(begin.elapsed());
        sent += 1;
        thread::sleep(PAUSE);
    }
    (sent, slowest)
}

/// The requests of a flood, by connection. All tokens differ.
fn flood(alg: Alg) -> Vec<Vec<Request>> {
    let header = BASE64.encode(json!({"alg": alg.name(), "typ": "JWT"}).to_string());
    let claims = BASE64.encode(claims().to_string());
    let token = || {
        let mut signature = vec![0; if alg == Alg::Es256 { 64 } else { 256 }];
        fastrand::fill(&mut signature);
        // Below each modulus, so that the check takes its whole time.
        signature[0] &= 0x7f;
        format!("access_token={header}.{claims}.{}", BASE64.encode(signature))
    };
    let request = || Request::get(&format!("/?{}", (0..TOKENS).map(|_| token()).collect::<Vec<_>>().join("&")));
    (0..CONNECTIONS).map(|_| (0..REQUESTS).map(|_| request()).collect()).collect()
}

pub fn run() {
    println!(
        "\n{} requests on {CONNECTIONS} connections, each with {TOKENS} tokens that nobody signed; one worker; medians \
         of {ROUNDS} rounds. \"Slowest\" is the slowest good request.\n",
        CONNECTIONS * REQUESTS
    );
    println!(
        "| keys | room | CPU, jwks-gate, s | CPU, `jwt_authn`, s | ratio | slowest, jwks-gate, ms | slowest, \
         `jwt_authn`, ms | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for alg in [Alg::Es256, Alg::Rs256] {
        for count in [2, 8] {
            let keys: Vec<_> = (0..count).map(|number| SigningKey::generate(alg, &format!("k{number}"))).collect();
            let mut sites = Filter::BOTH.map(|filter| Site::start(filter, &keys));
            let mut costs = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
            for round in 0..=ROUNDS {
                for (is_full, costs) in [false, true].into_iter().zip(&mut costs) {
                    for (site, costs) in sites.iter_mut().zip(costs) {
                        let requests = flood(alg);
                        if site.filter == Filter::JwksGate {
                            thread::sleep(REST);
                        }
                        let fillers = if is_full { site.fill(&keys[0]) } else { Vec::new() };
                        let cost = site.flood(&requests);
                        site.empty(fillers);
                        // The first round warms up.
                        if round > 0 {
                            costs.push(cost);
                        }
                    }
                }
            }
            for (room, [ours, native]) in ["empty", "full"].into_iter().zip(costs) {
                let of = |costs: &[Cost], which: fn(&Cost) -> f64| median(costs.iter().map(which).collect());
                let cpu = [&ours, &native].map(|costs| of(costs, |cost| cost.cpu));
                let slowest = [&ours, &native].map(|costs| of(costs, |cost| cost.slowest * 1e3));
                println!(
                    "| {count} {} | {room} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} |",
                    alg.name(),
                    cpu[0],
                    cpu[1],
                    cpu[0] / cpu[1],
                    slowest[0],
                    slowest[1],
                    slowest[0] / slowest[1]
                );
            }
        }
    }
}
