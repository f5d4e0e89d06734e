//! What is sent: the changes to an allowed request, the reply to a denied one, and the explanation of both in filter state.

use super::key_sets::KeySets;
use crate::{
    ids::ProviderId,
    policy::{
        forward::Edits,
        headers::Headers,
        permit::{Clearance, Permit},
        plan::{Mode, Plan},
        reply::{self, Denial, Reply, OWN_STATE},
        requirement::{Evaluation, ResolvedRequirement, TokenPolicyRef},
    },
    time::UnixTime,
    token::TokenError,
};

/// Makes replies and edits.
pub(super) struct Responder<'a> {
    pub(super) plan: &'a Plan,
    pub(super) key_sets: &'a KeySets,
    pub(super) now: UnixTime,
}

impl Responder<'_> {
    /// The changes to a request before anything is known of its tokens. In report mode, an enforcing filter before this one
    /// may have set the headers. What becomes dynamic metadata is removed nevertheless: policies would believe a client.
    pub(super) fn sanitize(&self, headers: Headers<'_>) -> Edits {
        let headers_to_remove = match self.plan.mode {
            Mode::Enforce => &self.plan.own_headers,
            Mode::Report => &self.plan.value_headers,
        };
        Edits::sanitizing(headers_to_remove, headers)
    }

    /// The changes to an allowed request, on top of `edits`.
    pub(super) fn forward(
        &self,
        mut edits: Edits,
        resolved: &ResolvedRequirement,
        evaluation: &Evaluation,
        clearance: &Clearance,
        target: &[u8],
    ) -> Edits {
        let sanitized = edits.remove.len();
        if self.plan.explain_allowed {
            let provider = clearance.permits().last().map(Permit::provider);
            edits.state.extend(self.explanation("allowed", "", provider));
        }
        for permit in clearance.permits() {
            let forward = &self.plan.providers[permit.provider()].forward;
            edits.forward_verified(forward, permit, &resolved.tokens, target);
        }
        if let Some(header) = &evaluation.invalid_header {
            edits.add.push((header.clone(), b"false".to_vec()));
        }
        edits.state.extend(self.failures(evaluation));
        match self.plan.mode {
            Mode::Enforce => edits,
            Mode::Report => {
                edits.remove.truncate(sanitized);
                Edits { remove: edits.remove, state: edits.state, ..Edits::default() }
            }
        }
    }

    /// The reply to a denied request, explained in filter state.
    pub(super) fn deny(
        &self,
        denial: Denial,
        evaluation: &Evaluation,
        resolved: &ResolvedRequirement,
        realm: &str,
    ) -> Reply {
        let mut reply = self.reply(denial, resolved, realm);
        reply.state.extend(self.failures(evaluation));
        let decision = match denial {
            Denial::Token(_) => "denied",
            Denial::KeysUnavailable(_) | Denial::TooManyParked => "unavailable",
        };
        reply.state.extend(self.explanation(decision, denial.reason(), evaluation.last_denied()));
        reply
    }

    /// The reply to a denied request.
    pub(super) fn reply(&self, denial: Denial, resolved: &ResolvedRequirement, realm: &str) -> Reply {
        let scopes = match denial {
            Denial::Token(TokenError::InsufficientScope) => self.scopes(resolved),
            _ => Vec::new(),
        };
        reply::reply(denial, &self.plan.response_format, reply::ChallengeContext { realm, scopes: &scopes })
    }

    /// The changes to a request that report mode lets through although it would be denied.
    pub(super) fn report(&self, mut edits: Edits, denial: Denial, evaluation: &Evaluation) -> Edits {
        edits.state.extend(self.failures(evaluation));
        edits.state.extend(self.explanation("would_deny", denial.reason(), evaluation.last_denied()));
        edits
    }

    /// The scopes that the requirement's providers require, and those that its rule demands.
    fn scopes(&self, resolved: &ResolvedRequirement) -> Vec<String> {
        let Plan { providers, requirements, .. } = self.plan;
        let mut scopes: Vec<String> = Vec::new();
        for TokenPolicyRef { provider, demands, .. } in resolved.policies() {
            let of_policy = providers[provider].policies.first().into_iter().flat_map(|policy| &policy.scopes);
            let demanded = demands.and_then(|id| requirements.demands.get(id));
            for scope in of_policy.chain(demanded.into_iter().flat_map(|demands| &demands.scopes)) {
                if !scopes.contains(scope) {
                    scopes.push(scope.clone());
                }
            }
        }
        scopes
    }

    /// The failures of an evaluation, for the providers that configure a name for them.
    fn failures(&self, evaluation: &Evaluation) -> Vec<(String, Vec<u8>)> {
        let mut state = Vec::new();
        for (provider, denial) in evaluation.denials() {
            if let Some(name) = &self.plan.providers[provider].forward.failure_state {
                state.push((format!("{name}.code"), denial.reason().as_bytes().to_vec()));
                state.push((format!("{name}.message"), denial.text().as_bytes().to_vec()));
            }
        }
        state
    }

    /// What was decided, why, and by which keys, for access logs and other filters.
    fn explanation(&self, decision: &str, reason: &str, provider: Option<ProviderId>) -> Vec<(String, Vec<u8>)> {
        let mut state = vec![("decision", decision.to_owned()), ("reason", reason.to_owned())];
        if let Some(provider) = provider {
            state.push(("provider", self.plan.providers[provider].name.clone()));
            if let Some(cached) = &self.key_sets.of(provider).record.document {
                state.push(("key_set_generation", cached.generation.to_string()));
                state.push(("key_set_age", self.now.since(cached.fetched_at).as_secs().to_string()));
            }
        }
        // An access log writes a dash for state that is absent, and nothing for state that is empty.
        state.retain(|(_, value)| !value.is_empty());
        let named = |(name, value): (&str, String)| (format!("{OWN_STATE}.{name}"), value.into_bytes());
        state.into_iter().map(named).collect()
    }
}
