//! The answer to a question under the present keys: a function of values, asked again whenever those change.

use super::{
    provider_keys::{MissingKey, View},
    Engine,
};
use crate::{
    keys::KeySet,
    policy::{
        forward::Edits,
        provider::{Provider, Remote},
        reply::Denial,
        requirement::{Fallback, Node, OnInvalid, ResolvedRequirement, TokenPolicyRef},
        token_location::Candidate,
    },
    rotation::transition::Cause,
    time::UnixTime,
    token::{
        signature::SignatureCheck,
        verify::{verify, Unverified, Verified},
        ProviderId, TokenError,
    },
};

/// The newest fetch of each provider's keys that had begun when a request came. One with a higher number says what the
/// issuer published after that.
pub(super) type FetchWatermark = Vec<(ProviderId, u64)>;

/// What a question comes to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Refuse(Denial),
    Wait,
}

/// A verdict, and what was learnt on the way.
pub(super) struct Evaluation {
    pub(super) verdict: Verdict,
    /// The tokens that are good, and by whose rules.
    pub(super) good: Vec<(TokenPolicyRef, usize)>,
    /// The header by which the upstream is to be told that a token is bad.
    pub(super) invalid_header: Option<String>,
    /// What is waited for.
    pub(super) waits: Vec<(ProviderId, Cause)>,
    /// Tokens whose key the issuer does not have, or may not be asked for again yet.
    pub(super) keyless: Vec<(ProviderId, usize, Denial)>,
    /// Providers to be asked again when that is allowed.
    pub(super) wanted: Vec<ProviderId>,
    /// Providers whose tokens were signed by keys that have left their key sets.
    pub(super) by_retired_keys: Vec<ProviderId>,
    /// Providers whose tokens were refused, and why.
    pub(super) failures: Vec<(ProviderId, Denial)>,
}

/// The time that a parked request has.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: UnixTime,
    /// It is over: whatever is still unknown is refused.
    pub(super) is_over: bool,
}

impl Evaluation {
    /// The provider by whose rules a token was refused last.
    pub(super) fn last_denied(&self) -> Option<ProviderId> {
        self.failures.last().map(|(provider, _)| *provider)
    }
}

impl<C: SignatureCheck> Engine<C> {
    /// Answers a question. `deadline` is that of a request parked already.
    pub(super) fn answer(
        &self,
        question: &ResolvedRequirement,
        arrived: &FetchWatermark,
        deadline: Option<Deadline>,
        now: UnixTime,
    ) -> Evaluation {
        let mut answering = Evaluator {
            engine: self,
            question,
            arrived,
            deadline,
            now,
            answer: Evaluation {
                verdict: Verdict::Wait,
                good: Vec::new(),
                invalid_header: None,
                waits: Vec::new(),
                keyless: Vec::new(),
                wanted: Vec::new(),
                by_retired_keys: Vec::new(),
                failures: Vec::new(),
            },
        };
        let verdict = answering.node(&question.node);
        Evaluation { verdict, ..answering.answer }
    }

    /// What changes in a request with this answer, on top of `edits`.
    pub(super) fn passed_on(
        &self,
        mut edits: Edits,
        question: &ResolvedRequirement,
        answer: &Evaluation,
        target: &[u8],
        now: UnixTime,
    ) -> Edits {
        if self.plan.explain_allowed {
            let provider = answer.good.last().map(|(lane, _)| lane.provider);
            edits.state.extend(self.reasons("allowed", "", provider, now));
        }
        for (lane, token) in &answer.good {
            if let Some((provider, candidate)) = self.plan.provider(lane.provider).zip(question.tokens.get(*token)) {
                edits.forward_verified(provider, candidate, target);
            }
        }
        if let Some(header) = &answer.invalid_header {
            edits.add.push((header.clone(), b"false".to_vec()));
        }
        edits.state.extend(self.failures(answer));
        edits
    }

    /// What went wrong, for those providers that say so in the filter state.
    pub(super) fn failures(&self, answer: &Evaluation) -> Vec<(String, Vec<u8>)> {
        let mut state = Vec::new();
        for (provider, refusal) in &answer.failures {
            let name = self.plan.provider(*provider).and_then(|own| own.forward.failure_state.as_deref());
            if let Some(name) = name {
                state.push((format!("{name}.code"), refusal.reason().as_bytes().to_vec()));
                state.push((format!("{name}.message"), refusal.text().as_bytes().to_vec()));
            }
        }
        state
    }

    /// How long a request may wait for this cause.
    pub(super) fn patience(&self, provider: ProviderId, cause: Cause) -> std::time::Duration {
        self.plan.remote(provider).map_or(std::time::Duration::ZERO, |Remote { terms, .. }| match cause {
            Cause::UnknownKid | Cause::BadSignature => terms.unknown_kid_max_wait,
            Cause::Schedule => terms.unknown_kid_max_wait.max(terms.fetch_timeout),
        })
    }

    /// What was verified before under the same keys needs no second look at its signature.
    fn verify(
        &self,
        view: &View,
        own: &Provider,
        rules: usize,
        keys: Option<&KeySet>,
        candidate: &Candidate,
        now: UnixTime,
    ) -> Result<Verified, Unverified> {
        let token = candidate.token.as_slice();
        let (Some(cache), Some(rules)) = (view.verified.get(rules), own.rules.get(rules)) else {
            return Err(Unverified::NoKeys);
        };
        let mut cache = cache.borrow_mut();
        let known = keys.and_then(|_| cache.get(token));
        match known.map(|verified| verified.still(rules, now)) {
            Some(Ok(verified)) => {
                view.hits.set(view.hits.get().saturating_add(1));
                return Ok(verified);
            }
            Some(Err(_)) => cache.remove(token),
            None => {}
        }
        let verified = verify(token, rules, keys, &self.check, now)?;
        cache.insert(token, verified);
        Ok(verified)
    }
}

/// An answer in the making.
struct Evaluator<'a, C> {
    engine: &'a Engine<C>,
    question: &'a ResolvedRequirement,
    arrived: &'a FetchWatermark,
    deadline: Option<Deadline>,
    now: UnixTime,
    answer: Evaluation,
}

impl<C: SignatureCheck> Evaluator<'_, C> {
    fn node(&mut self, node: &Node) -> Verdict {
        match node {
            Node::Passed => Verdict::Allow,
            Node::Refused(error) => Verdict::Refuse(Denial::Token(*error)),
            Node::Good(lane, tokens) => {
                if tokens.is_empty() {
                    let refusal = Denial::Token(TokenError::Missing);
                    self.answer.failures.push((lane.provider, refusal));
                    return Verdict::Refuse(refusal);
                }
                self.all(tokens.iter(), |own, token| own.token(*lane, *token))
            }
            Node::All(nodes) => self.all(nodes.iter(), |own, node| own.node(node)),
            Node::Any(nodes, allow) => self.any(nodes, *allow),
            Node::Each { tokens, bad: OnInvalid::Refused } => {
                self.all(tokens.iter(), |own, (token, lane)| match lane {
                    Ok(lane) => own.token(*lane, *token),
                    Err(error) => Verdict::Refuse(Denial::Token(*error)),
                })
            }
            Node::Each { tokens, bad } => {
                let mut is_known = true;
                for (token, lane) in tokens {
                    let verdict = lane.ok().map(|lane| self.token(lane, *token));
                    is_known &= verdict != Some(Verdict::Wait);
                    if let (OnInvalid::Told(header), true) = (bad, verdict != Some(Verdict::Allow)) {
                        self.answer.invalid_header = Some(header.clone());
                    }
                }
                if is_known {
                    Verdict::Allow
                } else {
                    Verdict::Wait
                }
            }
        }
    }

    /// The first refusal; else whether anything is unknown.
    fn all<T>(&mut self, items: impl Iterator<Item = T>, mut one: impl FnMut(&mut Self, T) -> Verdict) -> Verdict {
        let mut verdict = Verdict::Allow;
        for item in items {
            match one(self, item) {
                Verdict::Allow => {}
                Verdict::Wait => verdict = Verdict::Wait,
                Verdict::Refuse(refusal) => return Verdict::Refuse(refusal),
            }
        }
        verdict
    }

    /// Of several refusals the last counts; that there is no token, or none of a known issuer, only if there is no other
    /// (Envoy's `AnyVerifierImpl`). Nothing counts more than that we cannot know.
    fn any(&mut self, nodes: &[Node], allow: Fallback) -> Verdict {
        let mut is_known = true;
        let mut last = Denial::Token(TokenError::Missing);
        let weight = |refusal: &Denial| match refusal {
            Denial::Token(TokenError::Missing) => 0,
            Denial::Token(TokenError::IssuerNotConfigured) => 1,
            Denial::Token(_) => 2,
            Denial::KeysUnavailable(_) | Denial::TooManyParked => 3,
        };
        for node in nodes {
            match self.node(node) {
                Verdict::Allow => return Verdict::Allow,
                Verdict::Wait => is_known = false,
                Verdict::Refuse(refusal) if weight(&refusal) >= weight(&last) => last = refusal,
                Verdict::Refuse(_) => {}
            }
        }
        match allow {
            _ if !is_known => Verdict::Wait,
            Fallback::MissingOrFailed => Verdict::Allow,
            Fallback::Missing if last == Denial::Token(TokenError::Missing) => Verdict::Allow,
            Fallback::Missing | Fallback::Nothing => Verdict::Refuse(last),
        }
    }

    fn token(&mut self, lane: TokenPolicyRef, token: usize) -> Verdict {
        let verdict = self.look_at(lane, token);
        match verdict {
            Verdict::Allow => {
                // Passed on once, however often the requirement asks for it.
                let good = &mut self.answer.good;
                if !good.iter().any(|(other, known)| other.provider == lane.provider && *known == token) {
                    good.push((lane, token));
                }
            }
            Verdict::Refuse(refusal) => self.answer.failures.push((lane.provider, refusal)),
            Verdict::Wait => {}
        }
        verdict
    }

    fn look_at(&mut self, TokenPolicyRef { provider, rules }: TokenPolicyRef, token: usize) -> Verdict {
        let (engine, now) = (self.engine, self.now);
        let known = engine.plan.provider(provider).zip(engine.views.get(provider.index()));
        let Some(((own, view), candidate)) = known.zip(self.question.tokens.get(token)) else {
            return Verdict::Refuse(Denial::KeysUnavailable(std::time::Duration::ZERO));
        };
        let terms = engine.plan.remote(provider).map(|remote| &remote.terms);
        let keys = view.usable_keys(terms, now);
        let (cause, refusal) = match engine.verify(view, own, rules, keys, candidate, now) {
            Ok(verified) => {
                if verified.is_by_retired_key() {
                    self.answer.by_retired_keys.push(provider);
                }
                return Verdict::Allow;
            }
            Err(Unverified::Refused(error)) => return Verdict::Refuse(Denial::Token(error)),
            Err(Unverified::NoKeys) => (Cause::Schedule, None),
            Err(Unverified::UnknownKey(error)) => (Cause::UnknownKid, Some(error)),
            Err(Unverified::BadSignature) => (Cause::BadSignature, Some(TokenError::BadSignature)),
        };
        let Some(terms) = terms else {
            return Verdict::Refuse(Denial::Token(refusal.unwrap_or(TokenError::UnknownKey)));
        };
        let until = self.deadline.map_or_else(|| now.plus(engine.patience(provider, cause)), |deadline| deadline.at);
        let arrived =
            self.arrived.iter().find(|(own, _)| *own == provider).map_or(view.record.started, |(_, fetch)| *fetch);
        let keyless = match view.without_key(cause, refusal, terms, arrived, until, now) {
            MissingKey::Wait(cause) if self.deadline.is_some_and(|deadline| deadline.is_over) => {
                return Verdict::Refuse(engine.deadline_denial(provider, cause, now));
            }
            MissingKey::Wait(Cause::UnknownKid)
                if self.deadline.is_none()
                    && engine.parked.is_crowded_by(provider)
                    && engine.has_refused(provider, candidate) =>
            {
                MissingKey::DenyAndRefresh(Denial::Token(TokenError::UnknownKey))
            }
            keyless => keyless,
        };
        match keyless {
            MissingKey::Wait(cause) => {
                self.answer.waits.push((provider, cause));
                Verdict::Wait
            }
            MissingKey::Refuse(refusal) => {
                self.answer.keyless.push((provider, token, refusal));
                Verdict::Refuse(refusal)
            }
            MissingKey::DenyAndRefresh(refusal) => {
                self.answer.wanted.push(provider);
                self.answer.keyless.push((provider, token, refusal));
                Verdict::Refuse(refusal)
            }
        }
    }
}
