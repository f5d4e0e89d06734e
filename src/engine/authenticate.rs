//! Checks the tokens of a request under the present keys: a function of values, asked again whenever the keys change.

use std::{cell::Cell, time::Duration};

use super::{
    key_sets::KeySets,
    missing_key::{missing_key, MissingKey, Patience},
    provider_keys::Watermark,
};
use crate::{
    ids::ProviderId,
    keys::{Algorithm, Key, MAX_TRIED},
    policy::{
        permit::{Clearance, Permit},
        plan::Plan,
        reply::Denial,
        requirement::{
            evaluate::{
                evaluate, untold, verdict_without_waiting, Effort, Evaluation, Outcome, TokenCheck, Verdict, Waits,
            },
            ResolvedRequirement, TokenPolicyRef,
        },
        token_location::Candidate,
    },
    rotation::{policy::RotationPolicy, record::Fingerprint, transition::Cause},
    time::UnixTime,
    token::{
        signature::{BadSignature, SignatureCheck},
        verify::{Unverified, Verified},
        TokenError,
    },
};

/// How many signatures are checked for one request at a time, at most. A token without `kid` is tried under every key that
/// fits; a request with many such tokens must not hold the worker.
const CHECKS_PER_REQUEST: u32 = MAX_TRIED as u32;

/// How many tokens are looked into for one request at a time while another of its tokens waits. The others wait with it.
const CHEAP_CHECKS: u32 = 2;

/// What is known of a request before its keys are asked, and what was found while the request waits.
#[derive(Debug)]
pub(super) struct Progress {
    /// The newest fetch of each provider's keys that had begun when the request came.
    watermark: Vec<(ProviderId, Watermark)>,
    /// When the request came.
    since: UnixTime,
    failed: Vec<Failed>,
}

/// A token that none of these keys verified. The same keys only become fewer.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// Without demands: they have no part in this.
    policy: TokenPolicyRef,
    token: usize,
    keys: Fingerprint,
    error: Unverified,
}

impl Progress {
    /// The progress of a request that needs these providers and comes now.
    pub(super) fn new(providers: &[ProviderId], key_sets: &KeySets, now: UnixTime) -> Self {
        let watermark = providers.iter().map(|provider| (*provider, key_sets.of(*provider).watermark(now)));
        Self { watermark: watermark.collect(), since: now, failed: Vec::new() }
    }

    fn watermark(&self, provider: ProviderId) -> Option<Watermark> {
        self.watermark.iter().find(|(known, _)| *known == provider).map(|(_, watermark)| *watermark)
    }

    fn failure(&self, policy: TokenPolicyRef, token: usize, keys: Fingerprint) -> Option<Unverified> {
        let is_known = |known: &&Failed| (known.policy, known.token, known.keys) == (policy, token, keys);
        self.failed.iter().find(is_known).map(|known| known.error)
    }

    fn remember_failure(&mut self, failed: Failed) {
        self.failed.retain(|known| (known.policy, known.token) != (failed.policy, failed.token));
        self.failed.push(failed);
    }
}

/// Counts signature checks, and refuses those beyond a budget.
struct Metered<'c, C> {
    check: &'c C,
    left: Cell<u32>,
    has_refused: Cell<bool>,
}

impl<'c, C> Metered<'c, C> {
    fn new(check: &'c C, budget: u32) -> Self {
        Self { check, left: Cell::new(budget), has_refused: Cell::new(false) }
    }
}

impl<C: SignatureCheck> SignatureCheck for Metered<'_, C> {
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                self.check.check(key, algorithm, signed, signature)
            }
            None => {
                self.has_refused.set(true);
                Err(BadSignature)
            }
        }
    }

    fn supports(&self, algorithm: Algorithm) -> bool {
        self.check.supports(algorithm)
    }
}

/// What a request that just came comes to.
pub(super) enum Arrival {
    Allow(Evaluation, Clearance),
    Deny(Evaluation, Denial),
    /// A fetch can tell more. `without_room` is the denial where there is no room to wait: only a request that can be denied
    /// waits.
    Wait(Evaluation, Waits, Denial),
}

impl Arrival {
    pub(super) fn evaluation(&self) -> &Evaluation {
        let (Self::Allow(evaluation, _) | Self::Deny(evaluation, _) | Self::Wait(evaluation, ..)) = self;
        evaluation
    }
}

/// How far a request has come.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The request just came. The providers in whose name more than half of the parked requests wait are crowded.
    Arriving { crowded: Option<ProviderId> },
    /// The request is parked until this time, which may have passed.
    Parked { deadline: UnixTime, is_over: bool },
}

/// Checks tokens with the keys at hand.
pub(super) struct Authenticator<'a, C> {
    pub(super) plan: &'a Plan,
    pub(super) key_sets: &'a KeySets,
    pub(super) check: &'a C,
    pub(super) now: UnixTime,
}

impl<C: SignatureCheck> Authenticator<'_, C> {
    /// Evaluates the requirement of a parked request. Returns the number of signature checks that this took, too.
    pub(super) fn evaluate(
        &self,
        resolved: &ResolvedRequirement,
        progress: &mut Progress,
        stage: Stage,
    ) -> (Evaluation, u32) {
        let mut request = self.request(resolved, progress, stage);
        let evaluation = evaluate(&resolved.root, |policy, token, effort| request.check(policy, token, effort));
        (evaluation, CHECKS_PER_REQUEST.saturating_sub(request.left))
    }

    /// Evaluates the requirement of a request that just came.
    pub(super) fn evaluate_arrival(
        &self,
        resolved: &ResolvedRequirement,
        progress: &mut Progress,
        crowded: Option<ProviderId>,
    ) -> Arrival {
        let mut request = self.request(resolved, progress, Stage::Arriving { crowded });
        let evaluation = evaluate(&resolved.root, |policy, token, effort| request.check(policy, token, effort));
        let waits = match evaluation.outcome() {
            Outcome::Allow(clearance) => return Arrival::Allow(evaluation, clearance),
            Outcome::Deny(denial) => return Arrival::Deny(evaluation, denial),
            Outcome::Wait(waits) => waits,
        };
        let check = |policy, token, effort| request.check(policy, token, effort);
        match verdict_without_waiting(&resolved.root, &evaluation, check) {
            Verdict::Deny(denial @ Denial::Token(_)) => Arrival::Wait(evaluation, waits, denial),
            // There is no room, whatever the keys say.
            _ => Arrival::Wait(evaluation, waits, Denial::TooManyParked),
        }
    }

    fn request<'r>(
        &'r self,
        resolved: &'r ResolvedRequirement,
        progress: &'r mut Progress,
        stage: Stage,
    ) -> CheckedRequest<'r, C> {
        CheckedRequest {
            authenticator: self,
            resolved,
            progress,
            stage,
            left: CHECKS_PER_REQUEST,
            cheap_left: CHEAP_CHECKS,
            verified: Vec::new(),
        }
    }
}

/// One request whose tokens are checked.
struct CheckedRequest<'r, C> {
    authenticator: &'r Authenticator<'r, C>,
    resolved: &'r ResolvedRequirement,
    progress: &'r mut Progress,
    stage: Stage,
    /// How many signatures may still be checked.
    left: u32,
    /// How many tokens may still be looked into while another waits.
    cheap_left: u32,
    /// Tokens that were verified, where the request's rule demands more of them: other demands need no other signature check.
    verified: Vec<(TokenPolicyRef, usize, Verified)>,
}

impl<C: SignatureCheck> CheckedRequest<'_, C> {
    fn check(&mut self, policy: TokenPolicyRef, token: usize, effort: Effort) -> TokenCheck {
        if effort == Effort::Cheap {
            let Some(left) = self.cheap_left.checked_sub(1) else { return TokenCheck::Unchecked };
            self.cheap_left = left;
        }
        let Some(candidate) = self.resolved.tokens.get(token) else {
            return TokenCheck::Denied(Denial::Token(TokenError::Missing));
        };
        let Authenticator { plan, key_sets, now, .. } = *self.authenticator;
        let TokenPolicyRef { provider, .. } = policy;
        let (known, keys) = (&plan.providers[provider], key_sets.of(provider));
        let verified = match self.verify(policy, token, candidate, effort) {
            Some(verified) => verified,
            None => return TokenCheck::Unchecked,
        };
        let (cause, error) = match verified {
            Ok(verified) => {
                return match self.check_demands(policy, candidate) {
                    Ok(()) => TokenCheck::Verified(Permit::new(provider, token, verified)),
                    Err(error) => TokenCheck::Denied(Denial::Token(error)),
                };
            }
            Err(Unverified::Denied(error)) => return TokenCheck::Denied(Denial::Token(error)),
            Err(Unverified::NoKeys) => (Cause::Schedule, None),
            // The seed does not tell what the issuer has.
            Err(_) if keys.seed().is_some() => (Cause::Schedule, None),
            Err(Unverified::UnknownKey(error)) => (Cause::UnknownKid, Some(error)),
            Err(Unverified::BadSignature) => (Cause::BadSignature, Some(TokenError::BadSignature)),
        };
        let Some(remote) = known.remote() else {
            return TokenCheck::Denied(Denial::Token(error.unwrap_or(TokenError::UnknownKey)));
        };
        let until = match self.stage {
            Stage::Arriving { .. } => now.plus(patience(&remote.rotation, cause)),
            Stage::Parked { deadline, .. } => deadline,
        };
        let watermark = self.progress.watermark(provider).unwrap_or_else(|| keys.watermark(now));
        let patience = Patience { watermark, since: self.progress.since, until };
        let missing = missing_key(keys, cause, error, &remote.rotation, patience, now);
        match (missing, self.stage) {
            (MissingKey::Wait(cause), Stage::Parked { is_over: true, .. }) => {
                TokenCheck::Denied(untold(cause, keys.record.retry_at().since(now)))
            }
            (MissingKey::WaitForSecondLook(denial), Stage::Parked { is_over: true, .. }) => TokenCheck::Denied(denial),
            (MissingKey::WaitForSecondLook(_), _) => TokenCheck::Wait(Cause::UnknownKid),
            (MissingKey::Wait(Cause::UnknownKid), Stage::Arriving { crowded: Some(crowded) })
                if crowded == provider && keys.has_denied(candidate) =>
            {
                TokenCheck::MissingKey { denial: Denial::Token(TokenError::UnknownKey), wants_refresh: true }
            }
            (MissingKey::Wait(cause), _) => TokenCheck::Wait(cause),
            (MissingKey::Deny(denial), _) => TokenCheck::MissingKey { denial, wants_refresh: false },
            (MissingKey::DenyAndRefresh(denial), _) => TokenCheck::MissingKey { denial, wants_refresh: true },
        }
    }

    /// Checks what the request demands of a verified token.
    fn check_demands(&self, policy: TokenPolicyRef, candidate: &Candidate) -> Result<(), TokenError> {
        let Some(id) = policy.demands else { return Ok(()) };
        let demands = self.authenticator.plan.requirements.demands.get(id);
        let (Some(demands), Some(payload)) = (demands, candidate.payload()) else {
            return Err(TokenError::ClaimNotAllowed);
        };
        demands.check(&payload, |header| self.resolved.headers.get(header))
    }

    /// Verifies a token, unless that was done before: for other demands, or in vain under the same keys. `None`: that takes a
    /// signature check, and the effort is not worth it.
    fn verify(
        &mut self,
        policy: TokenPolicyRef,
        token: usize,
        candidate: &Candidate,
        effort: Effort,
    ) -> Option<Result<Verified, Unverified>> {
        let (has_demands, policy) = (policy.demands.is_some(), policy.without_demands());
        let mut before = self.verified.iter();
        if let Some((.., verified)) = before.find(|(known, index, _)| (*known, *index) == (policy, token)) {
            return Some(Ok(*verified));
        }
        let Authenticator { plan, key_sets, check, now } = *self.authenticator;
        let (known, keys) = (&plan.providers[policy.provider], key_sets.of(policy.provider));
        let in_use = keys.keys_in_use(known.remote(), now);
        if let Some(error) = in_use.and_then(|keys| self.progress.failure(policy, token, keys)) {
            return Some(Err(error));
        }
        let budget = if effort == Effort::Cheap { 0 } else { self.left };
        let metered = Metered::new(check, budget);
        let verified = keys.check_token(known, policy.policy, candidate, &metered, now);
        key_sets.count_cache_hits(policy.provider);
        self.left = self.left.saturating_sub(budget.saturating_sub(metered.left.get()));
        if metered.has_refused.get() {
            // A token beyond the budget of its request counts as failed for now.
            return (effort == Effort::Full).then_some(verified);
        }
        if let (Some(keys), Err(error @ (Unverified::UnknownKey(_) | Unverified::BadSignature))) = (in_use, verified) {
            self.progress.remember_failure(Failed { policy, token, keys, error });
        }
        if let (Ok(verified), true) = (verified, has_demands) {
            self.verified.push((policy, token, verified));
        }
        Some(verified)
    }
}

/// How long a request may wait for a fetch of this cause.
pub(super) fn patience(policy: &RotationPolicy, cause: Cause) -> Duration {
    match cause {
        Cause::UnknownKid | Cause::BadSignature => policy.unknown_kid_max_wait,
        Cause::Schedule => policy.unknown_kid_max_wait.max(policy.fetch_timeout),
    }
}
