//! The engine: everything that happens goes in as values, with the time; everything to be done comes out as values.
//!
//! A decision is never suspended. A request that has to wait for keys is parked, and the same question is asked again,
//! from the start, whenever the keys of its provider change.

mod action;
mod view;

#[cfg(test)]
mod tests;

use std::time::Duration;

use log::{info, warn};

pub use self::action::{Action, Decision, FetchError};
use self::view::{Verdict, View};
use crate::{
    keys::{
        document,
        life::{self, Cause, Effect, Event},
        record::Record,
    },
    metrics::{Counts, Metric},
    parked::{Parked, StreamId},
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
    parked: Parked<Waiting>,
    counts: Counts,
}

/// A parked request: what is needed to decide it again.
#[derive(Debug)]
struct Waiting {
    provider: ProviderId,
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
        Self { plan, check, views, parked, counts: Counts::default() }
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
                self.want_refresh(provider);
                refusal
            }
            Verdict::Wait(cause) => {
                let deadline = now.plus(self.patience(provider, cause));
                let realm = reply::realm(headers);
                let waiting = Waiting { provider, candidates, realm, arrived_after, cause };
                if self.parked.park(stream, deadline, waiting).is_ok() {
                    self.counts.add(Metric::Parked);
                    return Decision::Park;
                }
                Refusal::TooManyParked
            }
        };
        Decision::Reply(self.refused(refusal, &reply::realm(headers)))
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
            Effect::Fetch(fetch) => actions.push(Action::Fetch(provider, fetch)),
            Effect::Settled => {
                self.report(provider, now);
                actions.push(Action::WakeWorkers);
            }
            Effect::Late | Effect::NotBefore(_) | Effect::Running => {}
        }
        actions.append(&mut self.decide_parked(now));
        actions
    }

    /// What came of fetch number `fetch`.
    pub fn on_fetched(
        &mut self,
        provider: ProviderId,
        fetch: u64,
        outcome: Result<Vec<u8>, FetchError>,
    ) -> Vec<Action> {
        let Some((own, remote)) = self.plan.provider(provider).zip(self.plan.remote(provider)) else {
            return Vec::new();
        };
        let outcome = outcome.and_then(|body| match document::parse(&body, remote.terms.limits) {
            Ok(document) => {
                for (place, error) in document.skipped {
                    warn!("provider {:?}: key {place} of the JWKS is skipped: {error}", own.name);
                }
                Ok(body)
            }
            Err(error) => Err(FetchError::Document(error)),
        });
        self.counts.add(if outcome.is_ok() { Metric::FetchSucceeded } else { Metric::FetchFailed });
        if let Some(view) = self.views.get_mut(provider.index()) {
            view.last_error = outcome.as_ref().err().copied();
        }
        vec![Action::Change(provider, Event::Fetched { fetch, body: outcome.ok() })]
    }

    /// Time has passed, or there may be news: ends the parked requests that are due and starts the refreshes that are.
    pub fn on_wake(&mut self, now: UnixTime) -> Vec<Action> {
        let mut actions = self.decide_parked(now);
        for provider in self.plan.remote_ids() {
            if let Some((cause, _)) = self.refresh_wanted(provider, now).filter(|(_, due)| *due <= now) {
                actions.push(Action::Change(provider, Event::Refresh(cause)));
            }
        }
        actions
    }

    /// When [`Self::on_wake`] has something to do, if nothing else happens first.
    pub fn next_timeout(&self, now: UnixTime) -> Option<UnixTime> {
        let deadlines = self.parked.iter().map(|(_, deadline, _)| deadline);
        let refreshes = self.plan.remote_ids().filter_map(|provider| Some(self.refresh_wanted(provider, now)?.1));
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
        let mut answers = Vec::new();
        let mut causes = Vec::new();
        let mut wanted = Vec::new();
        for (stream, deadline, waiting) in self.parked.iter() {
            let late = deadline <= now;
            if !late && !self.views.get(waiting.provider.index()).is_some_and(|view| view.news) {
                continue;
            }
            match self.decide(waiting.provider, &waiting.candidates, waiting.arrived_after, Some(deadline), now) {
                Verdict::Allow => answers.push((stream, Ok(self.edits(waiting.provider, &waiting.candidates)))),
                Verdict::Refuse(refusal) => answers.push((stream, Err((refusal, waiting.realm.clone())))),
                Verdict::RefuseForNow(refusal) => {
                    answers.push((stream, Err((refusal, waiting.realm.clone()))));
                    wanted.push(waiting.provider);
                }
                Verdict::Wait(_) if late => {
                    let refusal = Refusal::KeysUnavailable(self.retry_after(waiting.provider, now));
                    answers.push((stream, Err((refusal, waiting.realm.clone()))));
                }
                Verdict::Wait(cause) if cause != waiting.cause => causes.push((stream, cause)),
                Verdict::Wait(_) => {}
            }
        }
        for view in &mut self.views {
            view.news = false;
        }
        for provider in wanted {
            self.want_refresh(provider);
        }
        for (stream, cause) in causes {
            if let Some(waiting) = self.parked.get_mut(stream) {
                waiting.cause = cause;
            }
        }
        let mut actions = Vec::new();
        for (stream, answer) in answers {
            if !self.parked.answer(stream, answer.is_ok()) {
                continue;
            }
            actions.push(match answer {
                Ok(edits) => {
                    self.counts.add(Metric::Allowed);
                    Action::Resume(stream, edits)
                }
                Err((refusal, realm)) => Action::Reply(stream, self.refused(refusal, &realm)),
            });
        }
        actions
    }

    fn want_refresh(&mut self, provider: ProviderId) {
        if let Some(view) = self.views.get_mut(provider.index()) {
            view.wanted_after = Some(view.record.started);
        }
    }

    /// Which refresh this provider needs next, and when it may start. While one is under way: a look when its lease ends.
    fn refresh_wanted(&self, provider: ProviderId, now: UnixTime) -> Option<(Cause, UnixTime)> {
        let remote = self.plan.remote(provider)?;
        let view = self.views.get(provider.index())?;
        let due = |cause| (cause, life::refresh_due(&view.record, cause, &remote.terms, now));
        let for_unknown_kid = view.wanted_after.is_some()
            || self.parked.iter().any(|(_, _, w)| w.provider == provider && w.cause == Cause::UnknownKid);
        let scheduled = due(Cause::Schedule);
        let next = match for_unknown_kid.then(|| due(Cause::UnknownKid)) {
            Some(unknown) if unknown.1 < scheduled.1 => unknown,
            _ => scheduled,
        };
        match view.record.lease {
            Some(lease) if lease.is_held(now) => Some((next.0, next.1.max(lease.until))),
            _ => Some(next),
        }
    }

    /// How long a request may wait for this cause.
    fn patience(&self, provider: ProviderId, cause: Cause) -> Duration {
        self.plan.remote(provider).map_or(Duration::ZERO, |Remote { terms, .. }| match cause {
            Cause::UnknownKid => terms.unknown_kid_max_wait,
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
            view.see(record, remote.terms.limits);
        }
    }

    /// One line for each fetch that ended: what came back and what happens next.
    fn report(&self, provider: ProviderId, now: UnixTime) {
        let Some((own, view)) = self.plan.provider(provider).zip(self.views.get(provider.index())) else {
            return;
        };
        let keys = view.keys.as_ref().map_or(0, |keys| keys.len());
        match view.last_error {
            None => info!("provider {:?}: fetched a JWKS with {keys} usable keys", own.name),
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
