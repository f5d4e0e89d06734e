//! The engine: everything that happens goes in as values, with the time; everything to be done comes out as values.
//!
//! A decision is never suspended. A request that has to wait for keys is parked, and its requirement is evaluated again, from
//! the start, whenever the keys of its provider change.
//!
//! This file composes the parts and is the only one that sees them all: [`authenticate`] checks tokens, [`key_sets`] keeps
//! keys, [`refreshes`] plans fetches, [`waiting`] holds parked requests, [`respond`] makes replies and edits, [`telemetry`]
//! counts, [`gauges`] measures.

mod action;
mod authenticate;
mod denied_kids;
mod due_times;
mod gauges;
mod key_sets;
mod parked;
mod provider_keys;
mod refreshes;
mod respond;
mod shares;
mod telemetry;
mod ticks;
mod waiting;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

pub use self::action::{Action, Decision, FetchError, Response};
use self::{
    authenticate::{patience, Arrival, Authenticator, Progress, Stage},
    key_sets::KeySets,
    refreshes::{Refreshes, Situation},
    respond::Responder,
    telemetry::Telemetry,
    waiting::{ends_at, ParkedRequest, WaitingRoom},
};
pub use crate::{
    ids::{ClientId, ProviderId, StreamId},
    policy::{
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
    metrics::{Counter, Counts, Histogram, Metric, RequestOutcome, Series},
    policy::{
        plan::Mode,
        reply::{self, Denial},
        requirement::evaluate::{Evaluation, Outcome},
    },
    time::UnixTime,
    token::{signature::SignatureCheck, TokenError},
};

/// How many parked requests are decided in one call. Other requests wait for the worker.
const BATCH: usize = 64;
/// How many signatures are checked for parked requests in one call, but for those of the last request.
const CHECKS_PER_CALL: u32 = 64;

/// One worker's engine for one configuration.
#[derive(Debug)]
pub struct Engine<C> {
    plan: Plan,
    check: C,
    key_sets: KeySets,
    refreshes: Refreshes,
    waiting: WaitingRoom,
    /// The replies to parked requests that lost their place to another provider's.
    evicted: Vec<Action>,
    telemetry: Telemetry,
}

impl<C: SignatureCheck> Engine<C> {
    /// An engine without keys. `check` checks signatures.
    pub fn new(plan: Plan, check: C) -> Self {
        let (key_sets, refreshes) = (KeySets::new(&plan), Refreshes::new(&plan));
        let waiting = WaitingRoom::new(plan.max_parked_requests);
        Self { plan, check, key_sets, refreshes, waiting, evicted: Vec::new(), telemetry: Telemetry::default() }
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
        let edits = self.responder(now).sanitize(headers);
        if resolved.is_satisfied() {
            let is_preflight = self.plan.bypass_cors_preflight && headers.is_cors_preflight();
            let reason = if is_preflight { NoAuthRequired::CorsPreflight } else { NoAuthRequired::NoRequirement };
            return Decision::Continue(edits, reason.into());
        }
        self.absorb_clock_step(now);
        let providers = resolved.providers();
        let mut progress = Progress::new(&providers, &self.key_sets);
        let crowded = self.waiting.crowded_by(&providers);
        let authenticator = Authenticator { plan: &self.plan, key_sets: &self.key_sets, check: &self.check, now };
        let arrival = authenticator.evaluate_arrival(&resolved, &mut progress, crowded);
        self.record_evaluation(&resolved, arrival.evaluation(), now);
        match arrival {
            Arrival::Allow(evaluation, clearance) => {
                self.telemetry.allowed(&evaluation);
                let edits = self.responder(now).forward(edits, &resolved, &evaluation, &clearance, headers.target());
                if evaluation.wants_refresh() {
                    return Decision::ContinueAndWake(edits, clearance);
                }
                Decision::Continue(edits, clearance)
            }
            Arrival::Deny(evaluation, denial) => {
                self.telemetry.denied(self.plan.mode, denial, evaluation.last_denied());
                if self.is_report() {
                    let edits = self.responder(now).report(edits, denial, &evaluation);
                    return Decision::Continue(edits, NoAuthRequired::ReportMode.into());
                }
                let reply = self.responder(now).deny(denial, &evaluation, &resolved, &reply::realm(headers));
                Decision::Reply(reply)
            }
            Arrival::Wait(_, waits, without_room) => {
                let (realm, target) = (reply::realm(headers), headers.target().to_vec());
                let request =
                    ParkedRequest { realm, target, since: now, progress, waits, without_room, edits, resolved };
                self.park(stream, client(), request)
            }
        }
    }

    /// Parks a request, or denies it for want of room.
    fn park(&mut self, stream: StreamId, client: ClientId, request: ParkedRequest) -> Decision {
        let (now, waits) = (request.since, request.waits.clone());
        let patience = waits
            .iter()
            .filter_map(|(provider, cause)| self.plan.remote(provider).map(|remote| patience(&remote.rotation, cause)));
        let deadline = now.plus(patience.max().unwrap_or_default());
        let decision = if self.is_report() {
            Decision::ContinueAndWake(request.edits.clone(), NoAuthRequired::ReportMode.into())
        } else {
            Decision::Park
        };
        match self.waiting.park(stream, client, deadline, request) {
            Ok(evicted) => {
                self.telemetry.add(Metric::Parked);
                self.telemetry.add_of(waits.first.0, Counter::Requests(RequestOutcome::Parked));
                waits.iter().for_each(|(provider, _)| self.plan_look(provider, now));
                if let Some((stream, request)) = evicted {
                    let denial = self.deny_for_capacity(&request);
                    if self.is_report() {
                        self.waiting.remove(stream);
                    } else {
                        let reply = self.responder(now).reply(denial, &request.resolved, &request.realm);
                        self.evicted.push(Action::Reply(stream, reply));
                    }
                }
                decision
            }
            Err(request) => {
                let denial = self.deny_for_capacity(&request);
                if self.is_report() {
                    Decision::Continue(request.edits, NoAuthRequired::ReportMode.into())
                } else {
                    Decision::Reply(self.responder(now).reply(denial, &request.resolved, &request.realm))
                }
            }
        }
    }

    fn deny_for_capacity(&mut self, request: &ParkedRequest) -> Denial {
        self.telemetry.denied(self.plan.mode, request.without_room, Some(request.waits.first.0));
        request.without_room
    }

    /// Whether a parked request has been let through. Only then may its body go on.
    pub fn is_let_through(&self, stream: StreamId) -> bool {
        self.waiting.is_let_through(stream)
    }

    /// A stream ended, whatever became of its request.
    pub fn on_stream_end(&mut self, stream: StreamId) {
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

    /// The result of an [`Action::Update`].
    pub fn on_updated(&mut self, id: ProviderId, update: Box<Update>, applied: Applied, now: UnixTime) -> Vec<Action> {
        self.absorb_clock_step(now);
        if update.cause().is_some() {
            self.refreshes.on_refresh(id, applied.started());
        }
        let (has_changed, action) =
            self.key_sets.on_updated(&self.plan, id, *update, applied, &mut self.telemetry, now);
        self.on_change(id, has_changed, now);
        action.into_iter().chain(self.decide_parked(now)).collect()
    }

    /// The response to fetch number `fetch`, or why there is none. `jitter` is a random number.
    pub fn on_fetched(
        &mut self,
        provider: ProviderId,
        fetch: u64,
        response: Result<Response, FetchError>,
        jitter: u32,
        now: UnixTime,
    ) -> Vec<Action> {
        self.absorb_clock_step(now);
        self.refreshes.on_fetched(provider);
        let fetch = (provider, fetch);
        let update = self.key_sets.on_fetched(&self.plan, fetch, response, jitter, &mut self.telemetry, now);
        update.into_iter().map(|update| Action::Update(provider, Box::new(update))).collect()
    }

    /// The providers whose records the caller brings up to date with [`Self::on_record`] before [`Self::on_wake`]: those that
    /// are due, and those of the requests whose wait may be over. Never more than a few providers at a time, however many
    /// are due.
    pub fn due(&mut self, now: UnixTime) -> Vec<ProviderId> {
        self.absorb_clock_step(now);
        let ending = self.waiting.ending(now).collect();
        self.refreshes.hand_out(ending, now)
    }

    /// Time has passed, or records may have changed: decides the parked requests that are due and starts the refreshes that
    /// are.
    pub fn on_wake(&mut self, now: UnixTime) -> Vec<Action> {
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

    /// The same after a request was parked.
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
        self.key_sets.revoke(&self.plan, provider, names);
    }

    /// The gauges of a configuration that ended.
    pub fn gauges_when_over(&self) -> Vec<(Series, u64)> {
        gauges::when_over(&self.plan)
    }

    /// Logs the revoked keys that the provider has in hand.
    pub fn log_revoked(&self, provider: ProviderId) {
        self.key_sets.log_revoked(&self.plan, provider);
    }

    fn absorb_clock_step(&mut self, now: UnixTime) {
        if let Some(before) = self.waiting.absorb_clock_step(now) {
            self.key_sets.on_clock_step_back(before, now);
            self.refreshes.hurry_all(&self.plan, now);
        }
    }

    /// The provider's record is another.
    fn on_change(&mut self, provider: ProviderId, changes_verdicts: bool, now: UnixTime) {
        if changes_verdicts {
            self.waiting.mark_changed(provider);
        }
        self.plan_look(provider, now);
    }

    fn plan_look(&mut self, provider: ProviderId, now: UnixTime) {
        let Self { plan, key_sets, refreshes, waiting, .. } = self;
        refreshes.plan_look(provider, Situation { plan, key_sets, waiting, now });
    }

    fn record_evaluation(&mut self, resolved: &ResolvedRequirement, evaluation: &Evaluation, now: UnixTime) {
        for provider in self.key_sets.record_evaluation(resolved, evaluation, &mut self.telemetry) {
            self.plan_look(provider, now);
        }
    }

    /// Decides the parked requests whose keys have changed, and those whose wait is over.
    fn decide_parked(&mut self, now: UnixTime) -> Vec<Action> {
        self.absorb_clock_step(now);
        self.waiting.mark_over(&self.plan, &self.key_sets, now);
        let mut actions = std::mem::take(&mut self.evicted);
        let mut checks = 0_u32;
        for _ in 0..BATCH {
            if checks >= CHECKS_PER_CALL {
                break;
            }
            let Some((stream, evaluation, spent)) = self.evaluate_next(now) else { break };
            checks = checks.saturating_add(spent);
            match evaluation.outcome() {
                Outcome::Wait(waits) => self.waiting.wait_on(stream, waits),
                Outcome::Allow(clearance) => actions.extend(self.resume(stream, &evaluation, clearance, now)),
                Outcome::Deny(denial) => actions.extend(self.deny_parked(stream, &evaluation, denial, now)),
            }
        }
        actions
    }

    fn evaluate_next(&mut self, now: UnixTime) -> Option<(StreamId, Evaluation, u32)> {
        let authenticator = Authenticator { plan: &self.plan, key_sets: &self.key_sets, check: &self.check, now };
        let (stream, deadline, request) = self.waiting.pop_due()?;
        let is_over = ends_at(&self.plan, &self.key_sets, deadline, &request.waits, now) <= now;
        let stage = Stage::Parked { deadline, is_over };
        let (evaluation, checks) = authenticator.evaluate(&request.resolved, &mut request.progress, stage);
        Some((stream, evaluation, checks))
    }

    /// A parked request is allowed.
    fn resume(
        &mut self,
        stream: StreamId,
        evaluation: &Evaluation,
        clearance: Clearance,
        now: UnixTime,
    ) -> Option<Action> {
        let request = self.waiting.answer(stream, true)?;
        self.end_wait(&request, evaluation, now);
        self.telemetry.allowed(evaluation);
        if self.is_report() {
            self.waiting.remove(stream);
            return None;
        }
        let ParkedRequest { edits, resolved, target, .. } = request;
        let edits = self.responder(now).forward(edits, &resolved, evaluation, &clearance, &target);
        Some(Action::Resume(stream, edits, clearance))
    }

    /// A parked request is denied.
    fn deny_parked(
        &mut self,
        stream: StreamId,
        evaluation: &Evaluation,
        denial: Denial,
        now: UnixTime,
    ) -> Option<Action> {
        let request = self.waiting.answer(stream, false)?;
        self.end_wait(&request, evaluation, now);
        self.telemetry.denied(self.plan.mode, denial, evaluation.last_denied());
        if self.is_report() {
            self.waiting.remove(stream);
            return None;
        }
        let reply = self.responder(now).deny(denial, evaluation, &request.resolved, &request.realm);
        Some(Action::Reply(stream, reply))
    }

    fn end_wait(&mut self, request: &ParkedRequest, evaluation: &Evaluation, now: UnixTime) {
        self.record_evaluation(&request.resolved, evaluation, now);
        self.telemetry.observe(request.waits.first.0, Histogram::WaitMs, now.since(request.since));
    }

    fn is_report(&self) -> bool {
        self.plan.mode == Mode::Report
    }

    fn responder(&self, now: UnixTime) -> Responder<'_> {
        Responder { plan: &self.plan, key_sets: &self.key_sets, now }
    }
}
