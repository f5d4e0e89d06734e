//! The registry of parked requests: bounded, each with a deadline, each answered exactly once. No provider's requests crowd
//! out another's.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ids::StreamId, time::UnixTime};

/// The registry. `G` is the group whose room a request takes, `W` what the engine needs to decide the request again.
#[derive(Debug)]
pub(super) struct Parked<G, W> {
    streams: BTreeMap<StreamId, State<G, W>>,
    /// The waiting streams of each group, in the order of their arrival.
    groups: BTreeMap<G, BTreeSet<StreamId>>,
    waiting: usize,
    capacity: usize,
}

#[derive(Debug)]
enum State<G, W> {
    Waiting {
        group: G,
        deadline: UnixTime,
        request: W,
    },
    /// The request was answered, but the stream is open and its body may still come.
    Answered {
        let_through: bool,
    },
}

impl<G: Copy + Ord, W> Parked<G, W> {
    /// A registry with room for `capacity` waiting requests.
    pub(super) fn new(capacity: usize) -> Self {
        Self { streams: BTreeMap::new(), groups: BTreeMap::new(), waiting: 0, capacity }
    }

    /// The number of waiting requests.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of waiting requests of this group.
    pub(super) fn waiting_of(&self, group: G) -> usize {
        self.groups.get(&group).map_or(0, BTreeSet::len)
    }

    /// Whether this group takes more than half of the room.
    pub(super) fn is_crowded_by(&self, group: G) -> bool {
        self.groups.get(&group).is_some_and(|streams| streams.len() > self.capacity / 2)
    }

    /// Parks a request. Where there is no room, the largest group gives way to a group that is smaller by two or more. The
    /// returned stream has then lost its place and must be denied.
    ///
    /// # Errors
    /// There is no room, or the stream was parked before. The request must be denied.
    pub(super) fn park(
        &mut self,
        stream: StreamId,
        group: G,
        deadline: UnixTime,
        request: W,
    ) -> Result<Option<(StreamId, W)>, Full<W>> {
        if self.capacity == 0 || self.streams.contains_key(&stream) {
            return Err(Full(request));
        }
        let evicted = if self.waiting < self.capacity { None } else { self.give_way(group) };
        if self.waiting >= self.capacity {
            return Err(Full(request));
        }
        self.streams.insert(stream, State::Waiting { group, deadline, request });
        self.groups.entry(group).or_default().insert(stream);
        self.waiting = self.waiting.saturating_add(1);
        Ok(evicted)
    }

    /// Takes the latest request out of the largest group, if that group is larger than `group` will be.
    fn give_way(&mut self, group: G) -> Option<(StreamId, W)> {
        let size = self.waiting_of(group);
        let largest = self.groups.values().max_by_key(|streams| streams.len())?;
        let latest = *largest.last()?;
        if largest.len() <= size.saturating_add(1) {
            return None;
        }
        self.answer(latest, false).map(|request| (latest, request))
    }

    /// Marks a waiting request as answered and returns what was parked. `None`: the stream was not waiting, and there is
    /// nothing to answer.
    pub(super) fn answer(&mut self, stream: StreamId, let_through: bool) -> Option<W> {
        let state = self.streams.get_mut(&stream)?;
        match std::mem::replace(state, State::Answered { let_through }) {
            State::Waiting { group, request, .. } => {
                self.leave(stream, group);
                Some(request)
            }
            answered @ State::Answered { .. } => {
                *state = answered;
                None
            }
        }
    }

    /// A waiting request and its deadline.
    pub(super) fn get(&self, stream: StreamId) -> Option<(UnixTime, &W)> {
        match self.streams.get(&stream)? {
            State::Waiting { deadline, request, .. } => Some((*deadline, request)),
            State::Answered { .. } => None,
        }
    }

    /// A waiting request.
    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut W> {
        match self.streams.get_mut(&stream)? {
            State::Waiting { request, .. } => Some(request),
            State::Answered { .. } => None,
        }
    }

    /// Whether a parked request has been let through.
    pub(super) fn is_let_through(&self, stream: StreamId) -> bool {
        matches!(self.streams.get(&stream), Some(State::Answered { let_through: true }))
    }

    /// Forgets a stream that ended.
    pub(super) fn remove(&mut self, stream: StreamId) {
        if let Some(State::Waiting { group, .. }) = self.streams.remove(&stream) {
            self.leave(stream, group);
        }
    }

    /// Moves all deadlines by the step of the clock.
    pub(super) fn shift(&mut self, from: UnixTime, to: UnixTime) {
        for state in self.streams.values_mut() {
            if let State::Waiting { deadline, .. } = state {
                *deadline = deadline.plus(to.since(from)).minus(from.since(to));
            }
        }
    }

    /// The waiting requests and their deadlines.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, UnixTime, &W)> {
        self.streams.iter().filter_map(|(stream, state)| match state {
            State::Waiting { deadline, request, .. } => Some((*stream, *deadline, request)),
            State::Answered { .. } => None,
        })
    }

    fn leave(&mut self, stream: StreamId, group: G) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(streams) = self.groups.get_mut(&group) {
            streams.remove(&stream);
            if streams.is_empty() {
                self.groups.remove(&group);
            }
        }
    }
}

/// There is no room; the request is handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full<W>(pub(super) W);

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixTime = UnixTime::from_millis(1);
    const IN: Result<Option<(StreamId, ())>, Full<()>> = Ok(None);

    #[test]
    fn bounded_and_answered_once() {
        let mut parked = Parked::new(2);
        let [a, b, c] = [StreamId(1), StreamId(2), StreamId(3)];
        assert_eq!(
            (parked.park(a, 0, T, ()), parked.park(b, 0, T, ()), parked.park(c, 0, T, ())),
            (IN, IN, Err(Full(())))
        );
        assert_eq!((parked.answer(a, true), parked.answer(a, false), parked.answer(c, true)), (Some(()), None, None));
        assert!(parked.is_let_through(a) && !parked.is_let_through(b) && !parked.is_let_through(c));
        assert_eq!(parked.park(a, 0, T, ()), Err(Full(())), "a stream is parked once");
        assert_eq!(parked.park(c, 0, T, ()), IN);
        for stream in [a, b, c, c] {
            parked.remove(stream);
        }
        assert_eq!((parked.waiting(), parked.streams.len(), parked.groups.len()), (0, 0, 0));
    }

    #[test]
    fn capacity_zero_parks_nothing() {
        assert_eq!(Parked::new(0).park(StreamId(1), 0, T, ()), Err(Full(())));
    }

    #[test]
    fn a_full_house_makes_room_for_whoever_has_less() {
        let mut parked = Parked::new(4);
        for id in 1..=4 {
            assert_eq!(parked.park(StreamId(id), 'a', T, ()), IN);
        }
        assert!(parked.is_crowded_by('a') && !parked.is_crowded_by('b'));
        assert_eq!(parked.park(StreamId(5), 'a', T, ()), Err(Full(())));
        assert_eq!(parked.park(StreamId(6), 'b', T, ()), Ok(Some((StreamId(4), ()))));
        assert_eq!(parked.park(StreamId(7), 'b', T, ()), Ok(Some((StreamId(3), ()))));
        assert_eq!(parked.park(StreamId(8), 'b', T, ()), Err(Full(())), "both have two");
        assert_eq!(parked.park(StreamId(9), 'a', T, ()), Err(Full(())));
        assert_eq!((parked.waiting(), parked.answer(StreamId(4), true)), (4, None), "who lost a place is answered");
    }
}
