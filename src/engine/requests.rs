//! Decides requests: those that come, and those that wait.

use std::collections::BTreeMap;

use super::{
    action::{Action, Decision},
    authenticate::{patience, Arrival, Authenticator, Progress, Stage},
    key_sets::KeySets,
    refreshes::{Refreshes, Situation},
    respond::Responder,
    telemetry::Telemetry,
    waiting::{ends_at, ParkedRequest, WaitingRoom},
};
use crate::{
    ids::{ClientId, ProviderId, StreamId},
    metrics::{Counter, Histogram, Metric, RequestOutcome},
    policy::{
        headers::Headers,
        permit::{Clearance, NoAuthRequired},
        plan::{Mode, Plan},
        reply::{self, Denial, Reply},
        requirement::{
            evaluate::{Evaluation, Outcome},
            ResolvedRequirement,
        },
    },
    time::UnixTime,
    token::signature::SignatureCheck,
};

/// How many parked requests are decided in one call, and how many that gave way are answered. Other requests wait for the
/// worker.
const BATCH: usize = 64;
/// How many signatures are checked for parked requests in one call, but for those of the last request.
const CHECKS_PER_CALL: u32 = 64;

/// The parts of an engine that decide requests, at one time.
pub(super) struct Requests<'e, C> {
    pub(super) plan: &'e Plan,
    pub(super) check: &'e C,
    pub(super) key_sets: &'e mut KeySets,
    pub(super) refreshes: &'e mut Refreshes,
    pub(super) waiting: &'e mut WaitingRoom,
    pub(super) evicted: &'e mut BTreeMap<StreamId, Reply>,
    pub(super) telemetry: &'e mut Telemetry,
    pub(super) now: UnixTime,
}

impl<C: SignatureCheck> Requests<'_, C> {
    /// Decides a request that just came.
    pub(super) fn arrive(
        &mut self,
        stream: StreamId,
        resolved: ResolvedRequirement,
        headers: Headers<'_>,
        client: impl FnOnce() -> ClientId,
    ) -> Decision {
        let edits = self.responder().sanitize(headers);
        if resolved.is_satisfied() {
            let is_preflight = self.plan.bypass_cors_preflight && headers.is_cors_preflight();
            let reason = if is_preflight { NoAuthRequired::CorsPreflight } else { NoAuthRequired::NoRequirement };
            return Decision::Continue(edits, reason.into());
        }
        let providers = resolved.providers();
        let mut progress = Progress::new(&providers, self.key_sets, self.now);
        let crowded = self.waiting.crowded_by(&providers);
        let (now, check) = (self.now, self.check);
        let authenticator = Authenticator { plan: self.plan, key_sets: self.key_sets, check, now };
        let arrival = authenticator.evaluate_arrival(&resolved, &mut progress, crowded);
        self.record_evaluation(&resolved, arrival.evaluation());
        match arrival {
            Arrival::Allow(evaluation, clearance) => {
                self.telemetry.allowed(&evaluation);
                let edits = self.responder().forward(edits, &resolved, &evaluation, &clearance, headers.target());
                if evaluation.wants_refresh() {
                    return Decision::ContinueAndWake(edits, clearance);
                }
                Decision::Continue(edits, clearance)
            }
            Arrival::Deny(evaluation, denial) => {
                self.telemetry.denied(self.plan.mode, denial, evaluation.last_denied());
                if self.is_report() {
                    let edits = self.responder().report(edits, denial, &evaluation);
                    return Decision::Continue(edits, NoAuthRequired::ReportMode.into());
                }
                let reply = self.responder().deny(denial, &evaluation, &resolved, &reply::realm(headers));
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
                waits.iter().for_each(|(provider, _)| self.plan_look(provider));
                for (stream, request) in evicted {
                    let denial = self.deny_for_capacity(&request);
                    if self.is_report() {
                        self.waiting.remove(stream);
                    } else {
                        let reply = self.responder().reply(denial, &request.resolved, &request.realm);
                        self.evicted.insert(stream, reply);
                    }
                }
                decision
            }
            Err(request) => {
                let denial = self.deny_for_capacity(&request);
                if self.is_report() {
                    Decision::Continue(request.edits, NoAuthRequired::ReportMode.into())
                } else {
                    Decision::Reply(self.responder().reply(denial, &request.resolved, &request.realm))
                }
            }
        }
    }

    fn deny_for_capacity(&mut self, request: &ParkedRequest) -> Denial {
        self.telemetry.denied(self.plan.mode, request.without_room, Some(request.waits.first.0));
        request.without_room
    }

    /// Decides the parked requests whose keys have changed, and those whose wait is over.
    pub(super) fn decide_parked(&mut self) -> Vec<Action> {
        let now = self.now;
        self.waiting.mark_over(self.plan, self.key_sets, now);
        let evicted = (0..BATCH).map_while(|_| self.evicted.pop_first());
        let mut actions: Vec<_> = evicted.map(|(stream, reply)| Action::Reply(stream, reply)).collect();
        let mut checks = 0_u32;
        for _ in 0..BATCH {
            if checks >= CHECKS_PER_CALL {
                break;
            }
            let Some((stream, evaluation, spent)) = self.evaluate_next() else { break };
            checks = checks.saturating_add(spent);
            match evaluation.outcome() {
                Outcome::Wait(waits) => self.waiting.wait_on(stream, waits),
                Outcome::Allow(clearance) => actions.extend(self.resume(stream, &evaluation, clearance)),
                Outcome::Deny(denial) => actions.extend(self.deny_parked(stream, &evaluation, denial)),
            }
        }
        actions
    }

    fn evaluate_next(&mut self) -> Option<(StreamId, Evaluation, u32)> {
        let (now, check) = (self.now, self.check);
        let authenticator = Authenticator { plan: self.plan, key_sets: self.key_sets, check, now };
        let (stream, deadline, request) = self.waiting.pop_due()?;
        let is_over = ends_at(self.plan, self.key_sets, deadline, &request.waits, now) <= now;
        let stage = Stage::Parked { deadline, is_over };
        let (evaluation, checks) = authenticator.evaluate(&request.resolved, &mut request.progress, stage);
        Some((stream, evaluation, checks))
    }

    /// A parked request is allowed.
    fn resume(&mut self, stream: StreamId, evaluation: &Evaluation, clearance: Clearance) -> Option<Action> {
        let request = self.waiting.answer(stream, true)?;
        self.end_wait(&request, evaluation);
        self.telemetry.allowed(evaluation);
        if self.is_report() {
            self.waiting.remove(stream);
            return None;
        }
        let ParkedRequest { edits, resolved, target, .. } = request;
        let edits = self.responder().forward(edits, &resolved, evaluation, &clearance, &target);
        Some(Action::Resume(stream, edits, clearance))
    }

    /// A parked request is denied.
    fn deny_parked(&mut self, stream: StreamId, evaluation: &Evaluation, denial: Denial) -> Option<Action> {
        let request = self.waiting.answer(stream, false)?;
        self.end_wait(&request, evaluation);
        self.telemetry.denied(self.plan.mode, denial, evaluation.last_denied());
        if self.is_report() {
            self.waiting.remove(stream);
            return None;
        }
        let reply = self.responder().deny(denial, evaluation, &request.resolved, &request.realm);
        Some(Action::Reply(stream, reply))
    }

    fn end_wait(&mut self, request: &ParkedRequest, evaluation: &Evaluation) {
        self.record_evaluation(&request.resolved, evaluation);
        self.telemetry.observe(request.waits.first.0, Histogram::WaitMs, self.now.since(request.since));
    }

    fn is_report(&self) -> bool {
        self.plan.mode == Mode::Report
    }

    fn responder(&self) -> Responder<'_> {
        Responder { plan: self.plan, key_sets: self.key_sets, now: self.now }
    }

    fn plan_look(&mut self, provider: ProviderId) {
        let Self { plan, key_sets, waiting, now, .. } = self;
        self.refreshes.plan_look(provider, Situation { plan, key_sets, waiting, now: *now });
    }

    fn record_evaluation(&mut self, resolved: &ResolvedRequirement, evaluation: &Evaluation) {
        for provider in self.key_sets.record_evaluation(resolved, evaluation, self.telemetry) {
            self.plan_look(provider);
        }
    }
}
