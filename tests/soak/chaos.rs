//! What happens to the issuers, to Envoy's configuration and to the VMs.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Fault, Rotation, Times};
use jwks_gate_testbed::{
    eventually, hooks_path,
    http::{self, Request},
    probe_path, wasm_filter_of, wasm_path, Bootstrap, Watched,
};
use serde_json::{json, Value};

use crate::{
    admin::Admin,
    judge::Count,
    ledger::Ledger,
    load::World,
    settings::{config, GRACE, IDLE_TIMEOUT, NAMES, TIMEOUT},
    timeline::Kind,
};

pub const FILTER: &str = "jwks-gate";
pub const INTRUDER: &str = "intruder";
const SETTLE: Duration = Duration::from_secs(3);
/// Back-off after failures reaches half a minute.
const RECOVERY: Duration = Duration::from_secs(33);

/// Rotates the keys of an issuer until the end.
pub fn rotate(world: &World, ledger: &Ledger, every: std::ops::Range<u64>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while pause(world, Duration::from_millis(random.u64(every.clone()))) {
        let rotation = if random.bool() { Rotation::Hard } else { Rotation::Overlap };
        ledger.rotate(rotation);
        if random.bool() {
            ledger.retire(2);
        }
        ledger.retire(4);
    }
}

/// Makes an issuer fail and recover until the end.
pub fn fail(world: &World, ledger: &Ledger, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (issuer, number) = (&ledger.issuer, ledger.number);
    let mut round = random.usize(..100);
    while pause(world, Duration::from_millis(random.u64(3_000..12_000))) {
        // Each fault in turn, so that a short run has them all.
        round += 1;
        let fault = match round % 9 {
            0 => Some(Fault::Status(*random.choice(&[500, 503, 404, 429, 204]).unwrap())),
            1 => Some(Fault::Delay(Duration::from_millis(random.u64(100..3_000)))),
            2 => Some(Fault::Hang),
            3 => Some(Fault::Reset),
            4 => Some(Fault::Garbage),
            5 => Some(Fault::Truncated),
            6 => Some(Fault::Empty),
            7 => Some(Fault::Lag),
            // The issuer refuses connections.
            _ => None,
        };
        let lasts = if random.u32(..6) == 0 { 8_000..20_000 } else { 500..6_000 };
        let lasts = Duration::from_millis(random.u64(lasts));
        let lags = fault == Some(Fault::Lag);
        world.timeline.begin(Kind::Unhealthy(number));
        if lags {
            world.timeline.begin(Kind::Lags(number));
            ledger.lags(true);
        }
        match &fault {
            Some(fault) => issuer.fault(fault.clone(), Times::Always),
            None => issuer.stop(),
        }
        pause(world, lasts);
        if fault.is_none() {
            issuer.resume();
        }
        issuer.heal();
        let served = ledger.served();
        if lags {
            ledger.lags(false);
            world.timeline.end(Kind::Lags(number), Duration::from_secs(1));
        }
        let healed = Instant::now();
        let recovers = || ledger.served() > served || (world.stopped() && healed.elapsed() > Duration::from_secs(1));
        if !eventually(RECOVERY, recovers) {
            world.judge.finding(Count::Late, format!("no fetch within {RECOVERY:?} after {fault:?}"));
        }
        world.timeline.end(Kind::Unhealthy(number), Duration::from_millis(500));
    }
}

/// Changes of Envoy's configuration.
pub struct Configurations {
    pub filter: Watched,
    pub intruder: Watched,
    pub listeners: Watched,
    pub attack: Value,
    number: u64,
    revoked: Vec<String>,
    hooked: bool,
    /// The VM that the plugin runs in. Another number means another VM.
    vm: u64,
}

/// A plugin's resource for ECDS.
fn resource(name: &str, mut filter: Value, vm: u64) -> Value {
    filter["name"] = json!(name);
    filter["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    let plugin = &mut filter["typed_config"]["config"];
    plugin["name"] = json!(name);
    plugin["root_id"] = json!(name);
    plugin["reload_config"] = json!({"backoff": {"base_interval": "0.2s"}});
    plugin["vm_config"]["environment_variables"] = json!({"key_values": {"VM": vm.to_string()}});
    filter
}

fn idle() -> Value {
    json!({"period_millis": 1000, "overwrite": false, "values": [], "secret": "", "queues": 0})
}

fn listener(bootstrap: &Bootstrap, number: u64) -> Value {
    let mut listener = bootstrap.listener();
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["request_headers_timeout"] = json!(format!("{}s", 20 + number % 10));
    // Every third change is one of the whole listener, not of its filter chain alone.
    listener["per_connection_buffer_limit_bytes"] = json!(1_000_000 + number / 3);
    listener
}

impl Configurations {
    pub fn new(ledgers: &[Ledger; 2], attack: Value) -> Self {
        let [first, second] = ledgers;
        let code = hooks_path();
        let configured = config([&first.issuer, &second.issuer], GRACE, &[], 0);
        let filter = Watched::create(&resource(FILTER, wasm_filter_of(&code, &configured), 0)).unwrap();
        let intruder = Watched::create(&resource(INTRUDER, wasm_filter_of(&probe_path(), &idle()), 0)).unwrap();
        let listeners = Watched::create(&json!({})).unwrap();
        Self { filter, intruder, listeners, attack, number: 0, revoked: Vec::new(), hooked: true, vm: 0 }
    }

    /// The bootstrap, whose listener is in a watched file.
    pub fn bootstrap(&self, bootstrap: Bootstrap) -> Bootstrap {
        let bootstrap = bootstrap
            .filters(vec![self.intruder.filter(INTRUDER), self.filter.filter(FILTER)])
            .connection_manager_option("stream_idle_timeout", json!(format!("{}s", IDLE_TIMEOUT.as_secs())));
        self.listeners.publish(&listener(&bootstrap, 0)).unwrap();
        bootstrap.listeners_from(self.listeners.path())
    }

    /// Changes one thing after another until the end.
    pub fn change(&mut self, world: &World, bootstrap: &Bootstrap, admin: &Admin, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut attacks_until = None;
        let mut round = 0_u64;
        while pause(world, Duration::from_millis(random.u64(1_500..4_000))) {
            if attacks_until.is_some_and(|end| Instant::now() >= end) {
                attacks_until = None;
                self.attack(world, admin, false);
            }
            round += 1;
            match round % 8 {
                0 | 4 => self.reconfigure(world, admin, &mut random),
                1 => self.invalid(world, admin),
                2 | 6 => {
                    self.number += 1;
                    self.listeners.publish(&listener(bootstrap, self.number)).unwrap();
                }
                3 if attacks_until.is_none() => {
                    attacks_until = Some(Instant::now() + Duration::from_millis(random.u64(3_000..8_000)));
                    self.attack(world, admin, true);
                }
                _ if self.hooked => trap(world, &mut random),
                _ => {}
            }
        }
        if attacks_until.is_some() {
            self.attack(world, admin, false);
        }
    }

    /// Publishes another configuration of the filter, sometimes in a new VM, sometimes in the other build.
    fn reconfigure(&mut self, world: &World, admin: &Admin, random: &mut fastrand::Rng) {
        self.number += 1;
        if random.bool() {
            self.vm += 1;
            self.hooked = random.u32(..3) > 0;
        }
        let [first, second] = &world.ledgers;
        if random.bool() {
            self.revoked.extend(second.revoke());
            let excess = self.revoked.len().saturating_sub(8);
            self.revoked.drain(..excess);
        }
        let grace = if random.bool() { GRACE } else { Duration::ZERO };
        let configured = config([&first.issuer, &second.issuer], grace, &self.revoked, self.number);
        let code = if self.hooked { hooks_path() } else { wasm_path() };
        let resource = resource(FILTER, wasm_filter_of(&code, &configured), self.vm);
        publish(world, admin, FILTER, &self.filter, &resource);
        second.is_revoked_everywhere(&self.revoked, Instant::now() + SETTLE);
    }

    /// Envoy keeps the configuration that it has.
    fn invalid(&self, world: &World, admin: &Admin) {
        let rejected = || admin.updates(FILTER, "config_fail") + admin.updates(FILTER, "update_rejected");
        let before = rejected();
        let wrong = json!({"providers": {}, "rules": "none"});
        self.filter.publish(&resource(FILTER, wasm_filter_of(&wasm_path(), &wrong), self.vm)).unwrap();
        if !eventually(Duration::from_secs(10), || rejected() > before) {
            world.judge.finding(Count::Broken, "an invalid configuration was not rejected".to_owned());
        }
    }

    fn attack(&self, world: &World, admin: &Admin, begins: bool) {
        if begins {
            world.timeline.begin(Kind::Intruder);
        }
        let attack = if begins { self.attack.clone() } else { idle() };
        publish(world, admin, INTRUDER, &self.intruder, &resource(INTRUDER, wasm_filter_of(&probe_path(), &attack), 0));
        if !begins {
            // The earlier plugin goes on until its last stream has ended, which may be parked.
            world.timeline.end(Kind::Intruder, IDLE_TIMEOUT + SETTLE);
        }
    }
}

fn publish(world: &World, admin: &Admin, name: &str, file: &Watched, resource: &Value) {
    let before = admin.updates(name, "config_reload");
    world.timeline.begin(Kind::VmStart);
    file.publish(resource).unwrap();
    if !eventually(Duration::from_secs(10), || admin.updates(name, "config_reload") > before) {
        world.judge.finding(Count::Broken, format!("a configuration of {name} had no effect"));
    }
    world.timeline.end(Kind::VmStart, SETTLE);
}

/// One VM traps: at once, or at its next wake-up.
fn trap(world: &World, random: &mut fastrand::Rng) {
    world.timeline.begin(Kind::Trap);
    world.timeline.begin(Kind::VmStart);
    let when = if random.bool() { "now" } else { "wake" };
    let token = world.ledgers[0].issuer.token();
    let request = Request::get(&format!("/{}/trap", NAMES[0])).bearer(&token).header("x-test-trap", when);
    let _ = http::send(world.addr, &request);
    // The VM wakes within a second, reloads with a later request, and the lease of its fetch ends.
    world.timeline.end(Kind::Trap, SETTLE + TIMEOUT + Duration::from_secs(1));
    world.timeline.end(Kind::VmStart, SETTLE);
}

/// Waits, and returns whether to go on.
fn pause(world: &World, time: Duration) -> bool {
    let end = Instant::now() + time;
    while !world.stopped() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
    false
}

/// What the intruder does: overwrites all values with garbage, with what others wrote, and with records of a key of its own.
pub fn attack(configured: &Value, key: &Arc<jwks_gate_issuer::SigningKey>) -> Value {
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
    let value = BASE64.encode(crate::forged::forged_record(configured, key));
    json!({
        "period_millis": 20,
        "overwrite": true,
        "spare_empty": true,
        "values": [value],
        "secret": "the secret of another plugin",
        "drains": true,
        "queues": 64,
    })
}
