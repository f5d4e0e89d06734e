//! The engine: everything that happens goes in as values, with the time; everything to be done comes out as values.
//!
//! A decision is never suspended. A request that has to wait for keys is parked, and the same question is asked again,
//! from the start, whenever the keys of its provider change.

mod action;
mod refused;
mod view;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use log::{info, warn};

pub use self::action::{Action, Decision, FetchError, Response};
use self::view::{Verdict, View};
use crate::{
    keys::{
        document, http_cache,
        life::{self, Cause, Effect, Event, Outcome},
        record::Record,
        KeyError,
    },
    metrics::{Counts, Metric},
    parked::{Full, Parked, StreamId},
    policy::{
        extract::{self, Candidate},
        forward::{self, Edits},
        headers::Headers,
        provider::{KeySource, Plan, Remote},
        reply::{self, Refusal, Reply},
        rules,
    },
    time::UnixTime,
    token::{
        jws,
        signature::SignatureCheck,
        verify::{verify, Unverified},
        ProviderId, TokenError,
    },
};

/// One worker's engine for one configuration.
#[derive(Debug)]
pub struct Gate<C> {
    plan: Plan,
    check: C,
    views: Vec<View>,
    parked: Parked<ProviderId, Waiting>,
    /// Parked requests that lost their place to another provider's.
    evicted: Vec<(StreamId, Reply)>,
    counts: Counts,
}

/// A parked request: what is needed to decide it again.
#[derive(Debug)]
struct Waiting {
    candidates: Vec<Candidate>,
    realm: String,
    /// Fetches started before it came. One with a higher number says what the issuer published after that.
    arrived_after: u64,
    cause: Cause,
}

impl<C: SignatureCheck> Gate<C> {
    /// An engine that has seen nothing yet.
    pub fn new(plan: Plan, check: C) -> Self {
        let views = plan
            .providers
            .iter()
            .map(|provider| match &provider.keys {
                KeySource::Local(keys) => View { keys: Some(keys.clone()), ..View::default() },
                KeySource::Remote(_) => View::default(),
            })
            .collect();
        let parked = Parked::new(plan.max_parked_requests);
        Self { plan, check, views, parked, evicted: Vec::new(), counts: Counts::default() }
    }

    /// The configuration.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The version of the provider's shared record that this engine has seen.
    pub fn version(&self, provider: ProviderId) -> u64 {
        self.views.get(provider.index()).map_or(0, |view| view.record.version)
    }

    /// Which provider's tokens a request needs; `None`: it passes as it is. The caller brings that provider's record up
    /// to date ([`Self::on_record`]) before [`Self::on_request`].
    pub fn requirement(&self, headers: Headers<'_>) -> Option<ProviderId> {
        rules::requirement(&self.plan.rules, headers)
    }

    /// Decides a request.
    pub fn on_request(
        &mut self,
        stream: StreamId,
        provider: ProviderId,
        headers: Headers<'_>,
        now: UnixTime,
    ) -> Decision {
        let Some(own) = self.plan.provider(provider) else {
            return Decision::Reply(self.refused(Refusal::KeysUnavailable(Duration::ZERO), ""));
        };
        let candidates = extract::candidates(&own.sources, headers);
        let arrived_after = self.views.get(provider.index()).map_or(0, |view| view.record.started);
        let refusal = match self.decide(provider, &candidates, arrived_after, None, now) {
            Verdict::Allow => {
                self.counts.add(Metric::Allowed);
                return Decision::Continue(self.edits(provider, &candidates));
            }
            Verdict::Refuse(refusal) => refusal,
            Verdict::RefuseForNow(refusal) => {
                self.refuse_for_now(provider, &candidates, refusal);
                refusal
            }
            Verdict::Wait(Cause::UnknownKid) if self.parked.is_crowded() && self.has_refused(provider, &candidates) => {
                self.want_refresh(provider);
                Refusal::Token(TokenError::UnknownKey)
            }
            Verdict::Wait(cause) => {
                let deadline = now.plus(self.patience(provider, cause));
                let waiting = Waiting { candidates, realm: reply::realm(headers), arrived_after, cause };
                match self.park(stream, provider, deadline, waiting) {
                    Ok(()) => return Decision::Park,
                    Err(refusal) => refusal,
                }
            }
        };
        Decision::Reply(self.refused(refusal, &reply::realm(headers)))
    }

    fn park(
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

    /// Whether a request that was parked has been let through: only then may its body go on.
    pub fn is_let_through(&self, stream: StreamId) -> bool {
        self.parked.is_let_through(stream)
    }

    /// A stream is gone, whatever became of it.
    pub fn on_stream_end(&mut self, stream: StreamId) {
        self.parked.remove(stream);
    }

    /// The shared record of a provider, as found in shared data; hostile bytes count as none. What it means for parked
    /// requests follows from the next [`Self::on_wake`].
    pub fn on_record(&mut self, provider: ProviderId, bytes: &[u8]) {
        self.see(provider, Record::decode(bytes).unwrap_or_default());
    }

    /// The outcome of an [`Action::Change`]: the record as it is now, and what follows.
    pub fn on_changed(&mut self, provider: ProviderId, record: Record, effect: Effect, now: UnixTime) -> Vec<Action> {
        self.see(provider, record);
        let mut actions = Vec::new();
        match effect {
            Effect::Fetch(fetch) => {
                let document = self.views.get(provider.index()).and_then(|view| view.record.document.as_ref());
                let validators = document.map(|document| document.validators.clone()).unwrap_or_default();
                actions.push(Action::Fetch(provider, fetch, validators));
            }
            Effect::Settled => {
                self.report(provider, now);
                actions.push(Action::WakeWorkers);
            }
            Effect::Discarded => {
                let name = self.plan.provider(provider).map_or("", |own| &own.name);
                warn!("provider {name:?}: what is in shared data is no JWKS; somebody else wrote it");
                actions.push(Action::WakeWorkers);
            }
            Effect::Late | Effect::NotBefore(_) | Effect::Running => {}
        }
        actions.append(&mut self.decide_parked(now));
        actions
    }

    /// What came of fetch number `fetch`; `jitter` is a random number.
    pub fn on_fetched(
        &mut self,
        provider: ProviderId,
        fetch: u64,
        response: Result<Response, FetchError>,
        jitter: u32,
        now: UnixTime,
    ) -> Vec<Action> {
        let headers = response.as_ref().map(|response| response.headers.clone()).unwrap_or_default();
        let (outcome, error) = match response.and_then(|response| self.outcome(provider, response, now)) {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::Failed { retry_after: http_cache::retry_after(&headers, now) }, Some(error)),
        };
        self.counts.add(if error.is_none() { Metric::FetchSucceeded } else { Metric::FetchFailed });
        if let Some(view) = self.views.get_mut(provider.index()) {
            view.last_error = error;
        }
        vec![Action::Change(provider, Event::Fetched { fetch, outcome, jitter })]
    }

    fn outcome(&mut self, provider: ProviderId, response: Response, now: UnixTime) -> Result<Outcome, FetchError> {
        let Response { status, headers, body } = response;
        let Some((own, remote)) = self.plan.provider(provider).zip(self.plan.remote(provider)) else {
            return Err(FetchError::NotStarted);
        };
        let freshness = http_cache::freshness(&headers, now);
        let view = self.views.get(provider.index());
        match (status, view.and_then(|view| view.record.document.as_ref())) {
            (200, _) => {
                let document = document::parse(&body, remote.terms.limits).map_err(FetchError::Document)?;
                for (place, error) in document.skipped {
                    self.counts.add(Metric::KeySkipped);
                    match error {
                        KeyError::Private => {
                            warn!(
                                "provider {:?}: key {place} of the JWKS is a PRIVATE key, published: skipped",
                                own.name
                            )
                        }
                        _ => warn!("provider {:?}: key {place} of the JWKS is skipped: {error}", own.name),
                    }
                }
                Ok(Outcome::Document { body, freshness, validators: http_cache::validators(&headers) })
            }
            (304, Some(document)) if document.validators != Default::default() => Ok(Outcome::NotModified(freshness)),
            _ => Err(FetchError::Status(status)),
        }
    }

    /// Time has passed, or there may be news: ends the parked requests that are due and starts the refreshes that are.
    pub fn on_wake(&mut self, now: UnixTime) -> Vec<Action> {
        let mut actions = self.decide_parked(now);
        let asked_for = self.asked_for();
        for provider in self.plan.remote_ids() {
            let Some(view) = self.views.get(provider.index()) else { continue };
            if let Some(generation) = view.unreadable {
                actions.push(Action::Change(provider, Event::Discard(generation)));
            }
            match self.refresh_wanted(provider, &asked_for, now) {
                Some((cause, due)) if due <= now => actions.push(Action::Change(provider, Event::Refresh(cause))),
                _ => {}
            }
        }
        actions
    }

    /// When [`Self::on_wake`] has something to do, if nothing else happens first.
    pub fn next_timeout(&self, now: UnixTime) -> Option<UnixTime> {
        if !self.evicted.is_empty() || self.views.iter().any(|view| view.unreadable.is_some()) {
            return Some(now);
        }
        let asked_for = self.asked_for();
        let deadlines = self.parked.iter().map(|(_, _, deadline, _)| deadline);
        let refreshes =
            self.plan.remote_ids().filter_map(|provider| Some(self.refresh_wanted(provider, &asked_for, now)?.1));
        deadlines.chain(refreshes).min()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.parked.waiting()
    }

    /// What was counted since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The question itself, over values only. `deadline` is that of a request parked already.
    fn decide(
        &self,
        provider: ProviderId,
        candidates: &[Candidate],
        arrived_after: u64,
        deadline: Option<UnixTime>,
        now: UnixTime,
    ) -> Verdict {
        let Some((own, view)) = self.plan.provider(provider).zip(self.views.get(provider.index())) else {
            return Verdict::Refuse(Refusal::KeysUnavailable(Duration::ZERO));
        };
        if candidates.is_empty() {
            return Verdict::Refuse(Refusal::Token(TokenError::Missing));
        }
        let terms = self.plan.remote(provider).map(|remote| &remote.terms);
        let keys = view.usable_keys(terms, now);
        let mut verdict = Verdict::Allow;
        for candidate in candidates {
            let (cause, refusal) = match verify(candidate.as_bytes(), &own.claims, keys, &self.check, now) {
                Ok(_verified) => continue,
                Err(Unverified::Refused(error)) => return Verdict::Refuse(Refusal::Token(error)),
                Err(Unverified::NoKeys) => (Cause::Schedule, None),
                Err(Unverified::UnknownKey(error)) => (Cause::UnknownKid, Some(error)),
                Err(Unverified::BadSignature) => (Cause::BadSignature, Some(TokenError::BadSignature)),
            };
            verdict = match terms {
                None => Verdict::Refuse(Refusal::Token(refusal.unwrap_or(TokenError::UnknownKey))),
                Some(terms) => {
                    let until = deadline.unwrap_or_else(|| now.plus(self.patience(provider, cause)));
                    view.without_key(cause, refusal, terms, arrived_after, until, now)
                }
            };
        }
        verdict
    }

    /// Asks again for the parked requests for whose provider there is news, and for those whose time is up.
    fn decide_parked(&mut self, now: UnixTime) -> Vec<Action> {
        let mut decided = Vec::new();
        for (stream, provider, deadline, waiting) in self.parked.iter() {
            let late = deadline <= now;
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

    /// The refusal of a request that waited for as long as it may.
    fn too_late(&self, provider: ProviderId, cause: Cause, now: UnixTime) -> Refusal {
        match cause {
            Cause::BadSignature => Refusal::Token(TokenError::BadSignature),
            Cause::Schedule | Cause::UnknownKid => Refusal::KeysUnavailable(self.retry_after(provider, now)),
        }
    }

    fn refuse_for_now(&mut self, provider: ProviderId, candidates: &[Candidate], refusal: Refusal) {
        self.want_refresh(provider);
        self.remember(provider, candidates, refusal);
    }

    fn want_refresh(&mut self, provider: ProviderId) {
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

    fn has_refused(&self, provider: ProviderId, candidates: &[Candidate]) -> bool {
        self.views.get(provider.index()).is_some_and(|view| {
            candidates.iter().filter_map(kid).any(|kid| view.refused.contains(&kid, view.record.finished))
        })
    }

    /// For which providers requests wait, and why.
    fn asked_for(&self) -> BTreeSet<(ProviderId, Cause)> {
        self.parked.iter().map(|(_, provider, _, waiting)| (provider, waiting.cause)).collect()
    }

    /// Which refresh this provider needs next, and when it may start. While one is under way: a look when its lease ends.
    fn refresh_wanted(
        &self,
        provider: ProviderId,
        asked_for: &BTreeSet<(ProviderId, Cause)>,
        now: UnixTime,
    ) -> Option<(Cause, UnixTime)> {
        let remote = self.plan.remote(provider)?;
        let view = self.views.get(provider.index())?;
        let is_asked_for = |cause| match cause {
            Cause::Schedule => true,
            Cause::UnknownKid => view.wanted_after.is_some() || asked_for.contains(&(provider, cause)),
            Cause::BadSignature => asked_for.contains(&(provider, cause)),
        };
        let (cause, due) = [Cause::Schedule, Cause::UnknownKid, Cause::BadSignature]
            .into_iter()
            .filter(|cause| is_asked_for(*cause))
            .map(|cause| (cause, life::refresh_due(&view.record, cause, &remote.terms, now)))
            .min_by_key(|(_, due)| *due)?;
        match view.record.lease {
            Some(lease) if lease.is_held(now) => Some((cause, due.max(lease.until))),
            _ => Some((cause, due)),
        }
    }

    /// How long a request may wait for this cause.
    fn patience(&self, provider: ProviderId, cause: Cause) -> Duration {
        self.plan.remote(provider).map_or(Duration::ZERO, |Remote { terms, .. }| match cause {
            Cause::UnknownKid | Cause::BadSignature => terms.unknown_kid_max_wait,
            Cause::Schedule => terms.unknown_kid_max_wait.max(terms.fetch_timeout),
        })
    }

    fn edits(&self, provider: ProviderId, candidates: &[Candidate]) -> Edits {
        self.plan
            .provider(provider)
            .map_or_else(Edits::default, |own| forward::edits(&own.sources, candidates, own.forward))
    }

    fn retry_after(&self, provider: ProviderId, now: UnixTime) -> Duration {
        self.views.get(provider.index()).map_or(Duration::ZERO, |view| view.record.retry_at.since(now))
    }

    fn refused(&mut self, refusal: Refusal, realm: &str) -> Reply {
        self.counts.add(match refusal {
            Refusal::Token(_) => Metric::Refused,
            Refusal::KeysUnavailable(_) | Refusal::TooManyParked => Metric::Unavailable,
        });
        reply::reply(refusal, realm)
    }

    fn see(&mut self, provider: ProviderId, record: Record) {
        if let Some((view, remote)) = self.views.get_mut(provider.index()).zip(self.plan.remote(provider)) {
            view.see(record, remote);
        }
    }

    /// One line for each fetch that ended: what came back and what happens next.
    fn report(&self, provider: ProviderId, now: UnixTime) {
        let Some((own, view)) = self.plan.provider(provider).zip(self.views.get(provider.index())) else {
            return;
        };
        let keys = view.keys.as_ref().map_or(0, |keys| keys.len());
        match view.last_error {
            None => info!("provider {:?}: the JWKS has {keys} usable keys", own.name),
            Some(error) => {
                let (failures, wait) = (view.record.failures, view.record.retry_at.since(now).as_millis());
                let age = view.record.document.as_ref().map_or(0, |d| now.since(d.fetched_at).as_secs());
                warn!(
                    "provider {:?}: JWKS fetch failed ({failures} in a row): {error}; next attempt in {wait} ms; {keys} keys in hand, {age} s old",
                    own.name
                );
            }
        }
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
