//! What another plugin provokes with each of its writes, a worker does at most once in a while.

use std::time::Duration;

use crate::time::UnixTime;

/// A worker fetches a JWKS because its record had to be restored, and warns of that, at most once in so many milliseconds. A
/// plugin that overwrites the record in a loop would have the worker fetch in a loop otherwise. The worker counts by what it
/// knows itself: shared data is what is overwritten.
pub(super) const REFETCH: u64 = 10_000;

/// A worker wakes the others because it restored a record at most once in 100 ms.
pub(super) type NewsPause = Pause<100>;

/// When something was last done that may be done once in so many milliseconds. The time is a record's, which never goes back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause<const MILLIS: u64 = REFETCH>(Option<UnixTime>);

impl<const MILLIS: u64> Pause<MILLIS> {
    /// Whether the pause is over.
    pub(super) fn is_over(self, now: UnixTime) -> bool {
        self.0.is_none_or(|last| now.since(last) >= Duration::from_millis(MILLIS))
    }

    /// Begins the pause.
    pub(super) fn begin(&mut self, now: UnixTime) {
        self.0 = Some(now);
    }

    /// Begins the pause if the last pause is over. Returns whether it was.
    pub(super) fn begin_if_over(&mut self, now: UnixTime) -> bool {
        let is_over = self.is_over(now);
        if is_over {
            self.begin(now);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_over_at_first_and_after_ten_seconds() {
        let (mut pause, at) = (Pause::<REFETCH>::default(), UnixTime::from_millis);
        assert!(pause.begin_if_over(at(5_000)) && !pause.begin_if_over(at(14_999)));
        assert!(pause.begin_if_over(at(15_000)) && !pause.is_over(at(15_000)));
    }
}
