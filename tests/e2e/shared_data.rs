//! A hostile plugin in the same Envoy, with the same `vm_id`: `tests/support/probe/src/intruder.rs`.

use std::{
    collections::BTreeMap,
    env,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{Connection, Request},
    probe_path, wasm_filter_of,
};
use serde_json::{json, Value};

use crate::{
    forged::forged_record,
    setup::{Plan, Site},
    traps::hooked,
};

/// The hostile plugin as an entry of `http_filters`.
pub fn intruder(attack: &Value) -> Value {
    let mut filter = wasm_filter_of(&probe_path(), attack);
    filter["typed_config"]["config"]["name"] = json!("intruder");
    filter
}

const MAX_GETS_PER_SECOND: u64 = 5;
const MAX_LINES_PER_SECOND: u64 = 20;

/// How long the attack lasts: `ATTACK_SECONDS`, 6 by default.
fn attack_time() -> Duration {
    Duration::from_secs(env::var("ATTACK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(6))
}

/// A site under attack. The intruder may have learnt every name in shared data.
fn attacked(secret: &str, key: &SigningKey) -> Site {
    let plan = Plan::new().top("shared_data_secret", secret);
    let value = BASE64.encode(forged_record(&plan.config, key));
    let attack = json!({
        "period_millis": 5, "overwrite": true, "values": [value], "secret": "the secret of another plugin", "queues": 64,
    });
    let filters = vec![intruder(&attack), hooked(&plan.config)];
    plan.filters(filters).start_with_vms(None)
}

/// Sends good tokens and the intruder's, alternately, on four connections. Returns the statuses of each.
fn load(site: &Site, key: &SigningKey, time: Duration) -> [BTreeMap<u16, usize>; 2] {
    let tokens = [site.issuer.token(), key.mint(&site.issuer.claims())];
    let statuses = Mutex::new([BTreeMap::new(), BTreeMap::new()]);
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(site.envoy.addr()).unwrap();
                for index in (0..2).cycle().take_while(|_| Instant::now() < end) {
                    let response = connection.send(&Request::get("/api/x").bearer(&tokens[index])).unwrap();
                    *statuses.lock().unwrap()[index].entry(response.status).or_default() += 1;
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
    });
    statuses.into_inner().unwrap()
}

/// What an attack came to.
struct Attacked {
    good: BTreeMap<u16, usize>,
    intruders: BTreeMap<u16, usize>,
    gets: u64,
    log_lines: usize,
    rejected: u64,
}

fn attack(time: Duration) -> Attacked {
    let key = SigningKey::generate(Alg::Es256, "intruder");
    let site = attacked("the secret of this plugin", &key);
    let token = site.issuer.token();
    // Until both workers have keys.
    let is_warm = || site.get_at_once(16, |_| token.clone()) == [(200, 16)];
    assert!(eventually(Duration::from_secs(10), is_warm), "{}", site.envoy.log());
    let (gets, lines) = (site.gets(), site.envoy.log().lines().count());
    let [good, intruders] = load(&site, &key, time);
    let (gets, log_lines) = (site.gets() - gets, site.envoy.log().lines().count() - lines);
    site.assert_no_vm_restarted();
    let rejected = site.settled("shared_data_rejected");
    println!("{time:?}: {good:?}, intruder's {intruders:?}, {gets} GETs, {log_lines} lines, {rejected} rejected");
    Attacked { good, intruders, gets, log_lines, rejected }
}

#[test]
fn with_a_secret_a_hostile_plugin_injects_no_key_and_denies_no_good_token() {
    let Attacked { good, intruders, rejected, .. } = attack(attack_time());
    assert!(good[&200] > 100 && good.len() == 1, "{good:?}");
    assert!(!intruders.is_empty() && intruders.keys().all(|status| matches!(status, 401 | 503)), "{intruders:?}");
    assert!(rejected > 100, "{rejected}");
}

#[test]
fn a_hostile_plugin_does_not_drive_the_fetches_and_the_log() {
    let time = attack_time();
    let Attacked { gets, log_lines, rejected, .. } = attack(time);
    assert!(rejected > 100, "the attack is idle: {rejected}");
    assert!(gets <= MAX_GETS_PER_SECOND * time.as_secs(), "{gets} GETs in {time:?}");
    let lines = u64::try_from(log_lines).unwrap();
    assert!(lines <= MAX_LINES_PER_SECOND * time.as_secs(), "{lines} log lines in {time:?}");
}

/// The attack is a real one: without a secret, as SECURITY.md warns, the intruder's key gets in.
#[test]
fn without_a_secret_a_hostile_plugin_can_inject_a_key() {
    let key = SigningKey::generate(Alg::Es256, "intruder");
    let site = attacked("", &key);
    let token = key.mint(&site.issuer.claims());
    assert!(eventually(Duration::from_secs(20), || site.get(&token).status == 200), "the attack has no effect");
    site.assert_no_vm_restarted();
}
