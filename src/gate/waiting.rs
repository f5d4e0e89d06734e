//! The requests that wait: who may, when they are asked about again, and what becomes of them.

use std::time::Duration;

use super::{Action, Gate, Verdict, Waiting};
use crate::{
    keys::life::Cause,
    metrics::Metric,
    parked::{Full, StreamId},
    policy::{extract::Candidate, reply::Refusal},
    time::UnixTime,
    token::{jws, signature::SignatureCheck, ProviderId, TokenError},
};

/// While requests wait, the engine is woken many times a second: a longer gap is a step of the clock.
const LONGEST_GAP: Duration = Duration::from_secs(5);

impl<C: SignatureCheck> Gate<C> {
    /// Keeps the time that each request has left when the clock steps, forwards or backwards.
    pub(super) fn notice_time(&mut self, now: UnixTime) {
        let last = std::mem::replace(&mut self.last_seen, now);
        if now < last || now.since(last) > LONGEST_GAP {
            self.parked.shift(last, now);
        }
    }

    pub(super) fn park(
        &mut self,
        stream: StreamId,
        provider: ProviderId,
        deadline: UnixTime,
        waiting: Waiting,
    ) -> Result<(), Refusal> {
        let cause = waiting.cause;
        match self.parked.park(stream, provider, deadline, waiting) {
            Ok(evicted) => {
                self.counts.add(Metric::Parked);
                if let Some((stream, waiting)) = evicted {
                    let reply = self.refused(without_room(waiting.cause), &waiting.realm);
                    self.evicted.push((stream, reply));
                }
                Ok(())
            }
            Err(Full) => Err(without_room(cause)),
        }
    }

    /// Asks again for the parked requests for whose provider there is news, and for those whose time is up.
    pub(super) fn decide_parked(&mut self, now: UnixTime) -> Vec<Action> {
        self.notice_time(now);
        let mut decided = Vec::new();
        for (stream, provider, deadline, waiting) in self.parked.iter() {
            let late = self.ends_at(provider, deadline, waiting.cause, now) <= now;
            if !late && !self.views.get(provider.index()).is_some_and(|view| view.news) {
                continue;
            }
            let verdict = self.decide(provider, &waiting.candidates, waiting.arrived_after, Some(deadline), now);
            match verdict {
                Verdict::Wait(cause) if late => {
                    decided.push((stream, provider, Verdict::Refuse(self.too_late(provider, cause, now))));
                }
                verdict => decided.push((stream, provider, verdict)),
            }
        }
        for view in &mut self.views {
            view.news = false;
        }
        let evicted = std::mem::take(&mut self.evicted);
        let mut actions: Vec<_> = evicted.into_iter().map(|(stream, reply)| Action::Reply(stream, reply)).collect();
        for (stream, provider, verdict) in decided {
            if let Verdict::Wait(cause) = verdict {
                if let Some(waiting) = self.parked.get_mut(stream) {
                    waiting.cause = cause;
                }
                continue;
            }
            let Some(waiting) = self.parked.answer(stream, matches!(verdict, Verdict::Allow)) else { continue };
            actions.push(match verdict {
                Verdict::Allow => {
                    self.counts.add(Metric::Allowed);
                    Action::Resume(stream, self.edits(provider, &waiting.candidates))
                }
                Verdict::Refuse(refusal) => {
                    self.remember(provider, &waiting.candidates, refusal);
                    Action::Reply(stream, self.refused(refusal, &waiting.realm))
                }
                Verdict::RefuseForNow(refusal) => {
                    self.refuse_for_now(provider, &waiting.candidates, refusal);
                    Action::Reply(stream, self.refused(refusal, &waiting.realm))
                }
                Verdict::Wait(_) => continue,
            });
        }
        actions
    }

    /// When a request stops waiting: at its deadline, or when the refresh that it waits for is over, if that has begun.
    pub(super) fn ends_at(&self, provider: ProviderId, deadline: UnixTime, cause: Cause, now: UnixTime) -> UnixTime {
        let fetching = self.views.get(provider.index()).is_some_and(|view| view.record.is_fetching(now));
        match (cause, self.plan.remote(provider)) {
            (Cause::UnknownKid | Cause::BadSignature, Some(remote)) if fetching => {
                deadline.plus(remote.terms.fetch_timeout)
            }
            _ => deadline,
        }
    }

    /// The refusal of a request that waited for as long as it may.
    fn too_late(&self, provider: ProviderId, cause: Cause, now: UnixTime) -> Refusal {
        match cause {
            Cause::BadSignature => Refusal::Token(TokenError::BadSignature),
            Cause::Schedule | Cause::UnknownKid => Refusal::KeysUnavailable(self.retry_after(provider, now)),
        }
    }

    pub(super) fn refuse_for_now(&mut self, provider: ProviderId, candidates: &[Candidate], refusal: Refusal) {
        self.want_refresh(provider);
        self.remember(provider, candidates, refusal);
    }

    pub(super) fn want_refresh(&mut self, provider: ProviderId) {
        if let Some(view) = self.views.get_mut(provider.index()) {
            view.wanted_after = Some(view.record.started);
        }
    }

    fn remember(&mut self, provider: ProviderId, candidates: &[Candidate], refusal: Refusal) {
        if refusal != Refusal::Token(TokenError::UnknownKey) {
            return;
        }
        if let Some(view) = self.views.get_mut(provider.index()) {
            for kid in candidates.iter().filter_map(kid) {
                view.refused.insert(&kid, view.record.finished);
            }
        }
    }

    pub(super) fn has_refused(&self, provider: ProviderId, candidates: &[Candidate]) -> bool {
        self.views.get(provider.index()).is_some_and(|view| {
            candidates.iter().filter_map(kid).any(|kid| view.refused.contains(&kid, view.record.finished))
        })
    }
}

/// The refusal of a request that would have to wait where there is no room.
fn without_room(cause: Cause) -> Refusal {
    match cause {
        // What we have says no; there was only a chance that the issuer says otherwise.
        Cause::BadSignature => Refusal::Token(TokenError::BadSignature),
        Cause::Schedule | Cause::UnknownKid => Refusal::TooManyParked,
    }
}

/// The `kid` that a token names.
fn kid(candidate: &Candidate) -> Option<String> {
    jws::parse(candidate.as_bytes()).ok()?.kid
}
