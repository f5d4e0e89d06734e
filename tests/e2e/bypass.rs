//! Attempts to bypass a rule.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use jwks_gate_issuer::{Fault, Times};
use jwks_gate_testbed::{http::Request, Bootstrap, Envoy, EnvoyOptions};
use serde_json::json;

use crate::setup::{Plan, MISSING};

fn hardened(bootstrap: Bootstrap) -> Bootstrap {
    bootstrap
        .connection_manager_option("normalize_path", json!(true))
        .connection_manager_option("merge_slashes", json!(true))
        .connection_manager_option("path_with_escaped_slashes_action", json!("UNESCAPE_AND_REDIRECT"))
}

/// With the path normalisation that the README requires, no spelling of the path bypasses the rule.
#[test]
fn no_spelling_of_a_path_bypasses_the_rule() {
    let site = Plan::new().bootstrap(hardened).start_warm();
    let before = site.echo.requests();
    for path in [
        "/api/x",
        "//api/x",
        "/./api/x",
        "/x/../api/x",
        "/x/%2e%2e/api/x",
        "/%61pi/x",
        "/api/../api/x",
        "///api//x",
        "/api/x?a=/other",
        "/api/x;jsessionid=1",
        "/other/..;/../api/x",
        "/api/%2e/x",
    ] {
        assert_eq!(site.send(&Request::get(path)).status, 401, "{path}");
    }
    for path in ["/other%2f..%2fapi/x", "/api%2fx", "/%5c..%5capi/x"] {
        let status = site.send(&Request::get(path)).status;
        assert!([307, 400, 401].contains(&status), "{path}: {status}");
    }
    assert_eq!(site.echo.requests(), before);
}

/// A rule for an upstream that ignores case must ignore case too.
#[test]
fn a_rule_can_ignore_case() {
    let mut plan = Plan::new();
    plan.config["rules"][0]["match"]["case_sensitive"] = json!(false);
    let site = plan.start();
    for path in ["/API/x", "/Api/x", "/aPI/"] {
        assert_eq!(site.send(&Request::get(path)).text(), MISSING, "{path}");
    }
}

#[test]
fn a_good_token_does_not_hide_a_bad_token() {
    let site = Plan::new()
        .provider("from_headers", json!([{"name": "authorization", "value_prefix": "Bearer "}, {"name": "x-jwt"}]))
        .provider("from_params", json!(["t"]))
        .provider("from_cookies", json!(["t"]))
        .start_warm();
    let good = site.issuer.token();
    let mut claims = site.issuer.claims();
    claims["exp"] = json!(1);
    let expired = site.issuer.current().mint(&claims);
    let before = site.echo.requests();
    let base = || Request::get("/api/x").bearer(&good);
    for request in [
        base().header("x-jwt", expired.clone()),
        base().header("x-jwt", good.clone()).header("x-jwt", expired.clone()),
        base().header("cookie", format!("t={expired}")),
        base().header("cookie", format!("t={good}; t={expired}")),
        base().header("cookie", format!("t={good}")).header("cookie", format!("t={expired}")),
        Request::get(&format!("/api/x?t={expired}")).bearer(&good),
        Request::get(&format!("/api/x?t={good}&t={expired}")),
        Request::get(&format!("/api/x?t={good}&%74={expired}")),
    ] {
        assert_eq!(site.send(&request).status, 401, "{request:?}");
    }
    assert_eq!(site.echo.requests(), before);
    let everywhere = Request::get(&format!("/api/x?t={good}")).bearer(&good).header("x-jwt", good.clone());
    assert_eq!(site.send(&everywhere.header("cookie", format!("t={good}"))).status, 200);
    // Too many tokens are not checked.
    let many: Vec<_> = (0..20).map(|number| format!("t={good}{number}")).collect();
    assert_eq!(site.send(&Request::get(&format!("/api/x?{}", many.join("&")))).text(), "Jwt is too large");
    site.assert_healthy();
}

#[test]
fn every_method_needs_a_token() {
    let site = Plan::new().start_warm();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let status = site.send(&Request::new(method, "/api/x")).status;
        assert!([401, 400].contains(&status), "{method}: {status}");
    }
    // A preflight needs a token unless the configuration lets preflights pass.
    let preflight =
        Request::new("OPTIONS", "/api/x").header("origin", "o").header("access-control-request-method", "GET");
    assert_eq!(site.send(&preflight).status, 401);
    let site = Plan::new().top("bypass_cors_preflight", true).start_warm();
    assert_eq!(site.send(&preflight).status, 200);
    let no_preflight =
        Request::new("GET", "/api/x").header("origin", "o").header("access-control-request-method", "GET");
    assert_eq!(site.send(&no_preflight).status, 401);
}

/// Sends bytes, and reads the response until the response contains `expected`.
fn raw(addr: std::net::SocketAddr, request: &str, expected: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(expected) {
        let length = stream.read(&mut chunk).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&seen));
        });
        assert!(length > 0, "closed: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..length]);
    }
    (String::from_utf8_lossy(&seen).into_owned(), stream)
}

/// An upstream that switches protocols at once and then echoes its input.
fn parrot() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                let _ = stream.read(&mut chunk);
                let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
                let _ = stream.write_all(switch.as_bytes());
                while let Ok(length @ 1..) = stream.read(&mut chunk) {
                    let _ = stream.write_all(&chunk[..length]);
                }
            });
        }
    });
    addr
}

#[test]
fn an_upgrade_needs_a_token_and_no_data_flows_before() {
    for wait in [false, true] {
        let mut plan = Plan::new().cluster("parrot", parrot()).bootstrap(|bootstrap| {
            let routes = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/api/"}, "route": {"cluster": "parrot", "upgrade_configs": [{"upgrade_type": "websocket"}]}},
            ]}]});
            bootstrap.connection_manager_option("route_config", routes)
        });
        if wait {
            plan = plan.timeout("20s").fault(Fault::Hang, Times::Always);
        }
        let site = plan.start();
        let request = |token: &str| {
            format!(
                "GET /api/ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nauthorization: Bearer {token}\r\n\r\nearly"
            )
        };
        let (denied, _) = raw(site.envoy.addr(), &request("x"), "\r\n\r\n");
        assert!(denied.starts_with("HTTP/1.1 401"), "{denied}");
        let (answer, mut stream) = std::thread::scope(|scope| {
            if wait {
                scope.spawn(|| site.heal_when_parked(1));
            }
            raw(site.envoy.addr(), &request(&site.issuer.token()), "early")
        });
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        stream.write_all(b"later").unwrap();
        let mut chunk = [0; 5];
        stream.read_exact(&mut chunk).unwrap();
        assert_eq!(&chunk, b"later");
        site.assert_no_vm_restarted();
    }
}

#[test]
fn connect_needs_a_token() {
    let mut plan = Plan::new().bootstrap(|bootstrap| {
        let routes = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"connect_matcher": {}}, "route": {"cluster": "upstream", "upgrade_configs": [
                {"upgrade_type": "CONNECT", "connect_config": {}},
            ]}},
        ]}]});
        bootstrap
            .connection_manager_option("route_config", routes)
            .connection_manager_option("upgrade_configs", json!([{"upgrade_type": "CONNECT"}]))
    });
    plan.config["rules"] = json!([{"match": {"connect_matcher": {}}, "requires": {"provider_name": "p"}}]);
    let site = plan.start();
    let connect = |token: &str| format!("CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\nauthorization: Bearer {token}\r\n\r\n");
    let (denied, _) = raw(site.envoy.addr(), &connect("x"), "\r\n\r\n");
    assert!(denied.starts_with("HTTP/1.1 401"), "{denied}");
    let (open, mut stream) = raw(site.envoy.addr(), &connect(&site.issuer.token()), "\r\n\r\n");
    assert!(open.starts_with("HTTP/1.1 200"), "{open}");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut chunk = [0; 12];
    stream.read_exact(&mut chunk).unwrap();
    assert_eq!(&chunk, b"HTTP/1.1 200");
    site.assert_no_vm_restarted();
}

/// A second Envoy in front translates to HTTP/2 and gRPC.
#[test]
fn http_2_and_grpc_clients_get_answers_in_their_protocol() {
    let site = Plan::new().timeout("20s").fault(Fault::Hang, Times::Always).start();
    let bridge = Bootstrap::with_filter(
        site.envoy.addr(),
        json!({
            "name": "bridge",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
                "pass_through_mode": false, "headers": [{"name": "never"}]},
        }),
    )
    .upstream_http_2();
    let bridge = Envoy::start(&bridge.yaml(), EnvoyOptions::default()).unwrap();
    let send = |request: &Request| jwks_gate_testbed::http::send(bridge.addr(), request).unwrap();
    let good = std::thread::scope(|scope| {
        let post = Request::post("/api/x").bearer(&site.issuer.token()).body(vec![b'x'; 70_000]);
        let good = scope.spawn(move || send(&post));
        site.heal_when_parked(1);
        good.join().unwrap()
    });
    assert_eq!((good.status, &good.json()["body_bytes"]), (200, &json!(70_000)));
    assert!(
        send(&Request::get("/api/x")).text() == MISSING && site.envoy.stat("http.test.downstream_cx_http2_total") > 0
    );
    let grpc = |request: Request| send(&request.header("content-type", "application/grpc").header("te", "trailers"));
    let denied = grpc(Request::post("/api/x"));
    assert_eq!(
        (denied.status, denied.header("grpc-status"), denied.header("grpc-message")),
        (200, Some("16"), Some(MISSING))
    );
    let mut claims = site.issuer.claims();
    claims["aud"] = json!("other");
    let forbidden = grpc(Request::post("/api/x").bearer(&site.issuer.current().mint(&claims)));
    assert_eq!((forbidden.status, forbidden.header("grpc-status")), (200, Some("7")));
    site.assert_no_vm_restarted();
}
