//! The time before the first keys arrive.

use std::{thread, time::Duration};

use jwks_gate_issuer::{Fault, Times};
use jwks_gate_testbed::eventually;

use crate::setup::{Plan, Site};

fn hanging(plan: Plan) -> Site {
    plan.timeout("20s").fault(Fault::Hang, Times::Always).start()
}

#[test]
fn two_hundred_requests_at_once_wait_for_one_fetch() {
    for workers in [2, 4] {
        let site = hanging(Plan::new().concurrency(workers));
        let token = site.issuer.token();
        let counts = thread::scope(|scope| {
            let counts = scope.spawn(|| site.get_at_once(200, |_| token.clone()));
            site.heal_when_parked(200);
            counts.join().unwrap()
        });
        assert_eq!(counts, [(200, 200)], "{workers} workers");
        assert_eq!(site.gets(), 1, "{workers} workers");
        assert_eq!(site.echo.requests(), 200);
    }
}

#[test]
fn keys_are_fetched_before_the_first_request() {
    let site = Plan::new().start_warm();
    assert_eq!((site.stat("parked"), site.gets()), (0, 1));
}

#[test]
fn requests_beyond_max_parked_requests_get_503() {
    let site = hanging(Plan::new().top("max_parked_requests", 10));
    let token = site.issuer.token();
    let counts = thread::scope(|scope| {
        let counts = scope.spawn(|| site.get_at_once(100, |_| token.clone()));
        assert!(eventually(Duration::from_secs(10), || site.stat("unavailable") == 80));
        site.heal_when_parked(20);
        counts.join().unwrap()
    });
    // Each of the two workers parks ten requests.
    assert_eq!(counts, [(200, 20), (503, 80)]);
    assert_eq!((site.gets(), site.echo.requests()), (1, 20));
    site.assert_healthy();
}

#[test]
fn clients_that_leave_while_waiting_do_not_affect_others() {
    use std::io::Write;
    let site = hanging(Plan::new());
    let token = site.issuer.token();
    let mut gone: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(site.envoy.addr()).unwrap()).collect();
    for stream in &mut gone {
        write!(stream, "GET /api/x HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n").unwrap();
    }
    assert!(eventually(Duration::from_secs(10), || site.stat("parked") == 50));
    drop(gone);
    let counts = thread::scope(|scope| {
        let counts = scope.spawn(|| site.get_at_once(50, |_| token.clone()));
        site.heal_when_parked(100);
        counts.join().unwrap()
    });
    assert_eq!(counts, [(200, 50)]);
    assert_eq!((site.gets(), site.echo.requests()), (1, 50));
    site.assert_healthy();
}
