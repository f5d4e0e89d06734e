//! The right to fetch. One holder per issuer and process, and never for longer than a fetch can take.

use std::time::Duration;

use crate::time::UnixTime;

/// The holder renews a lease this long before its end, and for this long at a time.
const RENEWAL: Duration = Duration::from_millis(500);

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

    /// When the holder renews the lease, if its fetch still runs. A fetch has ended by then unless its worker is late.
    pub fn renewal_due(self) -> UnixTime {
        self.until.minus(RENEWAL)
    }

    /// Whether the holder may renew the lease, if no lease lasts longer than `longest`: a fetch whose end never comes does not
    /// keep the others from fetching.
    pub fn is_renewable(self, longest: Duration) -> bool {
        self.until.since(self.taken_at) < longest
    }

    /// This lease, renewed at `now`.
    pub fn renewed(self, now: UnixTime) -> Self {
        Self { until: self.until.max(now).plus(RENEWAL), ..self }
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

    #[test]
    fn is_renewed_while_the_fetch_runs_but_not_for_ever() {
        let at = UnixTime::from_millis;
        let mut lease = Lease::take(at(1000), Duration::from_secs(2));
        assert_eq!((lease.renewal_due(), lease.renewed(at(2600)).until), (at(2500), at(3500)));
        assert_eq!(lease.renewed(at(4000)).until, at(4500), "the holder was late");
        let longest = Duration::from_secs(4);
        while lease.is_renewable(longest) {
            lease = lease.renewed(lease.renewal_due());
        }
        assert_eq!(lease.until, at(1000).plus(longest));
    }
}
