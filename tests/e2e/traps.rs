//! A VM that traps. The filter has hooks for tests: the header `x-test-trap` makes the VM trap.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Fault, Rotation, Times};
use jwks_gate_testbed::{
    eventually, hooks_path,
    http::{self, Request},
    wasm_filter_of, wasm_path,
};
use serde_json::{json, Value};

use crate::{
    setup::{count, Plan, Site},
    shared_data::intruder,
};

const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// jwks-gate with hooks for tests.
pub fn hooked(config: &Value) -> Value {
    wasm_filter_of(&hooks_path(), config)
}

/// A site with one worker, and these filters before the router.
fn start(plan: Plan, filters: Vec<Value>) -> Site {
    let plan = plan.concurrency(1).filters(filters);
    let plan = plan.bootstrap(|bootstrap| bootstrap.connection_manager_option("stream_idle_timeout", json!("3s")));
    let site = plan.start_with_vms(None);
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(5), || site.get(&token).status == 200));
    site
}

fn trap(site: &Site, when: &str) -> u16 {
    let request = Request::get("/api/trap").bearer(&site.issuer.token()).header("x-test-trap", when);
    http::send(site.envoy.addr(), &request).map_or(0, |response| response.status)
}

/// After the reload of the VM, no good token is denied. Every request until then gets 503.
fn assert_recovers(site: &Site) {
    let token = site.issuer.token();
    let mut statuses = Vec::new();
    let is_back = || {
        statuses.push(site.get(&token).status);
        statuses.last() == Some(&200)
    };
    assert!(eventually(Duration::from_secs(30), is_back), "{}", site.envoy.log());
    println!("until the first 200: {:?}", count(statuses.iter().copied()));
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    for _ in 0..5 {
        assert_eq!(site.get_at_once(40, |_| token.clone()), [(200, 40)]);
    }
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
}

/// The hooks are not in the filter that is shipped.
#[test]
fn the_filter_has_no_hooks() {
    let has_hooks = |path| fs::read(path).unwrap().windows(10).any(|bytes| bytes == b"test-hooks");
    assert_eq!((has_hooks(wasm_path()), has_hooks(hooks_path())), (false, true));
}

#[test]
fn a_trap_at_the_arrival_of_a_request_fails_closed() {
    let plan = Plan::new().rotation("unknown_kid_max_wait", "0.5s");
    let mut filter = hooked(&plan.config);
    // No reload before the requests below, however slow the machine is.
    filter["typed_config"]["config"]["reload_config"] = json!({"backoff": {"base_interval": "5s"}});
    let site = start(plan, vec![filter]);
    let before = site.echo.requests();
    let begin = Instant::now();
    assert_eq!(trap(&site, "now"), 503);
    assert_eq!(site.get("x").status, 503);
    assert_eq!(site.get_at_once(20, |_| "x".to_owned()), [(503, 20)]);
    println!("22 requests after {:?}", begin.elapsed());
    assert_eq!(site.echo.requests(), before, "no request reaches the upstream");
    assert_recovers(&site);
    assert_eq!(site.gets(), 2, "the new VM takes the keys from shared data; the unknown key costs a fetch");
}

/// Envoy calls nothing in a VM that trapped, and ends no stream of it: parked requests end by `stream_idle_timeout`.
#[test]
fn requests_that_are_parked_in_a_vm_that_traps_end_and_do_not_pass() {
    let plan = Plan::new().timeout("2s").rotation("unknown_kid_max_wait", "20s");
    let filters = vec![hooked(&plan.config)];
    let site = start(plan, filters);
    site.issuer.fault(Fault::Hang, Times::Always);
    let (before, token) = (site.echo.requests(), site.token_of_unknown_key());
    let begin = Instant::now();
    let statuses = thread::scope(|scope| {
        let parked = scope.spawn(|| {
            http::concurrently(site.envoy.addr(), 10, |_| Request::get("/api/x").bearer(&token))
                .into_iter()
                .map(|response| response.map_or(0, |response| response.status))
                .collect::<Vec<_>>()
        });
        // A request before the first keys may have waited too.
        assert!(eventually(Duration::from_secs(5), || site.stat("parked") >= 10));
        let status = trap(&site, "wake");
        println!("the request that traps the VM: {status}");
        assert!(eventually(Duration::from_secs(5), || site.get("x").status == 503));
        parked.join().unwrap()
    });
    println!("parked requests: {:?} after {:?}", count(statuses.iter().copied()), begin.elapsed());
    assert!(statuses.iter().all(|status| matches!(status, 503 | 504)), "{statuses:?}");
    assert!(begin.elapsed() < IDLE_TIMEOUT + Duration::from_secs(3));
    assert!(site.echo.requests() <= before + 1, "no parked request reaches the upstream");
    site.issuer.heal();
    assert_recovers(&site);
}

/// Queues of the VM that trapped name its root contexts. In the new VM, streams have some of those ids.
#[test]
fn a_message_for_a_root_context_of_a_vm_that_trapped_is_ignored() {
    let plan = Plan::new().rotation("unknown_kid_max_wait", "2s").rotation("unknown_kid_min_interval", "0.1s");
    let attack = json!({"period_millis": 5, "overwrite": false, "values": [], "secret": "", "queues": 64});
    let mut first = plan.config.clone();
    first["providers"]["p"]["forward"] = json!(true);
    // Both filters reload with the first request, whose stream then has the id that the second root context had.
    let quickly = json!({"backoff": {"base_interval": "0.05s"}});
    let [first, second] = [&first, &plan.config].map(|config| {
        let mut filter = hooked(config);
        filter["typed_config"]["config"]["reload_config"] = quickly.clone();
        filter
    });
    let site = start(plan, vec![intruder(&attack), first, second]);
    thread::sleep(Duration::from_millis(300));
    site.issuer.fault(Fault::Hang, Times::Always);
    let vms = || site.envoy.stat("wasm.envoy.wasm.runtime.v8.created");
    let (token, unknown, before) = (site.issuer.token(), site.token_of_unknown_key(), (site.echo.requests(), vms()));
    assert_eq!(trap(&site, "now"), 503);
    // The first request in the new VM is parked, while messages arrive.
    let is_parked = || {
        let begin = Instant::now();
        assert_eq!(site.get(&unknown).status, 503);
        begin.elapsed() > Duration::from_millis(500)
    };
    assert!(eventually(Duration::from_secs(15), is_parked), "{}", site.envoy.log());
    assert!(
        site.envoy.log().contains("a message for a context that is no root context"),
        "the messages name no stream"
    );
    assert_eq!(site.echo.requests(), before.0);
    site.issuer.heal();
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200));
    assert_eq!(site.get_at_once(40, |_| token.clone()), [(200, 40)]);
    assert_eq!(vms(), before.1 + 1, "another VM trapped: {}", site.envoy.log());
}

/// The verdict allows a parked request, but the host neither changes nor answers the request. The rest of its body must not carry it
/// on, without the changes.
#[test]
fn a_request_that_cannot_be_changed_as_decided_does_not_go_on_with_its_body() {
    let plan = Plan::new().timeout("20s");
    let mut filter = hooked(&plan.config);
    filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = json!(true);
    let site = start(plan, vec![filter]);
    site.issuer.fault(Fault::Hang, Times::Always);
    site.issuer.rotate(Rotation::Overlap);
    let (before, allowed) = (site.echo.requests(), site.settled("allowed"));
    let mut connection = TcpStream::connect(site.envoy.addr()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let token = site.issuer.token();
    write!(
        connection,
        "POST /api/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nx-test-trap: edits\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    )
    .unwrap();
    site.heal_when_parked(1);
    assert!(eventually(Duration::from_secs(5), || site.stat("allowed") == allowed + 1));
    connection.write_all(b"5\r\nworld\r\n0\r\n\r\n").unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).unwrap();
    assert_eq!((&status[..], site.echo.requests()), (&b"HTTP/1.1 504"[..], before));
}
