//! Bodies wait with their requests. No byte reaches the upstream before the verdict, or after a denial.

use std::time::Duration;

use jwks_gate_issuer::{Fault, Times};
use jwks_gate_testbed::{eventually, http::Request, Bootstrap};

use crate::setup::{Plan, Site};

fn hanging(adjust: fn(Bootstrap) -> Bootstrap) -> Site {
    Plan::new().timeout("20s").bootstrap(adjust).fault(Fault::Hang, Times::Always).start()
}

const SETTINGS: [fn(Bootstrap) -> Bootstrap; 2] =
    [|bootstrap| bootstrap, |bootstrap| bootstrap.allow_on_headers_stop_iteration(true)];

#[test]
fn a_body_waits_and_arrives_whole() {
    for adjust in SETTINGS {
        let site = hanging(adjust);
        let request = Request::post("/api/x").bearer(&site.issuer.token()).body(vec![b'x'; 300_000]);
        waits_and_arrives(&site, &request, 300_000);
    }
}

#[test]
fn the_body_of_a_denied_request_reaches_no_upstream() {
    for adjust in SETTINGS {
        let site = hanging(adjust);
        let chunked = |token: &str| {
            let mut request = Request::post("/api/x").bearer(token).header("transfer-encoding", "chunked");
            request.headers.push(("trailer".to_owned(), b"x-end".to_vec()));
            request.body(b"5\r\nhello\r\n0\r\nx-end: yes\r\n\r\n".to_vec())
        };
        std::thread::scope(|scope| {
            let denied = scope.spawn(|| site.send(&chunked(&site.token_of_unknown_key())));
            site.heal_when_parked(1);
            assert_eq!((denied.join().unwrap().status, site.echo.requests()), (401, 0));
        });
        let large = Request::post("/api/x").body(vec![b'x'; 300_000]);
        assert_eq!((site.send(&large).status, site.echo.requests()), (401, 0));
        site.assert_healthy();
    }
}

#[test]
fn chunks_and_trailers_wait_too() {
    for adjust in SETTINGS {
        let site = hanging(adjust);
        let request = Request::post("/api/x")
            .bearer(&site.issuer.token())
            .header("transfer-encoding", "chunked")
            .header("trailer", "x-end")
            .body(b"5\r\nhello\r\n0\r\nx-end: yes\r\n\r\n".to_vec());
        waits_and_arrives(&site, &request, 5);
    }
}

/// Asserts that nothing of a parked request reaches the upstream, and all of it after the verdict.
fn waits_and_arrives(site: &Site, request: &Request, bytes: usize) {
    std::thread::scope(|scope| {
        let response = scope.spawn(|| site.send(request));
        assert!(eventually(Duration::from_secs(10), || site.stat("parked") == 1));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(site.echo.requests(), 0, "there is no verdict yet");
        site.issuer.heal();
        let response = response.join().unwrap();
        assert_eq!((response.status, &response.json()["body_bytes"]), (200, &bytes.into()));
    });
    site.assert_healthy();
}
