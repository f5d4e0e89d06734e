//! The right to fetch. One holder per issuer and process, and never for longer than a fetch can take.

use std::time::Duration;

use crate::time::UnixTime;

/// A right to fetch that ends by itself: a holder that died costs the rest of the lease's time and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub taken_at: UnixTime,
    pub until: UnixTime,
}

impl Lease {
    /// A lease from `now` on.
    pub fn take(now: UnixTime, length: Duration) -> Self {
        Self { taken_at: now, until: now.plus(length) }
    }

    /// This lease under a clock that shows `now`. A lease from the future was taken before the clock stepped back; it keeps
    /// its length and counts from `now`.
    pub fn clamp_to(self, now: UnixTime) -> Self {
        if self.taken_at <= now {
            return self;
        }
        Self::take(now, self.until.since(self.taken_at))
    }

    /// Whether the lease keeps others from fetching. A lease from the future does not.
    pub fn is_held(&self, now: UnixTime) -> bool {
        self.taken_at <= now && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_by_itself_and_by_a_clock_that_steps_back() {
        let at = UnixTime::from_millis;
        let lease = Lease::take(at(1000), Duration::from_secs(2));
        assert!(lease.is_held(at(1000)) && lease.is_held(at(2999)));
        assert!(!lease.is_held(at(3000)) && !lease.is_held(at(999)));
    }
}
