//! The answers and fetches of one side, in buckets of 100 ms.

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const BUCKET: Duration = Duration::from_millis(100);

/// The answer to a request.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    /// When the answer arrived.
    pub(crate) at: Duration,
    /// The time since the request was sent.
    pub(crate) latency: Duration,
    pub(crate) status: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Requests answered with 200.
    pub(crate) allowed: u32,
    /// Requests answered with another status.
    pub(crate) denied: u32,
    /// JWKS fetches.
    pub(crate) fetches: u32,
}

pub(crate) struct Recording {
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) statuses: BTreeMap<u16, u32>,
    slowest: Duration,
}

impl Recording {
    /// A recording of this length, with JWKS fetches at these times and without answers.
    pub(crate) fn new(duration: Duration, fetches: &[Duration]) -> Self {
        let count = duration.as_millis().div_ceil(BUCKET.as_millis()).max(1);
        let buckets = vec![Bucket::default(); count as usize];
        let mut recording = Self { buckets, statuses: BTreeMap::new(), slowest: Duration::ZERO };
        for &at in fetches {
            recording.bucket(at).fetches += 1;
        }
        recording
    }

    pub(crate) fn add(&mut self, answer: &Answer) {
        let bucket = self.bucket(answer.at);
        match answer.status {
            200 => bucket.allowed += 1,
            _ => bucket.denied += 1,
        }
        *self.statuses.entry(answer.status).or_default() += 1;
        self.slowest = self.slowest.max(answer.latency);
    }

    /// The bucket of a time. Times after the end belong to the last bucket.
    fn bucket(&mut self, at: Duration) -> &mut Bucket {
        let index = (at.as_millis() / BUCKET.as_millis()) as usize;
        let last = self.buckets.len() - 1;
        &mut self.buckets[index.min(last)]
    }

    /// The sum over all buckets.
    fn total(&self) -> Bucket {
        self.buckets.iter().fold(Bucket::default(), |sum, bucket| Bucket {
            allowed: sum.allowed + bucket.allowed,
            denied: sum.denied + bucket.denied,
            fetches: sum.fetches + bucket.fetches,
        })
    }

    pub(crate) fn denied(&self) -> u32 {
        self.total().denied
    }

    /// The totals in words.
    pub(crate) fn totals(&self) -> String {
        let total = self.total();
        format!(
            "{} of {} requests denied, {} JWKS {}, slowest answer {} ms",
            thousands(total.denied),
            thousands(total.allowed + total.denied),
            thousands(total.fetches),
            if total.fetches == 1 { "fetch" } else { "fetches" },
            thousands(self.slowest.as_millis() as u32),
        )
    }
}

/// The number with commas.
fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_answer_and_fetch_is_in_its_bucket() {
        let mut recording = Recording::new(ms(300), &[ms(0), ms(120), ms(130)]);
        for (at, status) in [(0, 200), (99, 401), (100, 200), (299, 503), (340, 200)] {
            recording.add(&Answer { at: ms(at), latency: ms(at / 10), status });
        }
        let bucket = |allowed, denied, fetches| Bucket { allowed, denied, fetches };
        assert_eq!(recording.buckets, [bucket(1, 1, 1), bucket(1, 0, 2), bucket(1, 1, 0)]);
        assert_eq!(recording.statuses, BTreeMap::from([(200, 3), (401, 1), (503, 1)]));
        assert_eq!(recording.totals(), "2 of 5 requests denied, 3 JWKS fetches, slowest answer 34 ms");
    }

    #[test]
    fn numbers_have_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
