//! The time of a shared record. The host's clock can step back; the time of a record never does.
//!
//! A record says what its time was when it was last written, and how far that was ahead of the writer's clock. A worker that knows
//! less of the clock's steps continues from there, and so does a worker whose own clock steps back. Workers thus agree on the age
//! of a document without agreeing on what the clock did. A step forward is time that has passed.

use std::time::Duration;

use crate::time::{UnixTime, LONGEST_CLOCK_STEP};

/// A record's time is never further ahead of the clock. After longer steps back, a worker begins anew.
pub const LONGEST_AHEAD: Duration = Duration::from_secs(LONGEST_CLOCK_STEP.as_secs() / 2);

/// How a worker's clock and the time of a shared record relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordClock {
    /// How far the record's time is ahead of the clock.
    ahead: Duration,
}

impl RecordClock {
    /// How far the record's time is ahead of the clock.
    pub fn ahead(self) -> Duration {
        self.ahead
    }

    /// The record's time when the clock shows `now`.
    pub fn at(self, now: UnixTime) -> UnixTime {
        now.plus(self.ahead)
    }

    /// Whether the host's clock went back too far for records to follow.
    pub fn is_lost(self) -> bool {
        self.ahead > LONGEST_AHEAD
    }

    /// This clock after the host's clock went back from `then` to `now`.
    pub fn stepped_back(self, then: UnixTime, now: UnixTime) -> Self {
        Self { ahead: self.ahead.saturating_add(then.since(now)) }
    }

    /// This clock when the record's time has reached `written`, `ahead` of its writer's clock, and the host's clock shows `now`.
    pub fn reached(self, written: UnixTime, ahead: Duration, now: UnixTime) -> Self {
        Self { ahead: self.ahead.max(ahead).max(written.since(now)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let at = UnixTime::from_millis;
        let clock = RecordClock::default();
        assert_eq!(clock.at(at(10)), at(10));
        let stepped = clock.stepped_back(at(100), at(30));
        assert_eq!((stepped.at(at(30)), stepped.at(at(35))), (at(100), at(105)));
        assert_eq!(stepped.stepped_back(at(35), at(5)).at(at(5)), at(105));
        // Another worker saw more, or less.
        let reached = |clock: RecordClock, ahead| clock.reached(at(50), Duration::from_millis(ahead), at(30));
        assert_eq!((reached(clock, 0).at(at(30)), reached(stepped, 0)), (at(50), stepped));
        // The record was written a while ago.
        assert_eq!(reached(clock, 25).at(at(30)), at(55));
    }
}
