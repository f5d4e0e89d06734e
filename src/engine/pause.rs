//! What another plugin provokes with each of its writes, a worker does at most once in [`REFETCH_PAUSE`].

use std::time::Duration;

use crate::time::UnixTime;

/// A worker fetches a JWKS because its record had to be restored, and warns of that, at most once in this time. A plugin that
/// overwrites the record in a loop would have the worker fetch in a loop otherwise. The worker counts by what it knows itself:
/// shared data is what is overwritten.
pub(super) const REFETCH_PAUSE: Duration = Duration::from_secs(10);

/// When something was last done. The time is a record's, which never goes back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause(Option<UnixTime>);

impl Pause {
    /// Whether the pause is over.
    pub(super) fn is_over(self, now: UnixTime) -> bool {
        self.0.is_none_or(|last| now.since(last) >= REFETCH_PAUSE)
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
        let (mut pause, at) = (Pause::default(), UnixTime::from_millis);
        assert!(pause.begin_if_over(at(5_000)) && !pause.begin_if_over(at(14_999)));
        assert!(pause.begin_if_over(at(15_000)) && !pause.is_over(at(15_000)));
    }
}
