//! A real Envoy under load while everything goes wrong: the issuer rotates and fails, the configuration changes, VMs trap
//! and reload, clients leave, and another plugin overwrites shared data. docs/testing.md describes the run.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice, clippy::unwrap_used)]
// This test uses the real clock, and exports no API.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, unreachable_pub)]

mod admin;
mod chaos;
mod figures;
#[path = "../support/forged.rs"]
mod forged;
mod judge;
mod ledger;
mod load;
mod settings;
mod timeline;

use std::{
    env,
    net::Ipv4Addr,
    sync::{atomic::Ordering, Arc},
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Alg, Echo, Issuer, Options, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    Bootstrap, Envoy, EnvoyOptions,
};

use crate::{
    admin::Admin,
    chaos::Configurations,
    figures::Figures,
    judge::{Count, Judge},
    ledger::Ledger,
    load::{World, CLIENTS},
    settings::{config, GRACE, LIFETIME, NAMES},
};

const SAMPLE: Duration = Duration::from_secs(2);
/// A VM is some MiB, and up to three generations of VMs live at a time.
const RSS_GROWTH: u64 = 48 << 20;
/// Values that a worker writes for the first time when something happens for the first time. A value per VM or per configuration
/// would be hundreds in a long run.
const SHARED_VALUES_GROWTH: u64 = 6;
const SHARED_BYTES_GROWTH: u64 = 8192;

/// How long the run lasts: `MINUTES`, 2 by default.
fn run_time() -> Duration {
    let minutes = env::var("MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(2.0);
    Duration::from_secs_f64(minutes * 60.0)
}

fn ledger(number: usize, alg: Alg) -> Ledger {
    let issuer = format!("https://{}.test", NAMES[number]);
    let max_age = Some(LIFETIME.as_secs());
    Ledger::new(number, Issuer::start(Options { issuer, alg, max_age, ..Options::default() }).unwrap())
}

#[test]
fn under_chaos_no_bad_token_passes_and_no_good_token_is_denied() {
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("SEED={seed}");
    let ledgers = [ledger(0, Alg::Es256), ledger(1, Alg::Rs256)];
    let echo = Echo::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let forged = Arc::new(SigningKey::generate(Alg::Es256, "forged"));
    let configured = config(ledgers.each_ref().map(|ledger| &ledger.issuer), GRACE, &[], 0);
    let mut configurations = Configurations::new(&ledgers, chaos::attack(&configured, &forged));
    let mut bootstrap = Bootstrap::new(echo.addr(), &configured);
    for (name, ledger) in NAMES.iter().zip(&ledgers) {
        bootstrap = bootstrap.cluster(name, ledger.issuer.addr());
    }
    let bootstrap = configurations.bootstrap(bootstrap);
    // A listener that was replaced drains longer than any request lasts.
    let arguments = ["--drain-time-s", "20", "--drain-strategy", "immediate"].map(str::to_owned).to_vec();
    let options = EnvoyOptions { concurrency: 4, arguments, ..EnvoyOptions::quiet() };
    let envoy = Envoy::start(&bootstrap.yaml(), options).unwrap();
    let admin = Admin(envoy.admin());
    let world = World {
        ledgers,
        timeline: timeline::Timeline::default(),
        judge: Judge::default(),
        addr: envoy.addr(),
        foreign: SigningKey::generate(Alg::Es256, "never published"),
        forged,
        stop: false.into(),
    };

    let mut figures = Figures::new();
    thread::scope(|scope| {
        let world = &world;
        let [first, second] = &world.ledgers;
        scope.spawn(move || chaos::rotate(world, first, 2_000..5_000, seed));
        scope.spawn(move || chaos::rotate(world, second, 4_000..9_000, seed + 1));
        scope.spawn(move || chaos::fail(world, first, seed + 2));
        let (configurations, bootstrap, admin) = (&mut configurations, &bootstrap, &admin);
        scope.spawn(move || configurations.change(world, bootstrap, admin, seed + 3));
        let mut client = seed + 4;
        for (role, number, pause) in CLIENTS {
            for _ in 0..number {
                client += 1;
                scope.spawn(move || world.client(role, client, pause));
            }
        }
        let end = Instant::now() + run_time();
        let mut minute = Instant::now();
        while Instant::now() < end {
            thread::sleep(SAMPLE.min(end.saturating_duration_since(Instant::now())));
            figures.sample(&envoy, admin);
            if minute.elapsed() >= Duration::from_secs(60) {
                minute = Instant::now();
                figures.report(world, &envoy, admin, false);
            }
        }
        world.stop.store(true, Ordering::SeqCst);
    });
    figures.report(&world, &envoy, &admin, true);
    after(&world, &envoy, &admin);
    let growth = figures.growth();
    println!("median of the second and of the last quarter: resident, shared values, shared bytes: {growth:?}");
    let counts = world.judge.counts();
    let wrong: Vec<_> = Count::WRONG.iter().filter(|count| counts.contains_key(count)).collect();
    assert!(wrong.is_empty(), "{wrong:?}: {:#?}", world.judge.findings());
    for (bound, (early, late)) in [RSS_GROWTH, SHARED_VALUES_GROWTH, SHARED_BYTES_GROWTH].iter().zip(growth) {
        assert!(late <= early + bound, "grows from {early} to {late}");
    }
}

/// After the end of all disturbances, the filter is as at its start.
fn after(world: &World, envoy: &Envoy, admin: &Admin) {
    let tokens = world.ledgers.each_ref().map(|ledger| ledger.issuer.token());
    let all_pass = || {
        let answers = http::concurrently(world.addr, 16, |index| {
            let of = index % 2;
            Request::get(&format!("/{}/x", NAMES[of])).bearer(&tokens[of])
        });
        answers.iter().all(|answer| answer.as_ref().is_ok_and(|response| response.status == 200))
    };
    assert!(eventually(Duration::from_secs(40), all_pass), "good tokens are denied after the end");
    let is_idle = || {
        let stats = admin.stats();
        let parked = admin::sum(&stats, "wasmcustom.jwks_gate", "parked_now");
        let active = admin::value(&stats, "http.test.downstream_rq_active");
        (parked, active) == (0, 0)
    };
    assert!(eventually(Duration::from_secs(20), is_idle), "requests are left: {}", admin.stats());
    let log = envoy.log();
    assert!(!log.contains("panicked"), "a panic");
}
