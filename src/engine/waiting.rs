//! The requests that wait: who may wait, when a request is decided again, and when its wait ends.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{
    authenticate::Progress,
    key_sets::KeySets,
    parked::{Full, Parked},
    room::Group,
    turns::Turns,
};
use crate::{
    ids::{ClientId, ProviderId, StreamId},
    policy::{
        forward::Edits,
        plan::Plan,
        reply::Denial,
        requirement::{evaluate::Waits, ResolvedRequirement},
        token_location::Candidate,
    },
    rotation::transition::{self, Cause},
    time::UnixTime,
};

/// While requests wait, the engine is woken many times a second. A longer gap is a step of the clock.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// A request that was found over is looked at again after this time, if the engine did not come to decide it.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// About how much memory a parsed token takes for each byte of the token, at most: a list of audiences of one letter each.
const PARSED: usize = 10;

/// About how much memory a fetch that a request waits for takes: in the request, in the index of those who wait for the fetch, and
/// as a watermark.
const PER_WAIT: usize = 128;

/// About how much memory a token takes besides its bytes: where it stands, and that the present keys did not verify the token.
const PER_TOKEN: usize = size_of::<Candidate>() + 128;

/// For how many requests, and about how many providers, it is found out in one call whether their wait is over.
const ENDING: usize = 64;

/// A parked request: what the engine needs to decide it again. In report mode the request itself went upstream, and only its
/// evaluation waits.
#[derive(Debug)]
pub(super) struct ParkedRequest {
    pub(super) resolved: ResolvedRequirement,
    pub(super) realm: String,
    /// The `:path` of the request.
    pub(super) target: Vec<u8>,
    pub(super) since: UnixTime,
    pub(super) progress: Progress,
    pub(super) waits: Waits,
    /// The answer where there is no room to wait. A request that nothing can deny is never parked.
    pub(super) without_room: Denial,
    /// The changes to the request whatever the verdict is.
    pub(super) edits: Edits,
}

impl ParkedRequest {
    /// About the memory that the request takes without its parsed tokens: what its client sent, what the requirement makes of
    /// each token and provider, and a share for the rest.
    pub(super) fn bytes(&self) -> usize {
        let waits = self.waits.count().saturating_mul(PER_WAIT);
        let tokens = self.resolved.tokens.len().saturating_mul(PER_TOKEN);
        [self.token_bytes(), self.target.len(), self.resolved.bytes(), waits, tokens]
            .into_iter()
            .fold(1024, usize::saturating_add)
    }

    fn token_bytes(&self) -> usize {
        self.resolved.tokens.iter().map(|token| token.token().len()).fold(0, usize::saturating_add)
    }

    /// Keeps the parsed tokens only if they fit in the place that a request takes anyway: a client that fills the room with long
    /// tokens must not hold several times their bytes.
    fn trim(&mut self, place: u64) {
        let parsed = self.token_bytes().saturating_mul(PARSED);
        if self.bytes().saturating_add(parsed) as u64 > place {
            self.resolved.tokens.iter_mut().for_each(Candidate::forget_parsed);
        }
    }
}

/// The parked requests of one worker.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    parked: Parked<ParkedRequest>,
    /// The requests that wait for each fetch.
    waiters: BTreeSet<(ProviderId, Cause, StreamId)>,
    /// Requests that are to be decided again.
    due: Turns,
    /// Requests whose wait may be over, and whose providers' records were asked for.
    ending: Vec<StreamId>,
    last_seen: UnixTime,
}

impl WaitingRoom {
    pub(super) fn new(capacity: usize) -> Self {
        let (waiters, due, ending, last_seen) = Default::default();
        Self { parked: Parked::new(capacity), waiters, due, ending, last_seen }
    }

    pub(super) fn len(&self) -> usize {
        self.parked.waiting()
    }

    #[cfg(test)]
    pub(super) fn request(&self, stream: StreamId) -> Option<&ParkedRequest> {
        self.parked.get(stream).map(|(_, request)| request)
    }

    /// The numbers of waiting requests by provider; none that is zero.
    pub(super) fn counts(&self) -> Vec<(ProviderId, u32)> {
        self.parked.counts()
    }

    pub(super) fn is_let_through(&self, stream: StreamId) -> bool {
        self.parked.is_let_through(stream)
    }

    /// The provider whose requests take more than half of the room.
    pub(super) fn crowded_by(&self, providers: &[ProviderId]) -> Option<ProviderId> {
        providers.iter().copied().find(|provider| self.parked.is_crowded_by(*provider))
    }

    /// Parks a request. See [`Parked::park`].
    pub(super) fn park(
        &mut self,
        stream: StreamId,
        client: ClientId,
        deadline: UnixTime,
        mut request: ParkedRequest,
    ) -> Result<Vec<(StreamId, ParkedRequest)>, Box<ParkedRequest>> {
        let group = Group { provider: request.waits.first.0, client };
        request.trim(self.parked.place());
        let (bytes, waits) = (request.bytes(), request.waits.clone());
        let parked = self.parked.park(stream, group, bytes, deadline, request);
        let evicted = parked.map_err(|Full(request)| Box::new(request))?;
        self.add_waiter(stream, &waits);
        for (evicted, request) in &evicted {
            self.leave(*evicted, request);
        }
        Ok(evicted)
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        if let Some(request) = self.parked.remove(stream) {
            self.leave(stream, &request);
        }
    }

    pub(super) fn answer(&mut self, stream: StreamId, let_through: bool) -> Option<ParkedRequest> {
        let request = self.parked.answer(stream, let_through)?;
        self.leave(stream, &request);
        Some(request)
    }

    /// A request that was let through does not go on after all.
    pub(super) fn hold_back(&mut self, stream: StreamId) {
        self.parked.hold_back(stream);
    }

    /// Keeps the time that each request has left when the clock steps. Returns the time before the step if the clock went
    /// back.
    pub(super) fn absorb_clock_step(&mut self, now: UnixTime) -> Option<UnixTime> {
        let last = std::mem::replace(&mut self.last_seen, now);
        if now < last || now.since(last) > LONGEST_GAP {
            self.parked.shift(last, now);
        }
        (now < last).then_some(last)
    }

    /// The keys of a provider changed: the requests that wait for them are to be decided again.
    pub(super) fn mark_changed(&mut self, provider: ProviderId) {
        let Self { parked, waiters, due, .. } = self;
        for (_, _, stream) in waiters.range(of(provider, Cause::FIRST, Cause::LAST)) {
            if let Some(client) = parked.client_of(*stream) {
                due.insert(*stream, client);
            }
        }
    }

    /// Chooses requests whose wait may be over, for one [`Self::mark_over`]. Returns the providers whose records are to be read
    /// before.
    pub(super) fn begin_ending(&mut self, now: UnixTime) -> BTreeSet<ProviderId> {
        let mut providers = BTreeSet::new();
        while self.ending.len() < ENDING && providers.len() < ENDING {
            let Some((stream, _, request)) = self.parked.first_alarm(now) else { break };
            providers.extend(request.waits.iter().map(|(provider, _)| provider));
            self.parked.set_alarm(stream, now.plus(NEXT_LOOK));
            self.ending.push(stream);
        }
        providers
    }

    /// Marks those of the chosen requests whose wait is over.
    pub(super) fn mark_over(&mut self, plan: &Plan, key_sets: &KeySets, now: UnixTime) {
        for stream in std::mem::take(&mut self.ending) {
            let Some((deadline, request)) = self.parked.get(stream) else { continue };
            let end = ends_at(plan, key_sets, deadline, &request.waits, now);
            if let Some(client) = self.parked.client_of(stream).filter(|_| end <= now) {
                self.due.insert(stream, client);
            }
            self.parked.set_alarm(stream, end.max(now.plus(NEXT_LOOK)));
        }
    }

    /// A request that is to be decided again, with its deadline. The request is handed back with [`Self::wait_on`] or
    /// answered.
    pub(super) fn pop_due(&mut self) -> Option<(StreamId, UnixTime, &mut ParkedRequest)> {
        loop {
            let stream = self.due.next()?;
            if self.parked.get(stream).is_some() {
                return self.parked.get_mut(stream).map(|(deadline, request)| (stream, deadline, request));
            }
        }
    }

    /// What a request waits for now.
    pub(super) fn wait_on(&mut self, stream: StreamId, waits: Waits) {
        let place = self.parked.place();
        let Some((_, request)) = self.parked.get_mut(stream) else { return };
        request.trim(place);
        if request.waits != waits {
            let before = std::mem::replace(&mut request.waits, waits.clone());
            self.remove_waiter(stream, &before);
            self.add_waiter(stream, &waits);
        }
    }

    /// Whether a request waits for this fetch.
    pub(super) fn awaits(&self, provider: ProviderId, cause: Cause) -> bool {
        self.waiters.range(of(provider, cause, cause)).next().is_some()
    }

    /// Whether a request waits for any fetch of this provider.
    pub(super) fn awaits_any(&self, provider: ProviderId) -> bool {
        self.waiters.range(of(provider, Cause::FIRST, Cause::LAST)).next().is_some()
    }

    /// When a request is to be decided again, if nothing else happens before. `None`: no request waits.
    pub(super) fn next_due(&self, now: UnixTime) -> Option<UnixTime> {
        if self.due.is_empty() {
            self.parked.next_alarm()
        } else {
            Some(now)
        }
    }

    fn leave(&mut self, stream: StreamId, request: &ParkedRequest) {
        self.remove_waiter(stream, &request.waits);
    }

    fn add_waiter(&mut self, stream: StreamId, waits: &Waits) {
        self.waiters.extend(waits.iter().map(|(provider, cause)| (provider, cause, stream)));
    }

    fn remove_waiter(&mut self, stream: StreamId, waits: &Waits) {
        self.due.remove(stream);
        for (provider, cause) in waits.iter() {
            self.waiters.remove(&(provider, cause, stream));
        }
    }
}

/// The waiters for a provider's fetches of these causes.
fn of(provider: ProviderId, first: Cause, last: Cause) -> RangeInclusive<(ProviderId, Cause, StreamId)> {
    (provider, first, StreamId(0))..=(provider, last, StreamId(u32::MAX))
}

/// When a request stops waiting: at its deadline; where the refresh that it was promised has not ended by then, one fetch
/// timeout later. A refresh is promised if it is due by the deadline, however late this worker starts it.
pub(super) fn ends_at(plan: &Plan, key_sets: &KeySets, deadline: UnixTime, waits: &Waits, now: UnixTime) -> UnixTime {
    let for_tokens = waits.iter().filter(|(_, cause)| *cause != Cause::Schedule);
    let promised = for_tokens.filter_map(|(provider, cause)| {
        let (record, policy) = (&key_sets.of(provider).record, &plan.remote(provider)?.rotation);
        let is_promised = record.is_fetching(now) || transition::refresh_due(record, cause, policy, now) <= deadline;
        is_promised.then_some(policy.fetch_timeout)
    });
    deadline.plus(promised.max().unwrap_or_default())
}
