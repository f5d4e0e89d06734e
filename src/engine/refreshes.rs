//! Which refresh each key set needs next, when it may start, and which one starts now.

use std::collections::BTreeSet;

use super::{
    due_times::{DueTimes, Rank},
    key_sets::KeySets,
    provider_keys::ProviderKeys,
    ticks,
    waiting::WaitingRoom,
};
use crate::{
    ids::{ProviderId, ProviderMap},
    policy::{plan::Plan, provider::Remote},
    rotation::{
        transition::{self, Cause, Event},
        update::Update,
    },
    time::UnixTime,
};

/// How many key sets are looked at in one call. A look may cost the parsing of a JWKS, and requests wait for the worker.
const LOOKS: usize = 32;

/// What the engine's parts know when a refresh is planned.
#[derive(Clone, Copy)]
pub(super) struct Situation<'a> {
    pub(super) plan: &'a Plan,
    pub(super) key_sets: &'a KeySets,
    pub(super) waiting: &'a WaitingRoom,
    pub(super) now: UnixTime,
}

/// The refreshes of one worker.
#[derive(Debug)]
pub(super) struct Refreshes {
    due_times: DueTimes,
    /// The providers that the caller was told to bring up to date, in their order.
    handed_out: Vec<ProviderId>,
    /// The same.
    is_handed_out: BTreeSet<ProviderId>,
    /// The fetches of this worker that have not ended.
    running: ProviderMap<Option<u64>>,
}

impl Refreshes {
    pub(super) fn new(plan: &Plan) -> Self {
        let (handed_out, is_handed_out) = Default::default();
        let running = plan.providers.map(|_, _| None);
        Self { due_times: DueTimes::new(plan), handed_out, is_handed_out, running }
    }

    /// The key set needs a look at this time at the latest.
    pub(super) fn hurry(&mut self, provider: ProviderId, at: UnixTime) {
        self.due_times.hurry(provider, at);
    }

    /// Every key set needs a look.
    pub(super) fn hurry_all(&mut self, plan: &Plan, now: UnixTime) {
        plan.remotes().for_each(|(provider, _)| self.due_times.set(provider, now));
    }

    /// Hands out the providers that need a look, these first. The caller brings their records up to date and calls
    /// [`Self::start_due`].
    pub(super) fn hand_out(&mut self, first: BTreeSet<ProviderId>, now: UnixTime) -> Vec<ProviderId> {
        first.into_iter().for_each(|provider| self.hand(provider));
        for _ in 0..LOOKS {
            let Some(provider) = self.due_times.next(now) else { break };
            self.hand(provider);
        }
        self.handed_out.clone()
    }

    fn hand(&mut self, provider: ProviderId) {
        if self.is_handed_out.insert(provider) {
            self.handed_out.push(provider);
        }
    }

    /// The updates that the handed-out providers need now.
    pub(super) fn start_due(&mut self, situation: Situation<'_>) -> Vec<(ProviderId, Update)> {
        let providers = std::mem::take(&mut self.handed_out);
        self.is_handed_out.clear();
        self.due_times.end_promises();
        providers.into_iter().flat_map(|provider| self.look(provider, situation)).collect()
    }

    fn look(&mut self, provider: ProviderId, situation: Situation<'_>) -> Vec<(ProviderId, Update)> {
        let Situation { plan, key_sets, waiting, now } = situation;
        let Some(remote) = plan.remote(provider) else { return Vec::new() };
        let keys = key_sets.of(provider);
        let update = |event| (provider, keys.update_by(event, remote, now));
        let mut updates = Vec::new();
        if let Some(generation) = keys.unreadable {
            updates.push(update(Event::Discard(generation)));
        }
        if let Some(fetch) = self.running_fetch(provider, keys, remote) {
            if self.next_look(provider, situation) <= now {
                updates.push(update(Event::Renew(fetch)));
            }
            self.plan_look(provider, situation);
            return updates;
        }
        let (cause, due) = next_refresh(provider, keys, remote, waiting, now);
        // The first worker to see that the record is lost restores the record, whatever is due.
        if due > now && keys.is_lost {
            updates.push(update(Event::Refresh(cause)));
        } else if due > now {
            self.plan_look(provider, situation);
        } else if self.due_times.has_place(now) {
            self.due_times.start(provider, now);
            updates.push(update(Event::Refresh(cause)));
        } else {
            let rank = if waiting.awaits_any(provider) { Rank::Awaited } else { Rank::Background };
            self.due_times.queue(provider, rank, now);
        }
        updates
    }

    /// Plans the next look at a key set after its record or its waiting requests changed.
    pub(super) fn plan_look(&mut self, provider: ProviderId, situation: Situation<'_>) {
        let at = self.next_look(provider, situation);
        // While requests wait, a lost wake-up must not cost them their time.
        let poll = situation.waiting.awaits_any(provider).then(|| situation.now.plus(ticks::BUSY));
        self.due_times.set(provider, poll.map_or(at, |poll| poll.min(at)));
    }

    /// When the key set needs a look.
    fn next_look(&self, provider: ProviderId, situation: Situation<'_>) -> UnixTime {
        let Situation { plan, key_sets, waiting, now } = situation;
        let Some(remote) = plan.remote(provider) else { return UnixTime::from_millis(u64::MAX) };
        let keys = key_sets.of(provider);
        match (self.running_fetch(provider, keys, remote), keys.record.lease, keys.unreadable) {
            (_, _, Some(_)) => now,
            _ if keys.is_lost => now,
            (Some(_), Some(lease), None) => lease.renewal_due(),
            _ => next_refresh(provider, keys, remote, waiting, now).1,
        }
    }

    /// The number of this worker's running fetch, if its lease can be renewed.
    fn running_fetch(&self, provider: ProviderId, keys: &ProviderKeys, remote: &Remote) -> Option<u64> {
        let fetch = self.running[provider]?;
        transition::is_renewable(&keys.record, fetch, &remote.rotation).then_some(fetch)
    }

    /// An update that wanted a fetch has its result: the number of the fetch that starts, if one does.
    pub(super) fn on_refresh(&mut self, provider: ProviderId, started: Option<u64>) {
        match started {
            Some(fetch) => self.running[provider] = Some(fetch),
            None => self.due_times.end(provider),
        }
    }

    /// Fetch number `fetch`, of this worker, ended. A later fetch of the worker may run by now.
    pub(super) fn on_fetched(&mut self, provider: ProviderId, fetch: u64) {
        if self.running[provider] == Some(fetch) {
            self.running[provider] = None;
            self.due_times.end(provider);
        }
    }

    /// When the next look is due.
    pub(super) fn next_due(&self, now: UnixTime) -> Option<UnixTime> {
        self.due_times.next_at(now)
    }
}

/// The refresh that a key set needs next, and when it may start. While a fetch runs: when its lease ends.
fn next_refresh(
    provider: ProviderId,
    keys: &ProviderKeys,
    remote: &Remote,
    waiting: &WaitingRoom,
    now: UnixTime,
) -> (Cause, UnixTime) {
    let due = |cause| transition::refresh_due(&keys.record, cause, &remote.rotation, now);
    // The record is to be restored, and the JWKS to be fetched, whatever this worker has.
    let schedule = match keys.is_lost && keys.may_refetch(now) {
        true => transition::retry_due(&keys.record, now),
        false => due(Cause::Schedule),
    };
    let mut next = (Cause::Schedule, schedule);
    for cause in [Cause::UnknownKid, Cause::BadSignature] {
        let at = if waiting.awaits(provider, cause) {
            due(cause)
        } else if keys.wants_refresh(cause) {
            // A second look is for those who wait.
            due(cause).max(transition::budget_due(&keys.record, now, &remote.rotation))
        } else {
            continue;
        };
        if at < next.1 {
            next = (cause, at);
        }
    }
    match keys.record.lease {
        Some(lease) if lease.is_held(now) => (next.0, next.1.max(lease.until)),
        _ => next,
    }
}
