//! The statistics of measurements in pairs: two variants take turns, and each round gives one ratio.

use std::fmt;

/// The median of many rounds, and the bounds within which the true median lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median of the rounds.
    pub median: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// Whether a measured ratio meets a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Even the upper bound is at most the goal.
    Met,
    /// Even the lower bound is above the goal.
    Missed,
    /// The goal lies between the bounds: the rounds differ too much to tell.
    TooNoisy,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::TooNoisy => "no verdict: the rounds differ too much",
        })
    }
}

impl Estimate {
    /// The estimate from at least one round. The bounds are order statistics (of the binomial distribution, by its normal
    /// approximation), so one disturbed round moves them little.
    ///
    /// # Panics
    /// If there is no round.
    pub fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let count = rounds.len();
        let half = 0.98 * (count as f64).sqrt();
        let middle = count as f64 / 2.0;
        let low = (middle - half).floor().max(0.0) as usize;
        let high = ((middle + half).ceil() as usize).min(count - 1);
        let median = (rounds[(count - 1) / 2] + rounds[count / 2]) / 2.0;
        Self { median, low: rounds[low], high: rounds[high] }
    }

    /// Compares the bounds with the largest value that is good.
    pub fn verdict(&self, goal: f64) -> Verdict {
        if self.high <= goal {
            Verdict::Met
        } else if self.low > goal {
            Verdict::Missed
        } else {
            Verdict::TooNoisy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_order_statistics() {
        let of = |numbers: &[u32]| Estimate::of(numbers.iter().map(|number| f64::from(*number)).collect());
        assert_eq!(of(&[7]), Estimate { median: 7.0, low: 7.0, high: 7.0 });
        assert_eq!(of(&[3, 1]).median, 2.0);
        // Of 25 rounds, the 8th and the 19th.
        let rounds: Vec<u32> = (1..=25).rev().collect();
        assert_eq!(of(&rounds), Estimate { median: 13.0, low: 8.0, high: 19.0 });
        // One disturbed round moves nothing much.
        let disturbed = [&rounds[1..], &[10_000]].concat();
        assert_eq!(of(&disturbed), Estimate { median: 13.0, low: 8.0, high: 19.0 });
    }

    #[test]
    fn a_goal_between_the_bounds_gets_no_verdict() {
        let estimate = Estimate { median: 0.8, low: 0.7, high: 0.9 };
        assert_eq!(estimate.verdict(0.9), Verdict::Met);
        assert_eq!(estimate.verdict(0.85), Verdict::TooNoisy);
        assert_eq!(estimate.verdict(0.7), Verdict::TooNoisy);
        assert_eq!(estimate.verdict(0.69), Verdict::Missed);
    }
}
