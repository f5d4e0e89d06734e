//! Rounds in which variants take turns, and the table of their ratios.

use std::fs;

use jwks_gate_testbed::{paired::Estimate, workspace_root};
use serde_json::{json, Value};

use crate::site::Site;

/// A ratio to measure: what one site's requests cost beyond those of the site without a filter, relative to what another site's
/// requests cost beyond them.
pub struct Row {
    pub name: String,
    pub site: usize,
    pub relative_to: usize,
    /// The largest ratio that is good.
    pub goal: Option<f64>,
}

const WARM_UP: usize = 2;

/// Measures the sites in turn, prints a table, and writes all rounds to `target/bench/NAME.json`. The first site has no filter.
pub fn run(name: &str, title: &str, sites: &[Site], rows: &[Row], rounds: usize) {
    let mut micros = vec![Vec::new(); sites.len()];
    for round in 0..rounds + WARM_UP {
        // Each round begins with another site, and every second one goes backwards: no site always follows the same one.
        let turn = |place: usize| (place + round) % sites.len();
        for place in 0..sites.len() {
            let site = if round % 2 == 0 { turn(place) } else { turn(sites.len() - 1 - place) };
            let sample = sites[site].measure();
            if round >= WARM_UP {
                micros[site].push(sample.micros);
            }
        }
    }
    println!("\n{title} {rounds} rounds.\n");
    println!("| | CPU per request, µs | added, µs | ratio | 95 % | goal | |\n|---|---|---|---|---|---|---|");
    println!("| no filter | {:.1} | | | | | |", Estimate::of(micros[0].clone()).median);
    let rows: Vec<_> = rows.iter().map(|row| measured(row, &micros)).collect();
    let result = json!({"title": title, "no filter, µs": micros[0], "rows": rows});
    let directory = workspace_root().join("target/bench");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{name}.json")), serde_json::to_string_pretty(&result).unwrap()).unwrap();
}

fn measured(row: &Row, micros: &[Vec<f64>]) -> Value {
    let over_rounds = |of: &dyn Fn(usize) -> f64| (0..micros[0].len()).map(of).collect::<Vec<_>>();
    let added = |site: usize, round: usize| micros[site][round] - micros[0][round];
    let all_added = over_rounds(&|round| added(row.site, round));
    let ratios = over_rounds(&|round| added(row.site, round) / added(row.relative_to, round));
    let ratio = Estimate::of(ratios.clone());
    let verdict = row.goal.map(|goal| ratio.verdict(goal).to_string());
    println!(
        "| {} | {:.1} | {:.1} | {:.2} | {:.2}–{:.2} | {} | {} |",
        row.name,
        Estimate::of(micros[row.site].clone()).median,
        Estimate::of(all_added.clone()).median,
        ratio.median,
        ratio.low,
        ratio.high,
        row.goal.map_or(String::new(), |goal| format!("≤ {goal:.2}")),
        verdict.as_deref().unwrap_or_default()
    );
    json!({
        "name": row.name, "goal": row.goal, "verdict": verdict, "added, µs": all_added, "ratios": ratios,
        "ratio": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
    })
}
