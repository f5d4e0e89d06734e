//! The registry of parked requests: bounded, each with a deadline, each answered exactly once. No provider's requests crowd
//! out another's, and no client's requests those of another client.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    room::{Group, Room},
    shares::Shares,
};
use crate::{
    ids::{ClientId, ProviderId, StreamId},
    time::UnixTime,
};

/// The registry. `W` is what the engine needs to decide the request again.
#[derive(Debug)]
pub(super) struct Parked<W> {
    streams: BTreeMap<StreamId, State<W>>,
    /// The numbers of waiting requests.
    counts: Shares,
    room: Room,
    /// When each waiting request is to be looked at.
    alarms: BTreeSet<(UnixTime, StreamId)>,
    waiting: usize,
}

#[derive(Debug)]
enum State<W> {
    Waiting {
        group: Group,
        /// How much of the room the request takes.
        size: u64,
        deadline: UnixTime,
        alarm: UnixTime,
        request: W,
    },
    /// The request was answered, but the stream is open and its body may still come.
    Answered { let_through: bool },
}

impl<W> Parked<W> {
    /// A registry with room for `capacity` waiting requests.
    pub(super) fn new(capacity: usize) -> Self {
        let (streams, counts, alarms) = Default::default();
        Self { streams, counts, room: Room::new(capacity), alarms, waiting: 0 }
    }

    /// The number of waiting requests.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The bytes that a request takes of the room at least.
    pub(super) fn place(&self) -> u64 {
        self.room.size_of(0)
    }

    /// The numbers of waiting requests by provider; none that is zero.
    pub(super) fn counts(&self) -> Vec<(ProviderId, u32)> {
        let count = |(provider, count): (u64, u64)| (provider.into(), u32::try_from(count).unwrap_or(u32::MAX));
        self.counts.iter().map(count).collect()
    }

    /// Whether this provider takes more than half of the room.
    pub(super) fn is_crowded_by(&self, provider: ProviderId) -> bool {
        self.room.is_crowded_by(provider)
    }

    /// Parks a request of so many bytes. Where there is no room, others give way if they take more ([`Room::who_gives_way`]).
    /// The returned streams have then lost their places and must be denied.
    ///
    /// # Errors
    /// There is no room, or the stream was parked before. The request must be denied.
    pub(super) fn park(
        &mut self,
        stream: StreamId,
        group: Group,
        bytes: usize,
        deadline: UnixTime,
        request: W,
    ) -> Result<Vec<(StreamId, W)>, Full<W>> {
        let size = self.room.size_of(bytes);
        if self.streams.contains_key(&stream) {
            return Err(Full(request));
        }
        let mut evicted = Vec::new();
        if !self.room.has(size) {
            let Some(party) = self.room.who_gives_way(group, size) else { return Err(Full(request)) };
            while !self.room.has(size) {
                // The party takes more than the request needs, so there is such a stream.
                let Some((_, stream)) = self.room.first_to_go(party) else { break };
                let Some(request) = self.answer(stream, false) else { break };
                evicted.push((stream, request));
            }
        }
        self.streams.insert(stream, State::Waiting { group, size, deadline, alarm: deadline, request });
        self.alarms.insert((deadline, stream));
        self.room.enter(group, stream, size);
        self.counts.add(group.provider.into(), 1);
        self.waiting = self.waiting.saturating_add(1);
        Ok(evicted)
    }

    /// Marks a waiting request as answered and returns what was parked. `None`: the stream was not waiting, and there is
    /// nothing to answer.
    pub(super) fn answer(&mut self, stream: StreamId, let_through: bool) -> Option<W> {
        let state = self.streams.get_mut(&stream)?;
        match std::mem::replace(state, State::Answered { let_through }) {
            State::Waiting { group, size, alarm, request, .. } => {
                self.leave(stream, group, size, alarm);
                Some(request)
            }
            answered @ State::Answered { .. } => {
                *state = answered;
                None
            }
        }
    }

    /// Whose request waits.
    pub(super) fn client_of(&self, stream: StreamId) -> Option<ClientId> {
        match self.streams.get(&stream)? {
            State::Waiting { group, .. } => Some(group.client),
            State::Answered { .. } => None,
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

    /// A request that was let through does not go on after all.
    pub(super) fn hold_back(&mut self, stream: StreamId) {
        if let Some(State::Answered { let_through }) = self.streams.get_mut(&stream) {
            *let_through = false;
        }
    }

    /// Forgets a stream that ended. Returns what was parked, if the request still waited.
    pub(super) fn remove(&mut self, stream: StreamId) -> Option<W> {
        match self.streams.remove(&stream)? {
            State::Waiting { group, size, alarm, request, .. } => {
                self.leave(stream, group, size, alarm);
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

    fn leave(&mut self, stream: StreamId, group: Group, size: u64, alarm: UnixTime) {
        self.waiting = self.waiting.saturating_sub(1);
        self.alarms.remove(&(alarm, stream));
        self.room.leave(group, stream, size);
        self.counts.remove(group.provider.into(), 1);
    }
}

/// There is no room; the request is handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full<W>(pub(super) W);

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixTime = UnixTime::from_millis(1);
    const IN: Result<Vec<(StreamId, ())>, Full<()>> = Ok(Vec::new());

    fn group(provider: usize, client: u64) -> Group {
        Group { provider: ProviderId::new(provider), client: ClientId(client) }
    }

    #[test]
    fn bounded_and_answered_once() {
        let mut parked = Parked::new(2);
        let [a, b, c] = [StreamId(1), StreamId(2), StreamId(3)];
        let one = group(0, 0);
        assert_eq!(
            (parked.park(a, one, 0, T, ()), parked.park(b, one, 0, T, ()), parked.park(c, one, 0, T, ())),
            (IN, IN, Err(Full(())))
        );
        assert_eq!((parked.answer(a, true), parked.answer(a, false), parked.answer(c, true)), (Some(()), None, None));
        assert!(parked.is_let_through(a) && !parked.is_let_through(b) && !parked.is_let_through(c));
        parked.hold_back(a);
        assert!(!parked.is_let_through(a));
        assert_eq!(parked.park(a, one, 0, T, ()), Err(Full(())), "a stream is parked once");
        assert_eq!(parked.park(c, one, 0, T, ()), IN);
        assert_eq!([a, b, c, c].map(|stream| parked.remove(stream)), [None, Some(()), Some(()), None]);
        assert_eq!((parked.waiting(), parked.streams.len(), parked.alarms.len()), (0, 0, 0));
        assert_eq!((parked.counts(), parked.room.is_empty()), (Vec::new(), true));
    }

    #[test]
    fn capacity_zero_parks_nothing() {
        assert_eq!(Parked::new(0).park(StreamId(1), group(0, 0), 0, T, ()), Err(Full(())));
    }

    #[test]
    fn a_full_house_makes_room_for_a_provider_that_has_less() {
        let mut parked = Parked::new(4);
        let [a, b] = [group(0, 0), group(1, 0)];
        for id in 1..=4 {
            assert_eq!(parked.park(StreamId(id), a, 0, T, ()), IN);
        }
        assert!(parked.is_crowded_by(a.provider) && !parked.is_crowded_by(b.provider));
        assert_eq!(parked.park(StreamId(5), a, 0, T, ()), Err(Full(())));
        assert_eq!(parked.park(StreamId(6), b, 0, T, ()), Ok(vec![(StreamId(4), ())]));
        assert_eq!(parked.park(StreamId(7), b, 0, T, ()), Ok(vec![(StreamId(3), ())]));
        assert_eq!(parked.park(StreamId(8), b, 0, T, ()), Err(Full(())), "both have two");
        assert_eq!(parked.park(StreamId(9), a, 0, T, ()), Err(Full(())));
        assert_eq!((parked.waiting(), parked.answer(StreamId(4), true)), (4, None), "who lost a place is answered");
    }

    #[test]
    fn a_client_that_floods_gives_way_to_the_others_of_its_provider() {
        let mut parked = Parked::new(4);
        let [flood, other, third] = [group(0, 1), group(0, 2), group(0, 3)];
        for id in 1..=4 {
            assert_eq!(parked.park(StreamId(id), flood, 0, T, ()), IN);
        }
        assert_eq!(parked.park(StreamId(5), other, 0, T, ()), Ok(vec![(StreamId(4), ())]));
        assert_eq!(parked.park(StreamId(6), flood, 0, T, ()), Err(Full(())));
        assert_eq!(parked.park(StreamId(7), third, 0, T, ()), Ok(vec![(StreamId(3), ())]));
        assert_eq!(parked.park(StreamId(8), third, 0, T, ()), Err(Full(())), "no client has two more");
        // Another provider takes the room of the client that has most.
        assert_eq!(parked.park(StreamId(9), group(1, 1), 0, T, ()), Ok(vec![(StreamId(2), ())]));
    }

    /// The requests that wait, by what `of` says of their group.
    fn waiting_by<K: Ord>(parked: &Parked<()>, of: impl Fn(Group) -> K) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for state in parked.streams.values() {
            if let State::Waiting { group, .. } = state {
                *counts.entry(of(*group)).or_default() += 1;
            }
        }
        counts
    }

    /// One invented `kid` at each of a thousand providers.
    #[test]
    fn a_client_that_floods_many_providers_gives_way_to_the_others() {
        const FLOOD: ClientId = ClientId(1);
        let mut parked = Parked::new(1000);
        let mut stream = 0;
        let mut park = |parked: &mut Parked<()>, provider, client| {
            stream += 1;
            parked.park(StreamId(stream), group(provider, client), 0, T, ())
        };
        for provider in 0..1000 {
            assert_eq!(park(&mut parked, provider, FLOOD.0), IN);
        }
        for client in 100..140 {
            let evicted = park(&mut parked, 7, client).expect("a place");
            assert_eq!(evicted.len(), 1);
            // The client that floods goes on, and takes no place of theirs.
            for provider in 0..1000 {
                let _ = park(&mut parked, provider, FLOOD.0);
            }
        }
        let clients = waiting_by(&parked, |group| group.client);
        assert!((100..140).all(|client| clients[&ClientId(client)] == 1));
        assert_eq!((parked.waiting(), clients[&FLOOD]), (1000, 960));
        // Nor does a client take more than the client that floods.
        for _ in 0..2000 {
            let _ = park(&mut parked, 8, 200);
        }
        let clients = waiting_by(&parked, |group| group.client);
        assert!((100..140).all(|client| clients[&ClientId(client)] == 1));
        assert!(clients[&FLOOD].abs_diff(clients[&ClientId(200)]) <= 2, "{clients:?}");
    }

    /// The requests of many clients wait for an issuer that hangs; a client of another provider waits for its own.
    #[test]
    fn a_provider_with_many_clients_takes_no_place_of_a_client_of_other_providers() {
        let mut parked = Parked::new(100);
        for id in 1..=6 {
            assert_eq!(parked.park(StreamId(id), group(1 + id as usize % 2, 1), 0, T, ()), IN);
        }
        for id in 1000..1200 {
            let _ = parked.park(StreamId(id), group(0, u64::from(id)), 0, T, ());
        }
        let providers = waiting_by(&parked, |group| group.provider.index());
        assert_eq!(providers, BTreeMap::from([(0, 94), (1, 3), (2, 3)]));
        // Nor does their number keep out a client that has more than any of theirs.
        assert!(matches!(parked.park(StreamId(2000), group(2, 1), 0, T, ()), Ok(evicted) if evicted.len() == 1));
        assert_eq!(waiting_by(&parked, |group| group.provider.index())[&0], 93);
    }

    #[test]
    fn a_request_takes_the_room_of_its_bytes_and_large_requests_give_way() {
        const CAPACITY: usize = 100_000;
        const LARGE: usize = 4 << 20;
        let mut parked = Parked::new(CAPACITY);
        for id in 0..64 {
            assert!(parked.park(StreamId(id), group(0, 1), LARGE, T, ()).is_ok() || id == 63);
        }
        let before = parked.waiting();
        // Many small ones, of more requests than those that are large.
        let mut evicted = 0;
        for id in 100..10_100 {
            evicted += parked.park(StreamId(id), group(0, 2), 1500, T, ()).expect("a place").len();
        }
        assert!(before - evicted >= 55 && parked.waiting() == before - evicted + 10_000, "{evicted}");
        // Several small ones give way to a larger one.
        for id in 20_000..120_000 {
            let _ = parked.park(StreamId(id), group(0, 2), 1500, T, ());
        }
        let before = parked.waiting();
        let evicted = parked.park(StreamId(200_000), group(0, 3), 10_000, T, ()).expect("a place");
        assert!((1..=4).contains(&evicted.len()), "{}", evicted.len());
        assert_eq!(parked.waiting(), before + 1 - evicted.len());
        assert_eq!(parked.park(StreamId(200_001), group(0, 4), 300 << 20, T, ()), Err(Full(())), "more than the room");
    }

    #[test]
    fn alarms_come_in_their_order_and_move_with_the_clock() {
        let mut parked = Parked::new(4);
        let at = UnixTime::from_millis;
        for (id, deadline) in [(1, 30), (2, 10), (3, 20)] {
            assert_eq!(parked.park(StreamId(id), group(0, 0), 0, at(deadline), ()), IN);
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
