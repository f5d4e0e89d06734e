//! The registry of parked requests: bounded, each with a deadline, each answered exactly once. No provider's requests crowd
//! out another's, and no client's requests those of another client of the same provider.

use std::collections::{BTreeMap, BTreeSet};

use super::shares::{self, Shares};
use crate::{
    ids::{ClientId, ProviderId, StreamId},
    time::UnixTime,
};

/// Whose room a request takes: a client's share of a provider's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) provider: ProviderId,
    pub(super) client: ClientId,
}

/// The registry. `W` is what the engine needs to decide the request again.
#[derive(Debug)]
pub(super) struct Parked<W> {
    streams: BTreeMap<StreamId, State<W>>,
    providers: Shares<ProviderId>,
    groups: Shares<Group>,
    /// When each waiting request is to be looked at.
    alarms: BTreeSet<(UnixTime, StreamId)>,
    waiting: usize,
    capacity: usize,
}

#[derive(Debug)]
enum State<W> {
    Waiting {
        group: Group,
        deadline: UnixTime,
        alarm: UnixTime,
        request: W,
    },
    /// The request was answered, but the stream is open and its body may still come.
    Answered {
        let_through: bool,
    },
}

impl<W> Parked<W> {
    /// A registry with room for `capacity` waiting requests.
    pub(super) fn new(capacity: usize) -> Self {
        let (streams, providers, groups, alarms) = Default::default();
        Self { streams, providers, groups, alarms, waiting: 0, capacity }
    }

    /// The number of waiting requests.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of waiting requests of this provider.
    fn waiting_of(&self, provider: ProviderId) -> u64 {
        self.providers.of(provider)
    }

    /// The numbers of waiting requests by provider; none that is zero.
    pub(super) fn counts(&self) -> Vec<(ProviderId, u32)> {
        let count = |(provider, count): (ProviderId, u64)| (provider, u32::try_from(count).unwrap_or(u32::MAX));
        self.providers.iter().map(count).collect()
    }

    /// Whether this provider takes more than half of the room.
    pub(super) fn is_crowded_by(&self, provider: ProviderId) -> bool {
        self.waiting_of(provider) > self.capacity as u64 / 2
    }

    /// Parks a request. Where there is no room, the provider with the most requests gives way to a provider that has fewer by
    /// two or more; otherwise, within the request's own provider, the client with the most requests gives way to a client
    /// that has fewer by two or more. The returned stream has then lost its place and must be denied.
    ///
    /// # Errors
    /// There is no room, or the stream was parked before. The request must be denied.
    pub(super) fn park(
        &mut self,
        stream: StreamId,
        group: Group,
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
        self.streams.insert(stream, State::Waiting { group, deadline, alarm: deadline, request });
        self.alarms.insert((deadline, stream));
        self.providers.add(group.provider);
        self.groups.add(group);
        self.waiting = self.waiting.saturating_add(1);
        Ok(evicted)
    }

    /// Takes the latest request of the group that has to make room for this group. Only a full room comes to this search.
    fn give_way(&mut self, group: Group) -> Option<(StreamId, W)> {
        let has_more = |most: u64, count: u64| most > count.saturating_add(1);
        let (largest, most) = shares::largest(self.providers.iter())?;
        let is_other = has_more(most, self.waiting_of(group.provider));
        let provider = if is_other { largest } else { group.provider };
        let clients = self.groups.iter().filter(|(group, _)| group.provider == provider);
        let (victim, most) = shares::largest(clients)?;
        if !is_other && !has_more(most, self.groups.of(group)) {
            return None;
        }
        let is_victim = |state: &State<W>| matches!(state, State::Waiting { group, .. } if *group == victim);
        let latest = *self.streams.iter().rev().find(|(_, state)| is_victim(state))?.0;
        self.answer(latest, false).map(|request| (latest, request))
    }

    /// Marks a waiting request as answered and returns what was parked. `None`: the stream was not waiting, and there is
    /// nothing to answer.
    pub(super) fn answer(&mut self, stream: StreamId, let_through: bool) -> Option<W> {
        let state = self.streams.get_mut(&stream)?;
        match std::mem::replace(state, State::Answered { let_through }) {
            State::Waiting { group, alarm, request, .. } => {
                self.leave(stream, group, alarm);
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

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<(UnixTime, &mut W)> {
        match self.streams.get_mut(&stream)? {
            State::Waiting { deadline, request, .. } => Some((*deadline, request)),
            State::Answered { .. } => None,
        }
    }

    /// Whether a parked request has been let through.
    pub(super) fn is_let_through(&self, stream: StreamId) -> bool {
        matches!(self.streams.get(&stream), Some(State::Answered { let_through: true }))
    }

    /// Forgets a stream that ended. Returns what was parked, if the request still waited.
    pub(super) fn remove(&mut self, stream: StreamId) -> Option<W> {
        match self.streams.remove(&stream)? {
            State::Waiting { group, alarm, request, .. } => {
                self.leave(stream, group, alarm);
                Some(request)
            }
            State::Answered { .. } => None,
        }
    }

    /// The waiting request whose alarm is the first, if the alarm is due.
    pub(super) fn first_alarm(&self, now: UnixTime) -> Option<(StreamId, UnixTime, &W)> {
        let (_, stream) = self.alarms.first().filter(|(at, _)| *at <= now)?;
        self.get(*stream).map(|(deadline, request)| (*stream, deadline, request))
    }

    /// The waiting requests whose alarms are due.
    pub(super) fn due_alarms(&self, now: UnixTime) -> impl Iterator<Item = &W> {
        let due = self.alarms.iter().take_while(move |(at, _)| *at <= now);
        due.filter_map(|(_, stream)| self.get(*stream).map(|(_, request)| request))
    }

    /// When the first alarm is due.
    pub(super) fn next_alarm(&self) -> Option<UnixTime> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Sets the alarm of a waiting request.
    pub(super) fn set_alarm(&mut self, stream: StreamId, at: UnixTime) {
        if let Some(State::Waiting { alarm, .. }) = self.streams.get_mut(&stream) {
            self.alarms.remove(&(*alarm, stream));
            self.alarms.insert((at, stream));
            *alarm = at;
        }
    }

    /// Moves all deadlines and alarms by the step of the clock.
    pub(super) fn shift(&mut self, from: UnixTime, to: UnixTime) {
        self.alarms.clear();
        for (stream, state) in &mut self.streams {
            if let State::Waiting { deadline, alarm, .. } = state {
                for time in [&mut *deadline, &mut *alarm] {
                    *time = time.plus(to.since(from)).minus(from.since(to));
                }
                self.alarms.insert((*alarm, *stream));
            }
        }
    }

    fn leave(&mut self, stream: StreamId, group: Group, alarm: UnixTime) {
        self.waiting = self.waiting.saturating_sub(1);
        self.alarms.remove(&(alarm, stream));
        self.providers.remove(group.provider);
        self.groups.remove(group);
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

    fn group(provider: usize, client: u64) -> Group {
        Group { provider: ProviderId::new(provider), client: ClientId(client) }
    }

    #[test]
    fn bounded_and_answered_once() {
        let mut parked = Parked::new(2);
        let [a, b, c] = [StreamId(1), StreamId(2), StreamId(3)];
        let one = group(0, 0);
        assert_eq!(
            (parked.park(a, one, T, ()), parked.park(b, one, T, ()), parked.park(c, one, T, ())),
            (IN, IN, Err(Full(())))
        );
        assert_eq!((parked.answer(a, true), parked.answer(a, false), parked.answer(c, true)), (Some(()), None, None));
        assert!(parked.is_let_through(a) && !parked.is_let_through(b) && !parked.is_let_through(c));
        assert_eq!(parked.park(a, one, T, ()), Err(Full(())), "a stream is parked once");
        assert_eq!(parked.park(c, one, T, ()), IN);
        assert_eq!([a, b, c, c].map(|stream| parked.remove(stream)), [None, Some(()), Some(()), None]);
        assert_eq!((parked.waiting(), parked.streams.len(), parked.alarms.len()), (0, 0, 0));
        assert_eq!((parked.groups.iter().count(), parked.providers.iter().count()), (0, 0));
    }

    #[test]
    fn capacity_zero_parks_nothing() {
        assert_eq!(Parked::new(0).park(StreamId(1), group(0, 0), T, ()), Err(Full(())));
    }

    #[test]
    fn a_full_house_makes_room_for_a_provider_that_has_less() {
        let mut parked = Parked::new(4);
        let [a, b] = [group(0, 0), group(1, 0)];
        for id in 1..=4 {
            assert_eq!(parked.park(StreamId(id), a, T, ()), IN);
        }
        assert!(parked.is_crowded_by(a.provider) && !parked.is_crowded_by(b.provider));
        assert_eq!(parked.park(StreamId(5), a, T, ()), Err(Full(())));
        assert_eq!(parked.park(StreamId(6), b, T, ()), Ok(Some((StreamId(4), ()))));
        assert_eq!(parked.park(StreamId(7), b, T, ()), Ok(Some((StreamId(3), ()))));
        assert_eq!(parked.park(StreamId(8), b, T, ()), Err(Full(())), "both have two");
        assert_eq!(parked.park(StreamId(9), a, T, ()), Err(Full(())));
        assert_eq!((parked.waiting(), parked.answer(StreamId(4), true)), (4, None), "who lost a place is answered");
    }

    #[test]
    fn a_client_that_floods_gives_way_to_the_others_of_its_provider() {
        let mut parked = Parked::new(4);
        let [flood, other, third] = [group(0, 1), group(0, 2), group(0, 3)];
        for id in 1..=4 {
            assert_eq!(parked.park(StreamId(id), flood, T, ()), IN);
        }
        assert_eq!(parked.park(StreamId(5), other, T, ()), Ok(Some((StreamId(4), ()))));
        assert_eq!(parked.park(StreamId(6), flood, T, ()), Err(Full(())));
        assert_eq!(parked.park(StreamId(7), third, T, ()), Ok(Some((StreamId(3), ()))));
        assert_eq!(parked.park(StreamId(8), third, T, ()), Err(Full(())), "no client has two more");
        // Another provider takes the room of the client that has most.
        assert_eq!(parked.park(StreamId(9), group(1, 1), T, ()), Ok(Some((StreamId(2), ()))));
    }

    #[test]
    fn alarms_come_in_their_order_and_move_with_the_clock() {
        let mut parked = Parked::new(4);
        let at = UnixTime::from_millis;
        for (id, deadline) in [(1, 30), (2, 10), (3, 20)] {
            assert_eq!(parked.park(StreamId(id), group(0, 0), at(deadline), ()), IN);
        }
        assert!(parked.first_alarm(at(9)).is_none() && parked.next_alarm() == Some(at(10)));
        assert_eq!(parked.first_alarm(at(25)), Some((StreamId(2), at(10), &())));
        parked.set_alarm(StreamId(2), at(40));
        assert_eq!(parked.first_alarm(at(25)), Some((StreamId(3), at(20), &())));
        parked.shift(at(25), at(125));
        assert_eq!((parked.first_alarm(at(119)), parked.next_alarm()), (None, Some(at(120))));
        assert_eq!(parked.get(StreamId(2)), Some((at(110), &())));
    }
}
