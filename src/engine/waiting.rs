//! The requests that wait: who may wait, when a request is decided again, and when its wait ends.

use std::{collections::BTreeSet, time::Duration};

use super::{
    authenticate::FetchWatermark,
    key_sets::KeySets,
    parked::{Full, Parked},
};
use crate::{
    ids::{ProviderId, StreamId},
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

/// A parked request: what the engine needs to decide it again. In report mode the request itself went upstream, and only its
/// evaluation waits.
#[derive(Debug)]
pub(super) struct ParkedRequest {
    pub(super) resolved: ResolvedRequirement,
    pub(super) realm: String,
    /// The `:path` of the request.
    pub(super) target: Vec<u8>,
    pub(super) since: UnixTime,
    pub(super) watermark: FetchWatermark,
    pub(super) waits: Waits,
    /// The answer where there is no room to wait. A request that nothing can deny is never parked.
    pub(super) without_room: Denial,
    /// The changes to the request whatever the verdict is.
    pub(super) edits: Edits,
}

impl ParkedRequest {
    /// A client that fills the room with long tokens must not hold several times their bytes.
    fn forget_parsed(&mut self) {
        self.resolved.tokens.iter_mut().for_each(Candidate::forget_parsed);
    }
}

/// The parked requests of one worker.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    parked: Parked<ProviderId, ParkedRequest>,
    /// Requests that are to be decided again.
    due: BTreeSet<StreamId>,
    last_seen: UnixTime,
}

impl WaitingRoom {
    pub(super) fn new(capacity: usize) -> Self {
        Self { parked: Parked::new(capacity), due: BTreeSet::new(), last_seen: UnixTime::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.parked.waiting()
    }

    pub(super) fn len_of(&self, provider: ProviderId) -> usize {
        self.parked.waiting_of(provider)
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
        deadline: UnixTime,
        mut request: ParkedRequest,
    ) -> Result<Option<(StreamId, ParkedRequest)>, Box<ParkedRequest>> {
        let group = request.waits.first.0;
        request.forget_parsed();
        self.parked.park(stream, group, deadline, request).map_err(|Full(request)| Box::new(request))
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        self.parked.remove(stream);
        self.due.remove(&stream);
    }

    pub(super) fn answer(&mut self, stream: StreamId, let_through: bool) -> Option<ParkedRequest> {
        self.parked.answer(stream, let_through)
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

    /// Marks the requests whose keys have changed, and those whose wait is over.
    pub(super) fn mark_due(&mut self, plan: &Plan, key_sets: &KeySets, now: UnixTime) {
        for (stream, deadline, request) in self.parked.iter() {
            let has_changed = request.waits.iter().any(|(provider, _)| key_sets.of(provider).changed);
            if has_changed || ends_at(plan, key_sets, deadline, &request.waits, now) <= now {
                self.due.insert(stream);
            }
        }
    }

    /// A request that is to be decided again, with its deadline.
    pub(super) fn pop_due(&mut self) -> Option<(StreamId, UnixTime, &ParkedRequest)> {
        loop {
            let stream = self.due.pop_first()?;
            if let Some((deadline, request)) = self.parked.get(stream) {
                return Some((stream, deadline, request));
            }
        }
    }

    /// What a request waits for now.
    pub(super) fn wait_on(&mut self, stream: StreamId, waits: Waits) {
        if let Some(request) = self.parked.get_mut(stream) {
            request.waits = waits;
            request.forget_parsed();
        }
    }

    /// The fetches that parked requests wait for, each once.
    pub(super) fn waits(&self) -> Vec<(ProviderId, Cause)> {
        let mut waits = Vec::new();
        for wait in self.parked.iter().flat_map(|(_, _, request)| request.waits.iter()) {
            if !waits.contains(&wait) {
                waits.push(wait);
            }
        }
        waits
    }

    /// When a request is to be decided again, if nothing else happens before.
    pub(super) fn next_due(&self, plan: &Plan, key_sets: &KeySets, now: UnixTime) -> Option<UnixTime> {
        if !self.due.is_empty() {
            return Some(now);
        }
        let ends =
            |(_, deadline, request): (_, _, &ParkedRequest)| ends_at(plan, key_sets, deadline, &request.waits, now);
        self.parked.iter().map(ends).min()
    }
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
