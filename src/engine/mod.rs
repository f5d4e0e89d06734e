//! The engine: everything that happens goes in as values, with the time; everything to be done comes out as values.
//!
//! A decision is never suspended. A request that has to wait for keys is parked, and its requirement is evaluated again, from
//! the start, whenever the keys of its provider change.
//!
//! This file composes the parts and is the only one that sees them all: [`requests`] decides requests, [`authenticate`] checks
//! tokens, [`key_sets`] keeps keys, [`key_log`] tells of them, [`refreshes`] plans fetches, [`fetching`] orders the requests of a fetch,
//! [`waiting`] holds parked requests,
//! [`room`] says whose requests give way and [`turns`] whose come next, [`respond`] makes replies and edits, [`telemetry`]
//! counts, [`gauges`] measures, [`readiness`] tells whether keys have come.

mod action;
mod authenticate;
mod denied_kids;
mod due_times;
mod fetch_error;
mod fetch_outcome;
mod fetch_requests;
mod fetching;
mod gauges;
mod key_log;
mod key_sets;
mod missing_key;
mod parked;
mod pause;
mod provider_keys;
mod readiness;
mod refreshes;
mod requests;
mod respond;
mod room;
mod shares;
mod telemetry;
mod ticks;
mod turns;
mod waiting;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use log::{log, Level};

pub use self::{
    action::{Action, Decision, Response},
    fetch_error::FetchError,
};
use self::{
    key_log::KeyLog,
    key_sets::KeySets,
    readiness::Readiness,
    refreshes::{Refreshes, Situation},
    requests::Requests,
    telemetry::Telemetry,
    waiting::WaitingRoom,
};
pub use crate::{
    ids::{ClientId, ProviderId, StreamId},
    policy::{
        endpoint::{Endpoint, FetchRequest},
        forward::Edits,
        headers::Headers,
        permit::{Clearance, NoAuthRequired, Permit},
        plan::Plan,
        reply::Reply,
        requirement::ResolvedRequirement,
    },
    rotation::{
        http_cache::Validators,
        update::{Applied, Update},
    },
};
use crate::{
    metrics::{Counts, Metric, Series},
    time::UnixTime,
    token::{signature::SignatureCheck, TokenError},
};

/// One worker's engine for one configuration.
#[derive(Debug)]
pub struct Engine<C> {
    plan: Plan,
    check: C,
    key_sets: KeySets,
    key_log: KeyLog,
    readiness: Readiness,
    refreshes: Refreshes,
    waiting: WaitingRoom,
    /// The replies to parked requests that lost their places to others. Their streams are open.
    evicted: BTreeMap<StreamId, Reply>,
    /// Whether the caller was told to wake the worker since [`Engine::on_wake`].
    is_woken: bool,
    telemetry: Telemetry,
}

impl<C: SignatureCheck> Engine<C> {
    /// An engine without keys. `check` checks signatures.
    pub fn new(plan: Plan, check: C) -> Self {
        let (key_sets, refreshes) = (KeySets::new(&plan), Refreshes::new(&plan));
        let waiting = WaitingRoom::new(plan.max_parked_requests);
        let (mut key_log, evicted, is_woken, telemetry): (KeyLog, _, _, _) = Default::default();
        key_log.begin_seeds(&key_sets);
        let readiness = Readiness::new(&plan);
        Self { plan, check, key_sets, key_log, readiness, refreshes, waiting, evicted, is_woken, telemetry }
    }

    /// The configuration.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The version of the provider's shared record that this engine knows.
    pub fn version(&self, provider: ProviderId) -> u64 {
        self.key_sets.of(provider).record.version
    }

    /// What is required of a request. Before [`Self::on_request`], the caller brings the records of the requirement's
    /// providers up to date with [`Self::on_record`].
    pub fn resolve(&mut self, headers: Headers<'_>) -> ResolvedRequirement {
        if self.plan.ready.as_ref().is_some_and(|ready| ready.is_asked_by(headers)) {
            return ResolvedRequirement::of_readiness(self.readiness.records());
        }
        if self.plan.bypass_cors_preflight && headers.is_cors_preflight() {
            self.telemetry.add(Metric::PreflightBypassed);
            return ResolvedRequirement::satisfied();
        }
        match self.plan.routes.requirement(headers) {
            Ok(Some(requirement)) => self.plan.requirements.resolve(requirement, headers),
            Ok(None) => ResolvedRequirement::satisfied(),
            Err(_too_long) => ResolvedRequirement::denied(TokenError::RequestTooLarge),
        }
    }

    /// Decides a request. `client` tells whose request this is; only a request that has to wait needs to know.
    pub fn on_request(
        &mut self,
        stream: StreamId,
        resolved: ResolvedRequirement,
        headers: Headers<'_>,
        client: impl FnOnce() -> ClientId,
        now: UnixTime,
    ) -> Decision {
        self.absorb_clock_step(now);
        if let (Some(_), Some(ready)) = (&resolved.readiness, &self.plan.ready) {
            return Decision::Reply(self.readiness.reply(&self.plan, ready, &self.key_sets, headers, now));
        }
        self.requests(now).arrive(stream, resolved, headers, client)
    }

    /// Whether a parked request has been let through. Only then may its body go on.
    pub fn is_let_through(&self, stream: StreamId) -> bool {
        self.waiting.is_let_through(stream)
    }

    /// The caller could not carry out an [`Action::Resume`]: no part of the request may go on.
    pub fn on_not_resumed(&mut self, stream: StreamId) {
        self.waiting.hold_back(stream);
    }

    /// A stream ended, whatever became of its request.
    pub fn on_stream_end(&mut self, stream: StreamId) {
        self.evicted.remove(&stream);
        self.waiting.remove(stream);
    }

    /// The number of parked requests.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The provider's shared record, as found in shared data. Bytes that are no record count as absent. What the record means
    /// for parked requests follows from the next [`Self::on_wake`].
    pub fn on_record(&mut self, provider: ProviderId, bytes: &[u8], now: UnixTime) {
        // The record may be as of after a step of the clock that the keys at hand do not know of.
        self.absorb_clock_step(now);
        let has_changed = self.key_sets.on_record(&self.plan, provider, bytes, now);
        self.on_change(provider, has_changed, now);
    }

    /// Another worker changed the provider's shared record.
    pub fn on_news(&mut self, provider: ProviderId, now: UnixTime) {
        self.refreshes.hurry(provider, now);
    }

    /// The result of an [`Action::Update`]. What that means for parked requests follows from the next [`Self::on_wake`], which
    /// bounds the work of one turn.
    pub fn on_updated(&mut self, id: ProviderId, update: Box<Update>, applied: Applied, now: UnixTime) -> Vec<Action> {
        self.absorb_clock_step(now);
        if update.cause().is_some() {
            self.refreshes.on_refresh(id, applied.started());
        }
        let (has_changed, action) =
            self.key_sets.on_updated(&self.plan, id, *update, applied, &mut self.telemetry, now);
        self.on_change(id, has_changed, now);
        action.into_iter().collect()
    }

    /// The response to a request of fetch number `fetch`, or why there is none. `jitter` is a random number.
    pub fn on_fetched(
        &mut self,
        provider: ProviderId,
        fetch: u64,
        response: Result<Response, FetchError>,
        jitter: u32,
        now: UnixTime,
    ) -> Vec<Action> {
        self.absorb_clock_step(now);
        let id = (provider, fetch);
        let action = self.key_sets.on_fetched(&self.plan, id, response, jitter, &mut self.telemetry, now);
        if !matches!(action, Some(Action::Fetch(..))) {
            self.refreshes.on_fetched(provider, fetch);
        }
        action.into_iter().collect()
    }

    /// Fetch number `fetch` ends with this configuration, whatever the issuer answers.
    pub fn on_abandoned(&mut self, provider: ProviderId, fetch: u64, now: UnixTime) -> Vec<Action> {
        self.absorb_clock_step(now);
        let update = self.key_sets.on_abandoned(&self.plan, provider, fetch, now);
        update.into_iter().map(|update| Action::Update(provider, Box::new(update))).collect()
    }

    /// The providers whose records the caller brings up to date with [`Self::on_record`] before [`Self::on_wake`]: those that
    /// are due, and those of the requests whose wait may be over. Never more than a few providers at a time, however many
    /// are due.
    pub fn due(&mut self, now: UnixTime) -> Vec<ProviderId> {
        self.absorb_clock_step(now);
        let ending = self.waiting.begin_ending(now);
        self.refreshes.hand_out(ending, now)
    }

    /// Time has passed, or records may have changed: decides the parked requests that are due and starts the refreshes that
    /// are.
    pub fn on_wake(&mut self, now: UnixTime) -> Vec<Action> {
        self.is_woken = false;
        for provider in self.key_sets.take_expired_seeds(now) {
            self.key_log.on_seed_expired(provider, self.key_sets.of(provider));
        }
        let mut actions = self.decide_parked(now);
        let Self { plan, key_sets, refreshes, waiting, .. } = self;
        let updates = refreshes.start_due(Situation { plan, key_sets, waiting, now });
        actions.extend(updates.into_iter().map(|(provider, update)| Action::Update(provider, Box::new(update))));
        actions
    }

    /// When [`Self::on_wake`] has something to do, if nothing else happens before.
    pub fn next_timeout(&self, now: UnixTime) -> Option<UnixTime> {
        if !self.evicted.is_empty() {
            return Some(now);
        }
        self.waiting.next_due(now).into_iter().chain(self.refreshes.next_due(now)).min()
    }

    /// How long after this call [`Self::on_wake`] is to be called at the latest.
    pub fn next_tick(&self, now: UnixTime) -> Duration {
        ticks::next(self.next_timeout(now), self.waiting() > 0, now)
    }

    /// Whether to call [`Self::on_wake`] soon, after a request was parked or wants a refresh. One call is enough for all
    /// requests before the call.
    pub fn wants_wake(&mut self) -> bool {
        !std::mem::replace(&mut self.is_woken, true)
    }

    /// Whether the worker was woken and did not run yet.
    pub fn is_woken(&self) -> bool {
        self.is_woken
    }

    /// How long after a request was parked [`Self::on_wake`] is to be called at the latest.
    pub fn tick_when_parked(&self) -> Duration {
        ticks::BUSY
    }

    /// The counts since this was last called. `rejected` values of shared data were not authentic.
    pub fn take_counts(&mut self, rejected: u32) -> Counts {
        self.telemetry.add_many(Metric::SharedDataRejected, rejected);
        self.telemetry.take(self.key_sets.take_cache_hits())
    }

    /// The gauges of the key sets whose records changed since this was last called. All workers report equal values.
    pub fn take_gauges(&mut self) -> Vec<(Series, u64)> {
        let touched = self.key_sets.take_touched();
        gauges::of(&self.plan, &self.key_sets, touched)
    }

    /// The next [`Self::take_gauges`] has the gauges of all key sets.
    pub fn measure_all(&mut self) {
        self.key_sets.touch_all();
    }

    /// The numbers of parked requests, by the provider whose keys they wait for; none that is zero.
    pub fn parked(&self) -> Vec<(ProviderId, u32)> {
        self.waiting.counts()
    }

    /// Newer configurations of the plugin revoke these keys of the provider.
    pub fn on_revoked_elsewhere(&mut self, provider: ProviderId, names: BTreeSet<String>) {
        if self.key_sets.revoke(&self.plan, provider, names) {
            self.waiting.mark_changed(provider);
        }
    }

    /// The gauges of a configuration that ended.
    pub fn gauges_when_over(&self) -> Vec<(Series, u64)> {
        gauges::when_over(&self.plan)
    }

    /// `since` is the number of the first worker of this configuration. The configurations before this one have logged the keys
    /// that were fetched before.
    pub fn begin_key_log_at(&mut self, since: u64) {
        self.key_log.begin_at(since);
    }

    /// Logs the keys that came and went since this was last called. A newer configuration logs those of providers that are not
    /// `ours`.
    pub fn log_key_changes(&mut self, ours: impl Fn(ProviderId) -> bool) {
        for (provider, change) in self.key_log.take().into_iter().filter(|(provider, _)| ours(*provider)) {
            let level = if change.is_warning() { Level::Warn } else { Level::Info };
            log!(level, "provider {:?}: {change}", self.plan.providers[provider].name);
        }
    }

    /// Another worker logs the keys that came and went until now.
    pub fn leave_key_changes_to_others(&mut self) {
        self.key_log.take();
    }

    fn absorb_clock_step(&mut self, now: UnixTime) {
        if let Some(before) = self.waiting.absorb_clock_step(now) {
            self.key_sets.on_clock_step_back(before, now);
            self.refreshes.hurry_all(&self.plan, now);
        }
    }

    /// The provider's record is another.
    fn on_change(&mut self, provider: ProviderId, changes_verdicts: bool, now: UnixTime) {
        self.readiness.on_change(provider, self.key_sets.of(provider));
        if changes_verdicts {
            self.waiting.mark_changed(provider);
            self.key_log.on_change(provider, self.key_sets.of(provider), now);
        }
        self.plan_look(provider, now);
    }

    fn plan_look(&mut self, provider: ProviderId, now: UnixTime) {
        let Self { plan, key_sets, refreshes, waiting, .. } = self;
        refreshes.plan_look(provider, Situation { plan, key_sets, waiting, now });
    }

    fn decide_parked(&mut self, now: UnixTime) -> Vec<Action> {
        self.absorb_clock_step(now);
        self.requests(now).decide_parked()
    }

    fn requests(&mut self, now: UnixTime) -> Requests<'_, C> {
        let Self { plan, check, key_sets, refreshes, waiting, evicted, telemetry, .. } = self;
        Requests { plan, check, key_sets, refreshes, waiting, evicted, telemetry, now }
    }
}
