//! Welch's t-test, with Welford's sums.

/// Where a guess differs from the secret.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    First = 0,
    Last = 1,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    mean: f64,
    squares: f64,
}

/// The times of two classes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Welch([Sums; 2]);

impl Welch {
    pub(crate) fn add(&mut self, class: Class, nanoseconds: f64) {
        let sums = &mut self.0[class as usize];
        sums.count += 1.0;
        let from_mean = nanoseconds - sums.mean;
        sums.mean += from_mean / sums.count;
        sums.squares += from_mean * (nanoseconds - sums.mean);
    }

    /// How much longer the second class takes, in nanoseconds.
    pub(crate) fn difference(&self) -> f64 {
        self.0[1].mean - self.0[0].mean
    }

    /// The statistic.
    pub(crate) fn t(&self) -> f64 {
        let spread = |sums: &Sums| sums.squares / (sums.count - 1.0) / sums.count;
        self.difference() / (spread(&self.0[0]) + spread(&self.0[1])).sqrt()
    }
}
