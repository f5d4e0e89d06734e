//! The engine: everything that happens goes in as values, with the time; everything to be done comes out as values.
//!
//! A decision is never suspended. A request that has to wait for keys is parked, and the same question is asked again,
//! from the start, whenever the keys of its provider change.

mod action;
mod authenticate;
mod denied_kids;
mod key_sets;
pub mod parked;
mod provider_keys;
mod waiting;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

pub use self::action::{Action, Decision, FetchError, Response};
use self::{
    authenticate::{Evaluation, Verdict},
    parked::{Parked, StreamId},
    provider_keys::View,
    waiting::Waiting,
};
use crate::{
    metrics::{Counts, Metric, Series},
    policy::{
        forward::Edits,
        headers::Headers,
        provider::{Mode, Plan},
        reply::{self, Denial, Reply},
        requirement::ResolvedRequirement,
    },
    rotation::schedule,
    time::UnixTime,
    token::{signature::SignatureCheck, ProviderId, TokenError},
};

/// One worker's engine for one configuration.
#[derive(Debug)]
pub struct Engine<C> {
    plan: Plan,
    check: C,
    views: Vec<View>,
    parked: Parked<ProviderId, Waiting>,
    /// Parked requests that lost their place to another provider's.
    evicted: Vec<(StreamId, Reply)>,
    /// Parked requests that are to be decided again.
    due: BTreeSet<StreamId>,
    last_seen: UnixTime,
    counts: Counts,
}

impl<C: SignatureCheck> Engine<C> {
    /// An engine that has seen nothing yet.
    pub fn new(plan: Plan, check: C) -> Self {
        let views = plan.providers.iter().map(View::new).collect();
        let parked = Parked::new(plan.max_parked_requests);
        let (evicted, due, last_seen, counts) = Default::default();
        Self { plan, check, views, parked, evicted, due, last_seen, counts }
    }

    /// The configuration.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The version of the provider's shared record that this engine has seen.
    pub fn version(&self, provider: ProviderId) -> u64 {
        self.views.get(provider.index()).map_or(0, |view| view.record.version)
    }

    /// What is asked of a request. The caller brings the records of the question's providers up to date
    /// ([`Self::on_record`]) before [`Self::on_request`].
    pub fn question(&mut self, headers: Headers<'_>) -> ResolvedRequirement {
        if self.plan.bypass_cors_preflight && headers.is_cors_preflight() {
            self.counts.add(Metric::PreflightBypassed);
            return ResolvedRequirement::none();
        }
        match self.plan.rules.requirement(headers) {
            Some(requirement) => self.plan.requirements.question(requirement, headers),
            None => ResolvedRequirement::none(),
        }
    }

    /// Decides a request.
    pub fn on_request(
        &mut self,
        stream: StreamId,
        question: ResolvedRequirement,
        headers: Headers<'_>,
        now: UnixTime,
    ) -> Decision {
        let edits = Edits::sanitizing(&self.plan.own_headers, headers);
        if question.is_satisfied() {
            return Decision::Continue(edits);
        }
        self.absorb_clock_step(now);
        let arrived = question.providers().into_iter().map(|provider| (provider, self.started(provider))).collect();
        let answer = self.answer(&question, &arrived, None, now);
        self.note(&question, &answer);
        match (answer.verdict, self.plan.mode) {
            (Verdict::Allow, _) => {
                self.count_allowed(&answer);
                Decision::Continue(self.passed_on(edits, &question, &answer, headers.target(), now))
            }
            (Verdict::Refuse(refusal), Mode::Enforce) => {
                self.count_of(answer.last_denied(), "requests", refusal.reason());
                let reply = self.refused(refusal, &question, &reply::realm(headers));
                Decision::Reply(self.explained(reply, &answer, refusal, now))
            }
            (Verdict::Refuse(refusal), Mode::Report) => {
                self.count_of(answer.last_denied(), "would_deny", refusal.reason());
                let mut edits = self.count_would_deny(edits, refusal);
                edits.state.extend(self.failures(&answer));
                edits.state.extend(self.reasons("would_deny", refusal.reason(), answer.last_denied(), now));
                Decision::Continue(edits)
            }
            (Verdict::Wait, mode) => {
                let Some(wait) = answer.waits.first() else {
                    let refusal = Denial::KeysUnavailable(Duration::ZERO);
                    return Decision::Reply(self.refused(refusal, &question, &reply::realm(headers)));
                };
                let group = wait.0;
                let patience = answer.waits.iter().map(|(provider, cause)| self.patience(*provider, *cause)).max();
                let waiting = Waiting {
                    realm: reply::realm(headers),
                    target: headers.target().to_vec(),
                    since: now,
                    arrived,
                    waits: answer.waits,
                    is_shadow: mode == Mode::Report,
                    edits: edits.clone(),
                    question,
                };
                self.wait(stream, group, now.plus(patience.unwrap_or_default()), waiting).unwrap_or_else(
                    |(refusal, waiting)| match mode {
                        Mode::Enforce => Decision::Reply(self.refused(refusal, &waiting.question, &waiting.realm)),
                        Mode::Report => Decision::Continue(self.count_would_deny(edits, refusal)),
                    },
                )
            }
        }
    }

    /// Whether a request that was parked has been let through: only then may its body go on.
    pub fn is_let_through(&self, stream: StreamId) -> bool {
        self.parked.is_let_through(stream)
    }

    /// A stream is gone, whatever became of it.
    pub fn on_stream_end(&mut self, stream: StreamId) {
        self.parked.remove(stream);
        self.due.remove(&stream);
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.parked.waiting()
    }

    /// How many of them wait for this provider's keys.
    pub fn waiting_for(&self, provider: ProviderId) -> usize {
        self.parked.waiting_of(provider)
    }

    /// What was counted since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        for (place, view) in self.views.iter().enumerate() {
            let hits = view.hits.take();
            if hits > 0 {
                self.counts.add_many(Metric::CacheHit, hits);
                self.counts.add_many_of(ProviderId::new(place), "cache_hits", "", hits);
            }
        }
        std::mem::take(&mut self.counts)
    }

    fn count_of(&mut self, provider: Option<ProviderId>, family: &'static str, value: &'static str) {
        if let Some(provider) = provider {
            self.counts.add_of(provider, family, value);
        }
    }

    fn count_allowed(&mut self, answer: &Evaluation) {
        self.counts.add(Metric::Allowed);
        for (lane, _) in &answer.good {
            self.counts.add_of(lane.provider, "requests", "allowed");
        }
        for provider in &answer.by_retired_keys {
            self.counts.add_of(*provider, "requests", "allowed_by_retired_key");
        }
    }

    /// What each remote provider's key set is like now: a number for each gauge of [`GAUGES`]. The same from whichever
    /// worker it comes.
    pub fn gauges(&self, now: UnixTime) -> Vec<(Series, u64)> {
        let mut gauges = Vec::new();
        for provider in self.plan.remote_ids() {
            let Some((view, remote)) = self.views.get(provider.index()).zip(self.plan.remote(provider)) else {
                continue;
            };
            let document = view.record.document.as_ref();
            let since = |time: Option<UnixTime>| time.map_or(0, |time| now.since(time).as_secs());
            let until = |time: Option<UnixTime>| time.map_or(0, |time| time.since(now).as_secs());
            let expires = document.map(|document| schedule::expires_at(document, &remote.terms));
            let ends = document.map(|d| schedule::unusable_at(d.fetched_at, &d.freshness, &remote.terms));
            let usable = view.usable_keys(Some(&remote.terms), now);
            let values = [
                usable.map_or(0, |keys| keys.len() as u64),
                u64::from(usable.is_some()),
                since(document.map(|document| document.fetched_at)),
                until(expires),
                since(expires),
                until(ends).min(LONGEST),
                u64::from(view.record.failures),
                since(document.map(|document| document.rotated_at)),
                document.map_or(0, |document| document.generation),
                1,
            ];
            let named = GAUGES.into_iter().zip(values);
            gauges.extend(named.map(|(family, value)| (Series { provider, family, value: "" }, value)));
        }
        gauges
    }

    /// The same of a configuration that is over: a stat stays in Envoy, and what it said last would keep an alert alive.
    pub fn gauges_when_over(&self) -> Vec<(Series, u64)> {
        let of = |provider| GAUGES.into_iter().map(move |family| (Series { provider, family, value: "" }, 0));
        self.plan.remote_ids().flat_map(of).collect()
    }

    /// The newest fetch of this provider's keys that has begun.
    fn started(&self, provider: ProviderId) -> u64 {
        self.views.get(provider.index()).map_or(0, |view| view.record.started)
    }

    fn retry_after(&self, provider: ProviderId, now: UnixTime) -> Duration {
        self.views.get(provider.index()).map_or(Duration::ZERO, |view| view.record.retry_at().since(now))
    }

    fn refused(&mut self, refusal: Denial, question: &ResolvedRequirement, realm: &str) -> Reply {
        match refusal {
            Denial::Token(error) => {
                self.counts.add(Metric::Refused);
                self.counts.add(Metric::DeniedFor(error.kind()));
            }
            Denial::KeysUnavailable(_) | Denial::TooManyParked => self.counts.add(Metric::Unavailable),
        }
        let scopes = match refusal {
            Denial::Token(TokenError::InsufficientScope) => self.scopes(question),
            _ => Vec::new(),
        };
        reply::reply(refusal, &self.plan.style, reply::ChallengeContext { realm, scopes: &scopes })
    }

    /// The scopes that any of the question's providers requires.
    fn scopes(&self, question: &ResolvedRequirement) -> Vec<String> {
        let providers = question.providers();
        let providers = providers.iter().filter_map(|provider| self.plan.provider(*provider)?.rules.first());
        let mut scopes = Vec::new();
        for scope in providers.flat_map(|rules| &rules.scopes) {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        scopes
    }

    /// Counts what enforcing would have refused.
    fn count_would_deny(&mut self, edits: Edits, refusal: Denial) -> Edits {
        match refusal {
            Denial::Token(error) => {
                self.counts.add(Metric::WouldDeny);
                self.counts.add(Metric::WouldDenyFor(error.kind()));
            }
            Denial::KeysUnavailable(_) | Denial::TooManyParked => self.counts.add(Metric::WouldBeUnavailable),
        }
        edits
    }

    /// The reply, and in the filter state why.
    fn explained(&self, mut reply: Reply, answer: &Evaluation, refusal: Denial, now: UnixTime) -> Reply {
        reply.state.extend(self.failures(answer));
        let decision = match refusal {
            Denial::Token(_) => "denied",
            Denial::KeysUnavailable(_) | Denial::TooManyParked => "unavailable",
        };
        reply.state.extend(self.reasons(decision, refusal.reason(), answer.last_denied(), now));
        reply
    }

    /// Filter state for access logs and other filters: what was decided, why, and by which keys.
    fn reasons(
        &self,
        decision: &str,
        reason: &str,
        provider: Option<ProviderId>,
        now: UnixTime,
    ) -> Vec<(String, Vec<u8>)> {
        let mut state = vec![("decision", decision.to_owned()), ("reason", reason.to_owned())];
        if let Some((id, own)) = provider.and_then(|id| Some((id, self.plan.provider(id)?))) {
            state.push(("provider", own.name.clone()));
            let document = self.views.get(id.index()).and_then(|view| view.record.document.as_ref());
            if let Some(document) = document {
                state.push(("key_set_generation", document.generation.to_string()));
                state.push(("key_set_age", now.since(document.fetched_at).as_secs().to_string()));
            }
        }
        // An access log writes a dash for what is not there, and nothing for what is empty.
        state.retain(|(_, value)| !value.is_empty());
        let named = |(name, value): (&str, String)| (format!("{}.{name}", reply::OWN_STATE), value.into_bytes());
        state.into_iter().map(named).collect()
    }
}

/// What there is to know of a key set; in seconds where it is a time.
pub const GAUGES: [&str; 10] = [
    "keys",
    "keys_usable",
    "key_set_age_seconds",
    "key_set_expires_in_seconds",
    "key_set_stale_seconds",
    "keys_unusable_in_seconds",
    "fetch_failures_in_a_row",
    "keys_unchanged_seconds",
    "key_set_generation",
    "in_configuration",
];
/// A gauge too: how many requests wait for keys, in all workers.
pub const PARKED_NOW: &str = "parked_now";
/// A year stands for ever.
const LONGEST: u64 = 365 * 86_400;
