//! The engine under a virtual clock, with many workers, several issuers, an adversary, and faults at every step. One
//! seed gives one history. To replay a failed seed: `SEED=<seed> cargo test --test simulation replay -- --nocapture`.
//!
//! `SEEDS` sets the number of seeds. `STYLE=NoCache` simulates a fleet with this style of issuer only. `TROUBLE=1` replays a seed with trouble for the last issuer.

#![allow(unreachable_pub)]
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::panic, clippy::string_slice)]

mod broken;
mod fleet;
mod invariants;
mod issuer;
mod keys;
mod scenario;
mod world;

use std::env;

use broken::{Rule, RULES};
use fleet::{Report, Style};
use scenario::Scenario;
use world::World;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

fn run(scenario: Scenario, broken: Option<Rule>) -> World {
    let mut world = World::new(scenario, broken);
    // The ledger keeps the violation.
    let _ = world.run();
    world
}

#[test]
fn every_seed_keeps_every_invariant() {
    let seeds = number("SEEDS").unwrap_or(3_000);
    let mut requests = [0_usize; 2];
    for seed in 0..seeds {
        let world = run(Scenario::new(seed), None);
        if let Err(what) = world.ledger.verdict() {
            panic!("seed {seed}: {what}\nreplay with: SEED={seed} cargo test --test simulation replay -- --nocapture");
        }
        let statuses = || world.ledger.outcomes.iter().flat_map(|outcomes| outcomes.values());
        requests[0] += statuses().filter(|status| **status == 200).count();
        requests[1] += statuses().filter(|status| **status != 200).count();
    }
    println!("{seeds} seeds: {} requests allowed, {} denied", requests[0], requests[1]);
}

#[test]
fn replay() {
    let seed = number("SEED").unwrap_or(1);
    let scenario = match env::var_os("TROUBLE") {
        Some(_) => Scenario { lateness: 0, ..Scenario::new(seed) }
            .without_pairs()
            .without_outages_at_the_start()
            .with_trouble_for_the_last_issuer(),
        None => Scenario::new(seed),
    };
    let [one, two] = [false, true].map(|verbose| {
        let mut world = World::new(scenario.clone(), None);
        world.verbose = verbose;
        if verbose {
            println!("{:#?}", world.settings());
        }
        let _ = world.run();
        world
    });
    assert_eq!(one.ledger.outcomes, two.ledger.outcomes, "one seed gives one history");
    if let Err(what) = one.ledger.verdict() {
        panic!("seed {seed}: {what}");
    }
}

#[test]
fn each_broken_rule_violates_its_invariant() {
    for (rule, invariant) in RULES {
        let violated = (0..500)
            .find_map(|seed| run(Scenario::new(seed), Some(rule)).ledger.violated().map(|violated| (seed, violated)));
        assert_eq!(violated.map(|(_, violated)| violated), Some(invariant), "{rule:?}: {violated:?}");
    }
}

/// The invariants check that another issuer's good tokens are allowed during the trouble. This test checks that the
/// number of fetches from that issuer does not change.
#[test]
fn trouble_at_one_issuer_does_not_change_the_fetches_from_another() {
    let (mut fetches, mut difference) = (0, 0);
    for seed in 0..300 {
        // Issuers share event loops. Late event loops would change the history.
        let scenario = Scenario { lateness: 0, ..Scenario::new(seed) }.without_pairs().without_outages_at_the_start();
        let others = scenario.issuers() - 1;
        let quiet = run(scenario.clone(), None);
        let troubled = run(scenario.with_trouble_for_the_last_issuer(), None);
        assert_eq!(troubled.ledger.verdict(), Ok(()), "seed {seed}");
        for (quiet, troubled) in quiet.issuers.iter().zip(&troubled.issuers).take(others) {
            fetches += quiet.gets;
            // A refresh with several causes may start a moment earlier or later, which changes the history.
            difference += troubled.gets.abs_diff(quiet.gets);
        }
    }
    let share = difference as f64 / fetches as f64;
    println!("{fetches} GETs without the trouble, {difference} more or fewer with the trouble");
    assert!(fetches > 5_000 && share < 0.01, "{fetches}, {difference}");
}

/// The work per issuer is the same however many issuers there are: no event costs work in proportion to their number.
#[test]
fn a_thousand_issuers_cost_one_fetch_each_and_few_looks() {
    for (seed, issuers) in [(0, 100), (1, 1_000), (2, 1_000)] {
        let world = run(Scenario::many_issuers(seed, issuers, 20_000), None);
        assert_eq!(world.ledger.verdict(), Ok(()), "seed {seed}");
        assert!(world.issuers.iter().all(|issuer| issuer.gets == 1));
        let statuses: Vec<_> = world.ledger.outcomes.iter().flat_map(|outcomes| outcomes.values()).collect();
        assert!(statuses.len() == issuers && statuses.iter().all(|status| **status == 200));
        println!("{issuers} issuers: {} looks at their key sets", world.looks);
        assert!(world.looks <= 15 * issuers, "{issuers} issuers, {} looks", world.looks);
    }
}

fn fleet(proxies: &[u32]) {
    println!("{}", fleet::HEAD);
    for style in [Style::Hard, Style::Announced, Style::NoCache, Style::NoCacheAtMinTtl] {
        if env::var("STYLE").is_ok_and(|only| only != format!("{style:?}")) {
            continue;
        }
        // Many GETs per proxy: a large fleet would take long to simulate.
        let most = if style.cache_control() == "no-cache" { 100 } else { u32::MAX };
        for proxies in proxies.iter().filter(|proxies| **proxies <= most) {
            let report = Report::of(*proxies, style);
            println!("{}", report.row());
            assert!(report.requests > u64::from(*proxies) * 1_400);
            assert_eq!(report.denied, 0);
            // One lifetime. For a key that is removed during the outage, the length of the outage in addition.
            let most = if style == Style::Announced { 600_000 + 1_800_000 } else { 600_000 };
            assert!(report.longest_use_after_removal <= most, "{} ms", report.longest_use_after_removal);
        }
    }
}

/// What an issuer that forbids caching gets.
fn fleet_without_caching(proxies: &[u32]) {
    println!("{}", fleet::HOURLY_HEAD);
    for proxies in proxies {
        let [short, long] = [Style::NoCacheAtMinTtl, Style::NoCache].map(|style| Report::of(*proxies, style));
        println!("{}\n{}", short.hourly_row(), long.hourly_row());
        assert!(short.hourly() > 100.0 && long.hourly() < 25.0, "{} {}", short.hourly(), long.hourly());
        assert_eq!(short.denied + long.denied, 0);
    }
}

#[test]
fn an_issuer_that_forbids_caching_gets_few_gets() {
    fleet_without_caching(&[1, 5]);
}

#[test]
fn a_fleet_denies_no_good_token_in_a_day_of_rotations_and_an_outage() {
    fleet(&[1, 30]);
}

/// `make fleet`
#[test]
#[ignore = "takes minutes"]
fn a_fleet_of_ten_thousand() {
    fleet(&[1, 100, 10_000]);
}

/// `make fleet`
#[test]
#[ignore = "takes minutes"]
fn a_fleet_of_a_thousand_without_caching() {
    fleet_without_caching(&[1, 1_000]);
}
