//! `make timing`: whether the time of a comparison of secrets tells where a guess differs from the secret, in the manner of dudect
//! (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017). Guesses of two classes come in random order; Welch's
//! t-test compares their times. Native build.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)]

mod comparisons;
mod welch;

use std::{hint::black_box, process::ExitCode, time::Instant};

use self::{
    comparisons::Comparison,
    welch::{Class, Welch},
};

/// How many guesses are timed for each comparison.
const GUESSES: usize = 400_000;
/// How many guesses tell what is too slow to count: an interrupt, not the comparison.
const WARM_UP: usize = 4_000;
/// dudect's bounds of |t|: below the first nothing is found; above the second the classes differ beyond doubt.
const NOTHING_FOUND: f64 = 4.5;
const DIFFERENT: f64 = 10.0;

fn main() -> ExitCode {
    println!(
        "\nTwo classes of guesses, {GUESSES} in all. |t| below {NOTHING_FOUND}: no difference found; above {DIFFERENT}: the time \
         depends on the guess.\n\n| comparison | classes | \\|t\\| | difference, ns | |\n|---|---|---|---|---|"
    );
    let mut is_as_expected = true;
    for mut comparison in comparisons::all() {
        let welch = measure(&mut comparison);
        let t = welch.t().abs();
        let verdict = match t {
            t if t < NOTHING_FOUND => "no difference found",
            t if t < DIFFERENT => "no verdict",
            _ => "depends on the guess",
        };
        is_as_expected &= if comparison.is_control { t > DIFFERENT } else { t < DIFFERENT };
        let Comparison { name, classes, .. } = comparison;
        println!("| {name} | {classes} | {t:.1} | {:.2} | {verdict} |", welch.difference());
    }
    if is_as_expected {
        ExitCode::SUCCESS
    } else {
        println!("\nNot as expected.");
        ExitCode::FAILURE
    }
}

fn measure(comparison: &mut Comparison) -> Welch {
    let mut random = fastrand::Rng::with_seed(7);
    let mut guess = comparison.guesses[0].clone();
    let mut time = |class: Class| {
        // Both classes are read from the same place.
        guess.copy_from_slice(&comparison.guesses[class as usize]);
        let start = Instant::now();
        let is_right = black_box((comparison.compare)(black_box(&guess)));
        let nanoseconds = start.elapsed().as_nanos() as f64;
        assert!(!is_right, "{}: the guess is wrong", comparison.name);
        nanoseconds
    };
    let mut next = || if random.bool() { Class::First } else { Class::Last };
    let mut times: Vec<_> = (0..WARM_UP).map(|_| time(next())).collect();
    times.sort_by(f64::total_cmp);
    let longest = times[WARM_UP * 9 / 10];
    let mut welch = Welch::default();
    for _ in 0..GUESSES {
        let class = next();
        let nanoseconds = time(class);
        if nanoseconds <= longest {
            welch.add(class, nanoseconds);
        }
    }
    welch
}
