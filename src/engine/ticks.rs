//! When a worker looks again although nothing woke it.

use std::time::Duration;

use crate::time::UnixTime;

/// While requests are parked, a lost wake-up costs no more than this.
pub(super) const BUSY: Duration = Duration::from_millis(25);
/// While no request is parked, a lost wake-up costs no more than this.
const IDLE: Duration = Duration::from_secs(1);
/// The least time between two ticks.
const SHORTEST: Duration = Duration::from_millis(5);

/// How long to wait for the next tick, given when the engine has something to do.
pub(super) fn next(timeout: Option<UnixTime>, has_parked: bool, now: UnixTime) -> Duration {
    let longest = if has_parked { BUSY } else { IDLE };
    timeout.map_or(longest, |timeout| timeout.since(now).clamp(SHORTEST, longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_comes_when_something_is_due_and_never_late_for_a_parked_request() {
        let now = UnixTime::from_millis(10_000);
        let in_ms = |millis| Some(now.plus(Duration::from_millis(millis)));
        assert_eq!((next(None, false, now), next(None, true, now)), (IDLE, BUSY));
        assert_eq!((next(in_ms(300), false, now), next(in_ms(300), true, now)), (Duration::from_millis(300), BUSY));
        assert_eq!((next(in_ms(1), true, now), next(Some(now), false, now)), (SHORTEST, SHORTEST));
        assert_eq!(next(Some(UnixTime::default()), false, now), SHORTEST, "overdue");
    }
}
