//! The requests that wait for keys: bounded, each with a deadline, each answered exactly once.

use std::collections::BTreeMap;

use crate::time::UnixTime;

/// A request's stream within its worker; the host's context id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// The registry. `W` is what is needed to decide a waiting request again.
#[derive(Debug)]
pub struct Parked<W> {
    streams: BTreeMap<StreamId, State<W>>,
    waiting: usize,
    capacity: usize,
}

#[derive(Debug)]
enum State<W> {
    Waiting {
        deadline: UnixTime,
        request: W,
    },
    /// Answered, but the stream is still there and its body may still come.
    Answered {
        let_through: bool,
    },
}

impl<W> Parked<W> {
    /// Room for `capacity` waiting requests.
    pub fn new(capacity: usize) -> Self {
        Self { streams: BTreeMap::new(), waiting: 0, capacity }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Parks a request.
    ///
    /// # Errors
    /// There is no room, or the stream was here before; the request must be refused.
    pub fn park(&mut self, stream: StreamId, deadline: UnixTime, request: W) -> Result<(), Full> {
        if self.waiting >= self.capacity || self.streams.contains_key(&stream) {
            return Err(Full);
        }
        self.streams.insert(stream, State::Waiting { deadline, request });
        self.waiting = self.waiting.saturating_add(1);
        Ok(())
    }

    /// Marks a waiting request as answered. `false`: it was not waiting, so there is nothing to answer.
    pub fn answer(&mut self, stream: StreamId, let_through: bool) -> bool {
        match self.streams.get_mut(&stream) {
            Some(state @ State::Waiting { .. }) => {
                *state = State::Answered { let_through };
                self.waiting = self.waiting.saturating_sub(1);
                true
            }
            Some(State::Answered { .. }) | None => false,
        }
    }

    /// What is known of a request that waits.
    pub fn get_mut(&mut self, stream: StreamId) -> Option<&mut W> {
        match self.streams.get_mut(&stream)? {
            State::Waiting { request, .. } => Some(request),
            State::Answered { .. } => None,
        }
    }

    /// Whether a request that was parked has been let through.
    pub fn is_let_through(&self, stream: StreamId) -> bool {
        matches!(self.streams.get(&stream), Some(State::Answered { let_through: true }))
    }

    /// Forgets a stream that has ended.
    pub fn remove(&mut self, stream: StreamId) {
        if let Some(State::Waiting { .. }) = self.streams.remove(&stream) {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// The requests that wait, with their deadlines.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, UnixTime, &W)> {
        self.streams.iter().filter_map(|(stream, state)| match state {
            State::Waiting { deadline, request } => Some((*stream, *deadline, request)),
            State::Answered { .. } => None,
        })
    }
}

/// No more requests can be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixTime = UnixTime::from_millis(1);

    #[test]
    fn bounded_and_answered_once() {
        let mut parked = Parked::new(2);
        let [a, b, c] = [StreamId(1), StreamId(2), StreamId(3)];
        assert_eq!((parked.park(a, T, ()), parked.park(b, T, ()), parked.park(c, T, ())), (Ok(()), Ok(()), Err(Full)));
        assert!(parked.answer(a, true) && !parked.answer(a, false) && !parked.answer(c, true));
        assert!(parked.is_let_through(a) && !parked.is_let_through(b) && !parked.is_let_through(c));
        assert_eq!(parked.park(a, T, ()), Err(Full), "a stream is parked once");
        assert_eq!(parked.park(c, T, ()), Ok(()));
        for stream in [a, b, c, c] {
            parked.remove(stream);
        }
        assert_eq!((parked.waiting(), parked.streams.len()), (0, 0));
    }

    #[test]
    fn capacity_zero_parks_nothing() {
        assert_eq!(Parked::new(0).park(StreamId(1), T, ()), Err(Full));
    }
}
