//! The requests that wait: who may, when they are asked about again, and what becomes of them.

use std::time::Duration;

use super::{
    authenticate::{Deadline, Evaluation, FetchWatermark, Verdict},
    Action, Decision, Engine,
};
use crate::{
    engine::parked::{Full, StreamId},
    metrics::Metric,
    policy::{forward::Edits, reply::Denial, requirement::ResolvedRequirement, token_location::Candidate},
    rotation::transition::{self, Cause},
    time::UnixTime,
    token::{jws, signature::SignatureCheck, ProviderId, TokenError},
};

/// While requests wait, the engine is woken many times a second: a longer gap is a step of the clock.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// More than these are not decided in one go: each may cost several signature checks, and other requests wait for the worker.
const AT_A_TIME: usize = 64;

/// A parked request: what is needed to decide it again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) question: ResolvedRequirement,
    pub(super) realm: String,
    pub(super) target: Vec<u8>,
    pub(super) since: UnixTime,
    pub(super) arrived: FetchWatermark,
    pub(super) waits: Vec<(ProviderId, Cause)>,
    /// The request itself went on already: this is only to be counted.
    pub(super) is_shadow: bool,
    /// What changes in it in any case.
    pub(super) edits: Edits,
}

impl<C: SignatureCheck> Engine<C> {
    /// Keeps the time that each request has left when the clock steps, forwards or backwards, and what is over of a key's
    /// grace.
    pub(super) fn absorb_clock_step(&mut self, now: UnixTime) {
        let last = std::mem::replace(&mut self.last_seen, now);
        if now < last || now.since(last) > LONGEST_GAP {
            self.parked.shift(last, now);
        }
        if now < last {
            self.views.iter_mut().for_each(|view| view.forget_ended(last));
        }
    }

    /// Parks a request, or what it will be counted by.
    ///
    /// # Errors
    /// There is no room: it is refused so.
    pub(super) fn wait(
        &mut self,
        stream: StreamId,
        group: ProviderId,
        deadline: UnixTime,
        waiting: Waiting,
    ) -> Result<Decision, (Denial, Box<Waiting>)> {
        let decision = if waiting.is_shadow { Decision::Shadow(waiting.edits.clone()) } else { Decision::Park };
        match self.parked.park(stream, group, deadline, waiting) {
            Ok(evicted) => {
                self.counts.add(Metric::Parked);
                self.counts.add_of(group, "requests", "parked");
                if let Some((stream, waiting)) = evicted {
                    let refusal = self.has_no_room(&waiting);
                    if waiting.is_shadow {
                        self.count_would_deny(Edits::default(), refusal);
                        self.parked.remove(stream);
                    } else {
                        let reply = self.refused(refusal, &waiting.question, &waiting.realm);
                        self.evicted.push((stream, reply));
                    }
                }
                Ok(decision)
            }
            Err(Full(waiting)) => Err((self.has_no_room(&waiting), Box::new(waiting))),
        }
    }

    fn has_no_room(&mut self, waiting: &Waiting) -> Denial {
        let first = waiting.waits.first();
        let refusal = capacity_denial(first.map_or(Cause::Schedule, |(_, cause)| *cause));
        let family = if waiting.is_shadow { "would_deny" } else { "requests" };
        self.count_of(first.map(|(provider, _)| *provider), family, refusal.reason());
        refusal
    }

    /// Asks again for the parked requests for whose providers there is news, and for those whose time is up.
    pub(super) fn decide_parked(&mut self, now: UnixTime) -> Vec<Action> {
        self.absorb_clock_step(now);
        for (stream, deadline, waiting) in self.parked.iter() {
            let is_news =
                |(provider, _): &(ProviderId, Cause)| self.views.get(provider.index()).is_some_and(|view| view.news);
            if self.ends_at(deadline, waiting, now) <= now || waiting.waits.iter().any(is_news) {
                self.due.insert(stream);
            }
        }
        for view in &mut self.views {
            view.news = false;
        }
        let mut answers = Vec::new();
        while answers.len() < AT_A_TIME {
            let Some(stream) = self.due.pop_first() else { break };
            let Some((deadline, waiting)) = self.parked.get(stream) else { continue };
            let deadline = Deadline { at: deadline, is_over: self.ends_at(deadline, waiting, now) <= now };
            answers.push((stream, self.answer(&waiting.question, &waiting.arrived, Some(deadline), now)));
        }
        let evicted = std::mem::take(&mut self.evicted);
        let mut actions: Vec<_> = evicted.into_iter().map(|(stream, reply)| Action::Reply(stream, reply)).collect();
        for (stream, answer) in answers {
            if answer.verdict == Verdict::Wait {
                if let Some(waiting) = self.parked.get_mut(stream) {
                    waiting.waits = answer.waits;
                }
                continue;
            }
            let Some(waiting) = self.parked.answer(stream, answer.verdict == Verdict::Allow) else { continue };
            self.note(&waiting.question, &answer);
            if let Some((provider, _)) = waiting.waits.first() {
                let millis = u64::try_from(now.since(waiting.since).as_millis()).unwrap_or(u64::MAX);
                self.counts.took(*provider, "wait_ms", millis);
            }
            match answer.verdict {
                Verdict::Allow => self.count_allowed(&answer),
                Verdict::Refuse(refusal) if waiting.is_shadow => {
                    self.count_of(answer.last_denied(), "would_deny", refusal.reason());
                    self.count_would_deny(Edits::default(), refusal);
                }
                Verdict::Refuse(refusal) => self.count_of(answer.last_denied(), "requests", refusal.reason()),
                Verdict::Wait => {}
            }
            if waiting.is_shadow {
                self.parked.remove(stream);
                continue;
            }
            actions.push(match answer.verdict {
                Verdict::Allow => {
                    let edits = self.passed_on(waiting.edits, &waiting.question, &answer, &waiting.target, now);
                    Action::Resume(stream, edits)
                }
                Verdict::Refuse(refusal) => {
                    let reply = self.refused(refusal, &waiting.question, &waiting.realm);
                    Action::Reply(stream, self.explained(reply, &answer, refusal, now))
                }
                Verdict::Wait => continue,
            });
        }
        actions
    }

    /// When a request stops waiting: at its deadline; where the refresh that it was promised has not ended by then, one fetch
    /// timeout later. A refresh is promised if it is due by the deadline, however late this worker comes to start it.
    pub(super) fn ends_at(&self, deadline: UnixTime, waiting: &Waiting, now: UnixTime) -> UnixTime {
        let promised = waiting.waits.iter().filter_map(|(provider, cause)| {
            let record = &self.views.get(provider.index())?.record;
            let terms = &self.plan.remote(*provider)?.terms;
            let is_promised =
                record.is_fetching(now) || transition::refresh_due(record, *cause, terms, now) <= deadline;
            (is_promised && *cause != Cause::Schedule).then_some(terms.fetch_timeout)
        });
        deadline.plus(promised.max().unwrap_or_default())
    }

    /// The refusal of a request that waited for as long as it may.
    pub(super) fn deadline_denial(&self, provider: ProviderId, cause: Cause, now: UnixTime) -> Denial {
        match cause {
            Cause::BadSignature => Denial::Token(TokenError::BadSignature),
            Cause::Schedule | Cause::UnknownKid => Denial::KeysUnavailable(self.retry_after(provider, now)),
        }
    }

    /// Remembers what an answer was for want of a key, and has the issuer asked again where that was too early.
    pub(super) fn note(&mut self, question: &ResolvedRequirement, answer: &Evaluation) {
        for provider in &answer.wanted {
            self.counts.add_of(*provider, "refreshes", "suppressed");
            if let Some(view) = self.views.get_mut(provider.index()) {
                view.wanted_after = Some(view.record.started);
            }
        }
        for (provider, token, refusal) in &answer.keyless {
            let kid = question.tokens.get(*token).and_then(kid);
            let view = self.views.get_mut(provider.index());
            if let (Some(view), Some(kid), Denial::Token(TokenError::UnknownKey)) = (view, kid, *refusal) {
                view.refused.insert(&kid, view.record.finished);
            }
        }
    }

    pub(super) fn has_refused(&self, provider: ProviderId, candidate: &Candidate) -> bool {
        self.views
            .get(provider.index())
            .is_some_and(|view| kid(candidate).is_some_and(|kid| view.refused.contains(&kid, view.record.finished)))
    }
}

/// The refusal of a request that would have to wait where there is no room.
fn capacity_denial(cause: Cause) -> Denial {
    match cause {
        // What we have says no; there was only a chance that the issuer says otherwise.
        Cause::BadSignature => Denial::Token(TokenError::BadSignature),
        Cause::Schedule | Cause::UnknownKid => Denial::TooManyParked,
    }
}

/// The `kid` that a token names.
fn kid(candidate: &Candidate) -> Option<String> {
    jws::parse(&candidate.token).ok()?.kid
}
