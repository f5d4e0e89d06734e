//! Tests of the test bed, with Envoy but without jwks-gate.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use jwks_gate_testbed::http::{self, Connection, Request};
use jwks_gate_testbed::{eventually, Bootstrap, Envoy, EnvoyOptions, StartError};
use serde_json::{json, Value};

#[test]
fn requests_reach_the_upstream_byte_for_byte() {
    let upstream = upstream();
    let envoy = start(&Bootstrap::with_filter(upstream, local_rate_limit(1_000)));

    let request =
        Request::post("/some/path?q=1").bearer("a.b.c").header("x-raw", b"\xff\xfe".as_slice()).body("the body");
    let response = http::send(envoy.addr(), &request).unwrap();

    assert_eq!(response.status, 200);
    assert_eq!(response.header("X-Chunked"), Some("yes"));
    assert!(response.body.starts_with(b"POST /some/path?q=1 HTTP/1.1"));
    let raw = b"x-raw: \xff\xfe\r\n";
    assert!(response.body.windows(raw.len()).any(|part| part == raw));
    assert!(response.text().contains("authorization: Bearer a.b.c"));
}

#[test]
fn concurrent_and_successive_requests_are_counted() {
    let envoy = start(&Bootstrap::with_filter(upstream(), local_rate_limit(40)));

    let responses = http::concurrently(envoy.addr(), 40, |i| Request::get(&format!("/{i}")));
    let mut connection = Connection::open(envoy.addr()).unwrap();
    let late: Vec<u16> = (0..3).map(|_| connection.send(&Request::get("/")).unwrap().status).collect();

    assert!(responses.into_iter().all(|response| response.unwrap().status == 200));
    assert_eq!(late, [429, 429, 429]);
    assert!(eventually(Duration::from_secs(2), || { envoy.stat("limit.http_local_rate_limit.rate_limited") == 3 }));
    assert_eq!(envoy.stat("limit.http_local_rate_limit"), 0);
    assert!(envoy.log().contains("starting main dispatch loop"));
}

#[test]
fn a_rejected_configuration_gives_an_error_with_the_log() {
    let quiet = EnvoyOptions { expect_start: false, ..EnvoyOptions::default() };
    let bootstrap = Bootstrap::with_filter(upstream(), json!({ "name": "no-such-filter" }));

    let Err(StartError::Exited { log }) = Envoy::start(&bootstrap.yaml(), quiet) else {
        panic!("Envoy accepted a filter that does not exist");
    };

    assert!(log.contains("no-such-filter"), "{log}");
}

fn start(bootstrap: &Bootstrap) -> Envoy {
    let mut envoy = Envoy::start(&bootstrap.yaml(), EnvoyOptions::default()).unwrap();
    assert!(envoy.is_running());
    envoy
}

/// A filter of Envoy that lets `n` requests pass.
fn local_rate_limit(n: u32) -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({
        "name": "limit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": { "max_tokens": n, "tokens_per_fill": 1, "fill_interval": "3600s" },
            "filter_enabled": always,
            "filter_enforced": always,
        },
    })
}

/// Answers each connection's first request with that request, in two chunks.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut request = vec![0; 65_536];
                let length = stream.read(&mut request).unwrap();
                let (one, two) = request[..length].split_at(length / 2);
                let mut response = b"HTTP/1.1 200 OK\r\nx-chunked: yes\r\nconnection: close\r\n\
                    transfer-encoding: chunked\r\n\r\n"
                    .to_vec();
                for chunk in [one, two, b""] {
                    response.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    response.extend_from_slice(chunk);
                    response.extend_from_slice(b"\r\n");
                }
                // The client may have left.
                let _ = stream.write_all(&response);
            });
        }
    });
    addr
}
