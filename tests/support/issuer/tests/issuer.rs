//! Tests of the issuer and the echo server over HTTP.

mod common;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use base64::Engine;
use common::{get, post, Client};
use jwks_gate_issuer::{Alg, Echo, Fault, Issuer, Options, Rotation, Times};
use serde_json::{json, Value};

const JWKS: &str = "/.well-known/jwks.json";

#[test]
fn rotations_publish_and_withdraw() {
    let issuer = issuer();
    let first = issuer.current().kid.clone();
    assert_eq!(published(&issuer), [first.as_str()]);
    let second = issuer.rotate(Rotation::Overlap);
    assert_eq!(published(&issuer), [first.clone(), second.clone()]);
    assert_eq!(issuer.current().kid, second);
    assert_eq!(part(&issuer.token(), 0)["kid"], second);
    let third = issuer.rotate(Rotation::Hard);
    assert_eq!(published(&issuer), [third]);
    assert_eq!((issuer.stats().rotations, issuer.stats().tokens, issuer.stats().jwks_requests), (2, 1, 3));
}

#[test]
fn an_rsa_rotation_publishes_a_new_key() {
    let issuer = Issuer::start(Options::default()).unwrap();
    let before = published(&issuer);
    assert_ne!(before, [issuer.rotate(Rotation::Hard)]);
    assert_eq!(part(&issuer.token(), 0)["alg"], "RS256");
}

#[test]
fn headers_of_the_document() {
    let issuer = issuer();
    let mut client = Client::connect(issuer.addr());
    let first = client.call("GET", JWKS, "", "");
    assert_eq!(first.header("cache-control"), Some("public, max-age=600"));
    assert!(first.header("date").is_some() && first.header("last-modified").is_some());
    let etag = first.header("etag").unwrap().to_owned();
    for tags in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
        let second = client.call("GET", JWKS, &format!("if-none-match: {tags}\r\n"), "");
        assert_eq!((second.status, second.header("etag")), (304, Some(etag.as_str())));
        assert_eq!(second.header("content-length"), None);
    }
    let head = client.call("HEAD", JWKS, "", "");
    assert_eq!((head.status, head.header("content-length")), (200, first.header("content-length")));
    issuer.rotate(Rotation::Overlap);
    let third = client.call("GET", "/jwks", &format!("if-none-match: {etag}\r\n"), "");
    assert_eq!(third.status, 200);
    issuer.set_cache_control(None);
    issuer.set_headers(vec![("ETag".into(), "\"mine\"".into()), ("age".into(), "7".into())]);
    let fourth = client.call("GET", JWKS, "", "");
    assert_eq!((fourth.header("cache-control"), fourth.header("age")), (None, Some("7")));
    assert_eq!((fourth.header("ETag"), fourth.header("etag")), (Some("\"mine\""), None));
    let delete = client.call("DELETE", JWKS, "", "");
    assert_eq!((delete.status, delete.header("allow")), (405, Some("GET, HEAD")));
    let stats = issuer.stats();
    assert_eq!((stats.jwks_requests, stats.not_modified, stats.connections), (6, 3, 1));
}

#[test]
fn a_published_document_stays_until_the_next_rotation() {
    let issuer = issuer();
    issuer.publish(b"not json".to_vec());
    assert_eq!(get(issuer.addr(), JWKS).body, "not json");
    let kid = issuer.rotate(Rotation::Hard);
    assert_eq!(published(&issuer), [kid]);
}

#[test]
fn discovery_names_the_host_of_the_request() {
    let issuer = issuer();
    let answer = get(issuer.addr(), "/.well-known/openid-configuration").json();
    assert_eq!(answer["issuer"], "https://issuer.test");
    assert_eq!(answer["jwks_uri"], format!("http://issuer.local{JWKS}"));
}

#[test]
fn faults_that_answer() {
    let issuer = issuer();
    let addr = issuer.addr();
    issuer.fault(Fault::Status(503), Times::Next(2));
    assert_eq!(get(addr, JWKS).status, 503);
    assert_eq!(get(addr, "/.well-known/openid-configuration").status, 503);
    assert_eq!(get(addr, JWKS).status, 200);
    issuer.fault(Fault::Garbage, Times::Always);
    assert!(serde_json::from_str::<Value>(&get(addr, JWKS).body).is_err());
    issuer.fault(Fault::Empty, Times::Always);
    assert_eq!(get(addr, JWKS).json(), json!({ "keys": [] }));
    assert_eq!(post(addr, "/token", "").status, 200);
    issuer.fault(Fault::Delay(Duration::from_millis(200)), Times::Always);
    let start = Instant::now();
    assert_eq!(get(addr, JWKS).status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    issuer.heal();
    assert_eq!(published(&issuer).len(), 1);
    let stats = issuer.stats();
    assert_eq!((stats.faults, stats.jwks_requests), (5, 6));
}

#[test]
fn faults_that_break_the_connection() {
    let issuer = issuer();
    issuer.fault(Fault::Reset, Times::Next(1));
    let mut client = Client::connect(issuer.addr());
    client.send("GET", JWKS, "", "");
    assert_eq!(client.rest(), (vec![], Some(ErrorKind::ConnectionReset)));
    issuer.fault(Fault::Truncated, Times::Next(1));
    let mut client = Client::connect(issuer.addr());
    client.send("GET", JWKS, "", "");
    let (bytes, error) = client.rest();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", issuer.jwks().len())), "{head}");
    assert!(!body.is_empty() && body.len() < issuer.jwks().len());
    assert_eq!(error, None);
    assert_eq!(get(issuer.addr(), JWKS).status, 200);
}

#[test]
fn heal_answers_hanging_requests() {
    let issuer = issuer();
    issuer.fault(Fault::Hang, Times::Always);
    let mut client = Client::connect(issuer.addr());
    client.send("GET", JWKS, "", "");
    client.set_timeout(Duration::from_millis(200));
    assert_eq!(client.rest(), (vec![], Some(ErrorKind::WouldBlock)));
    client.set_timeout(Duration::from_secs(20));
    issuer.heal();
    assert_eq!(client.answer(true).status, 200);
    issuer.fault(Fault::Hang, Times::Always);
    client.send("GET", JWKS, "", "");
    thread::sleep(Duration::from_millis(50));
    drop(issuer);
    assert_eq!(client.rest(), (vec![], None));
}

#[test]
fn stop_refuses_connections_and_resume_reuses_the_port() {
    let issuer = issuer();
    let addr = issuer.addr();
    for _ in 0..20 {
        let mut client = Client::connect(addr);
        assert_eq!(client.call("GET", JWKS, "", "").status, 200);
        issuer.stop();
        issuer.stop();
        assert_eq!(client.rest(), (vec![], None));
        assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // No other server gets the port while the issuer is stopped.
        assert_ne!(Echo::start("127.0.0.1:0".parse().unwrap()).unwrap().addr(), addr);
        issuer.resume();
        issuer.resume();
    }
    assert_eq!(get(addr, JWKS).status, 200);
    assert_eq!(issuer.stats().connections, 21);
    drop(issuer);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_port_in_use_is_an_immediate_error() {
    let issuer = issuer();
    let start = Instant::now();
    let options = Options { listen: issuer.addr(), alg: Alg::EdDsa, ..Options::default() };
    assert_eq!(Issuer::start(options).err().unwrap().kind(), ErrorKind::AddrInUse);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn tokens_by_http() {
    let issuer = issuer();
    let addr = issuer.addr();
    let claims = part(&post(addr, "/token", "").body, 1);
    let now = claims["iat"].as_i64().unwrap();
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("alice"), &json!("api")));
    assert_eq!((claims["nbf"].as_i64(), claims["exp"].as_i64()), (Some(now), Some(now + 3600)));
    let answer = post(addr, "/token?kid=other%20one&alg=HS256&expires_in=-3600", r#"{"sub":null,"role":["a"]}"#);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")));
    assert_eq!(part(&answer.body, 0), json!({ "alg": "HS256", "typ": "JWT", "kid": "other one" }));
    let claims = part(&answer.body, 1);
    assert_eq!((claims.get("sub"), &claims["role"]), (None, &json!(["a"])));
    assert!(claims["exp"].as_i64().unwrap() < claims["iat"].as_i64().unwrap());
    assert_eq!(issuer.stats().tokens, 2);
    for (target, body) in [
        ("/token", "[1]"),
        ("/token", "{"),
        ("/token?expires_in=soon", ""),
        ("/token?kind=x", ""),
        ("/token?kid=%zz", ""),
    ] {
        let answer = post(addr, target, body);
        assert_eq!(answer.status, 400, "{target} {body}");
        assert!(answer.json()["error"].is_string() && answer.body.matches('\n').count() == 1);
    }
    assert_eq!(get(addr, "/token").status, 405);
}

#[test]
fn rotation_and_retirement_by_http() {
    let issuer = issuer();
    let addr = issuer.addr();
    let first = issuer.current().kid.clone();
    let second = post(addr, "/admin/rotate?mode=overlap", "").json()["kid"].clone();
    assert_eq!(
        get(addr, "/admin/keys").json(),
        json!({ "current": second, "published": [
            { "kid": first, "current": false },
            { "kid": second, "current": true },
        ]})
    );
    assert_eq!(post(addr, &format!("/admin/retire?kid={first}"), "").status, 200);
    assert_eq!(json!(published(&issuer)), json!([second]));
    assert_eq!(post(addr, &format!("/admin/retire?kid={first}"), "").status, 400);
    assert_eq!(post(addr, "/admin/retire", "").status, 400);
    assert_eq!(post(addr, "/admin/rotate?mode=soft", "").status, 400);
    let third = post(addr, "/admin/rotate?mode=hard", "").json()["kid"].clone();
    assert_eq!(json!(published(&issuer)), json!([third]));
    assert_eq!(get(addr, "/admin/rotate").status, 405);
    assert_eq!(get(addr, "/admin").status, 404);
}

#[test]
fn faults_by_http() {
    let issuer = issuer();
    let addr = issuer.addr();
    for kind in ["status&status=404", "delay&ms=1", "hang", "reset", "garbage", "truncated", "empty"] {
        let answer = post(addr, &format!("/admin/fault?kind={kind}&times=3"), "");
        assert_eq!(answer.status, 200, "{kind}");
        assert!(answer.json()["fault"].is_string() && answer.body.ends_with('\n'));
    }
    assert_eq!(get(addr, JWKS).json(), json!({ "keys": [] }));
    assert_eq!(post(addr, "/admin/heal", "").status, 200);
    assert_eq!(published(&issuer).len(), 1);
    for query in
        ["", "kind=boom", "kind=status&status=99", "kind=delay&ms=-1", "kind=hang&tmies=1", "kind=hang&times=x"]
    {
        assert_eq!(post(addr, &format!("/admin/fault?{query}"), "").status, 400, "{query}");
    }
    let stats = get(addr, "/admin/stats").json();
    assert_eq!((&stats["faults"], &stats["jwks_requests"], &stats["rotations"]), (&json!(1), &json!(2), &json!(0)));
    assert!(stats["connections"].as_u64() > Some(5));
}

#[test]
fn a_pause_by_http() {
    let issuer = issuer();
    let addr = issuer.addr();
    let mut client = Client::connect(addr);
    assert_eq!(client.call("POST", "/admin/stop?ms=300", "", "").json(), json!({ "stopped_for_ms": 300 }));
    assert_eq!(client.rest(), (vec![], None));
    let start = Instant::now();
    // The connection ends just before the server stops listening.
    while TcpStream::connect(addr).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    while TcpStream::connect(addr).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(get(addr, JWKS).status, 200);
}

#[test]
fn malformed_requests_get_400() {
    let issuer = issuer();
    let mut client = Client::connect(issuer.addr());
    client.send("GET", JWKS, "no colon\r\n", "");
    assert_eq!(client.answer(true).status, 400);
    assert_eq!(client.rest().0, b"");
    let mut client = Client::connect(issuer.addr());
    client.send("GET", JWKS, "connection: close\r\n", "");
    assert_eq!(client.answer(true).header("connection"), Some("close"));
    assert_eq!(client.rest(), (vec![], None));
}

#[test]
fn the_echo_answers_with_the_request() {
    let echo = Echo::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = Client::connect(echo.addr());
    let answer = client.call("PUT", "/a?b=c", "X-Two: 1\r\nx-two: 2\r\n", "body");
    assert_eq!(
        answer.json(),
        json!({
            "method": "PUT",
            "path": "/a?b=c",
            "headers": { "host": ["issuer.local"], "x-two": ["1", "2"], "content-length": ["4"] },
            "body_bytes": 4,
        })
    );
    assert_eq!(client.call("GET", "/", "", "").json()["body_bytes"], 0);
    assert_eq!(echo.requests(), 2);
    let addr = echo.addr();
    drop(echo);
    assert!(TcpStream::connect(addr).is_err());
}

/// An issuer whose keys are fast to generate.
fn issuer() -> Issuer {
    Issuer::start(Options { alg: Alg::EdDsa, ..Options::default() }).unwrap()
}

fn published(issuer: &Issuer) -> Vec<String> {
    let jwks = get(issuer.addr(), JWKS).json();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}
