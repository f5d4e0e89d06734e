//! The engine: everything that happens goes in as values, with the time; everything to be done comes out as values.
//!
//! A decision is never suspended. A request that has to wait for keys is parked, and the same question is asked again,
//! from the start, whenever the keys of its provider change.

mod action;
mod fetching;
mod refused;
mod view;
mod waiting;

#[cfg(test)]
mod tests;

use std::{cell::Cell, time::Duration};

pub use self::action::{Action, Decision, FetchError, Response};
use self::view::{Verdict, View};
use crate::{
    keys::{life::Cause, KeySet},
    metrics::{Counts, Metric},
    parked::{Parked, StreamId},
    policy::{
        extract::{self, Candidate},
        forward::{self, Edits},
        headers::Headers,
        provider::{KeySource, Plan, Provider, Remote},
        reply::{self, Refusal, Reply},
        rules,
    },
    time::UnixTime,
    token::{
        signature::SignatureCheck,
        verify::{verify, Unverified, Verified},
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
    last_seen: UnixTime,
    counts: Counts,
    /// Tokens that were found in a cache.
    hits: Cell<u32>,
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
                KeySource::Local(keys) => View { keys: Some(keys.clone()), ..View::new(provider.cache) },
                KeySource::Remote(_) => View::new(provider.cache),
            })
            .collect();
        let parked = Parked::new(plan.max_parked_requests);
        let (evicted, last_seen, counts, hits) = Default::default();
        Self { plan, check, views, parked, evicted, last_seen, counts, hits }
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
        self.notice_time(now);
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
            Verdict::Wait(Cause::UnknownKid)
                if self.parked.is_crowded_by(provider) && self.has_refused(provider, &candidates) =>
            {
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

    /// Whether a request that was parked has been let through: only then may its body go on.
    pub fn is_let_through(&self, stream: StreamId) -> bool {
        self.parked.is_let_through(stream)
    }

    /// A stream is gone, whatever became of it.
    pub fn on_stream_end(&mut self, stream: StreamId) {
        self.parked.remove(stream);
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.parked.waiting()
    }

    /// What was counted since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        self.counts.add_many(Metric::CacheHit, self.hits.take());
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
            let (cause, refusal) = match self.verify(view, own, keys, candidate, now) {
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

    /// What was verified before under the same keys needs no second look at its signature.
    fn verify(
        &self,
        view: &View,
        own: &Provider,
        keys: Option<&KeySet>,
        candidate: &Candidate,
        now: UnixTime,
    ) -> Result<Verified, Unverified> {
        let token = candidate.as_bytes();
        let mut cache = view.verified.borrow_mut();
        let known = keys.and_then(|_| cache.get(token));
        match known.map(|verified| verified.still(&own.rules, now)) {
            Some(Ok(verified)) => {
                self.hits.set(self.hits.get().saturating_add(1));
                return Ok(verified);
            }
            Some(Err(_)) => cache.remove(token),
            None => {}
        }
        let verified = verify(token, &own.rules, keys, &self.check, now)?;
        cache.insert(token, verified);
        Ok(verified)
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
        self.views.get(provider.index()).map_or(Duration::ZERO, |view| view.record.retry_at().since(now))
    }

    fn refused(&mut self, refusal: Refusal, realm: &str) -> Reply {
        match refusal {
            Refusal::Token(error) => {
                self.counts.add(Metric::Refused);
                self.counts.add(Metric::RefusedFor(error));
            }
            Refusal::KeysUnavailable(_) | Refusal::TooManyParked => self.counts.add(Metric::Unavailable),
        }
        reply::reply(refusal, realm)
    }
}
