//! A revocation reaches every configuration that is in use, and outlasts renamings.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Rotation, SigningKey};
use jwks_gate_testbed::{
    eventually, free_port,
    http::{Connection, Request},
    Directory, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::setup::Plan;

/// A file that Envoy watches for its listener (LDS).
struct ListenerFile {
    directory: Directory,
    port: u16,
}

impl ListenerFile {
    fn new() -> Self {
        Self { directory: Directory::create().unwrap(), port: free_port() }
    }

    /// Publishes the listener of this plan. Returns the bootstrap without the listener.
    fn publish(&self, plan: &Plan) -> Value {
        let mut bootstrap: Value = serde_json::from_str(&plan.yaml()).unwrap();
        let mut listener = bootstrap["static_resources"]["listeners"][0].take();
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
        listener["address"]["socket_address"]["port_value"] = json!(self.port);
        let new = self.directory.file("new.json");
        fs::write(&new, json!({ "resources": [listener] }).to_string()).unwrap();
        fs::rename(new, self.directory.file("lds.json")).unwrap();
        bootstrap["static_resources"]["listeners"] = json!([]);
        let path = self.directory.file("lds.json");
        bootstrap["dynamic_resources"] =
            json!({"lds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}});
        bootstrap
    }
}

/// How long the old configuration may take to hear of the new one: a second, and more on a machine that is busy.
const HEARD: Duration = Duration::from_secs(10);

/// While the old listener drains, its connections go on with the old configuration.
#[test]
fn a_key_that_an_lds_update_revokes_verifies_nothing_on_open_connections() {
    let mut plan = Plan::new().rotation("unknown_kid_min_interval", "0.1s").rotation("unknown_kid_max_wait", "1s");
    let bad = plan.issuer.current();
    plan.issuer.rotate(Rotation::Overlap);
    let file = ListenerFile::new();
    let bootstrap = file.publish(&plan);
    let envoy = Envoy::start(&bootstrap.to_string(), EnvoyOptions { concurrency: 2, ..Default::default() }).unwrap();
    let claims = plan.issuer.claims();
    let (token, other) = (bad.mint(&claims), plan.issuer.token());
    let request = |token: &str| Request::get("/api/x").bearer(token);
    let mut connections: Vec<_> = (0..10).map(|_| Connection::open(envoy.addr()).unwrap()).collect();
    for connection in &mut connections {
        assert_eq!(connection.send(&request(&token)).unwrap().status, 200);
    }

    plan.config["providers"]["p"]["remote_jwks"]["rotation"]["revoked_keys"] = json!([bad.kid]);
    file.publish(&plan);
    assert!(eventually(Duration::from_secs(10), || envoy.stat("listener_manager.listener_modified") == 1));
    let updated = Instant::now();
    // A fresh connection tells when the new listener is in use.
    let is_new = || Connection::open(envoy.addr()).unwrap().send(&request(&token)).unwrap().status == 401;
    assert!(eventually(Duration::from_secs(10), is_new));
    let in_use = Instant::now();
    let mut longest = Duration::ZERO;
    for connection in &mut connections {
        while connection.send(&request(&token)).unwrap().status != 401 {
            assert!(in_use.elapsed() < HEARD, "{} connections drain", connections_left(&envoy));
            thread::sleep(Duration::from_millis(5));
        }
        longest = longest.max(in_use.elapsed());
        // The draining configuration still serves the other key.
        assert_eq!(connection.send(&request(&other)).unwrap().status, 200);
    }
    println!(
        "denied everywhere {longest:?} after the new listener was in use, {:?} after the update",
        updated.elapsed()
    );

    // The same key under another name, on old and new connections.
    let mut renamed = bad.public_jwk();
    renamed["kid"] = json!("renamed");
    let jwks = json!({"keys": [renamed, plan.issuer.current().public_jwk()]});
    plan.issuer.publish(jwks.to_string().into_bytes());
    let renamed = bad.mint_with_header(&json!({"alg": "ES256", "kid": "renamed"}), &claims);
    connections.push(Connection::open(envoy.addr()).unwrap());
    for connection in &mut connections {
        for _ in 0..5 {
            assert_eq!(connection.send(&request(&renamed)).unwrap().status, 401);
        }
        assert_eq!(connection.send(&request(&other)).unwrap().status, 200);
    }
}

fn connections_left(envoy: &Envoy) -> u64 {
    envoy.stat("listener_manager.total_listeners_draining")
}

/// The room is small, and one client fills it with invented kids.
#[test]
fn a_client_that_floods_takes_no_room_from_other_clients_of_the_issuer() {
    let plan = Plan::new()
        .rotation("unknown_kid_min_interval", "10s")
        .rotation("unknown_kid_max_wait", "10s")
        .top("max_parked_requests", json!(20))
        .concurrency(1);
    let site = plan.start_warm();
    let claims = site.issuer.claims();
    // Spends the budget: what follows waits for the next refresh.
    assert_eq!(site.get(&site.token_of_unknown_key()).status, 401);
    let addr = site.envoy.addr();
    thread::scope(|scope| {
        let flood = |number: usize| {
            let claims = &claims;
            scope.spawn(move || {
                let token =
                    SigningKey::generate(jwks_gate_issuer::Alg::Es256, &format!("invented-{number}")).mint(claims);
                let mut connection = Connection::open_from([127, 0, 0, 2].into(), addr).unwrap();
                connection.send(&Request::get("/api/x").bearer(&token)).unwrap().status
            })
        };
        let flood: Vec<_> = (0..60).map(flood).collect();
        assert!(eventually(Duration::from_secs(5), || site.stat("unavailable") >= 40), "{}", site.stat("unavailable"));
        site.issuer.rotate(Rotation::Hard);
        let token = site.issuer.token();
        let good = |_| {
            let token = token.clone();
            scope.spawn(move || {
                let mut connection = Connection::open_from([127, 0, 0, 3].into(), addr).unwrap();
                connection.send(&Request::get("/api/x").bearer(&token)).unwrap().status
            })
        };
        let good: Vec<_> = (0..8).map(good).collect();
        assert!(good.into_iter().all(|answer| answer.join().unwrap() == 200), "{}", site.envoy.log());
        let denied = flood.into_iter().map(|answer| answer.join().unwrap());
        assert!(denied.into_iter().all(|status| matches!(status, 401 | 503)));
    });
}
