//! Checks the tokens of a request under the present keys: a function of values, asked again whenever the keys change.

use std::time::Duration;

use super::{
    key_sets::KeySets,
    provider_keys::{MissingKey, Patience},
};
use crate::{
    ids::ProviderId,
    policy::{
        permit::Permit,
        plan::Plan,
        reply::Denial,
        requirement::{
            evaluate::{evaluate, evaluate_now, Evaluation, TokenCheck, Verdict},
            ResolvedRequirement, TokenPolicyRef,
        },
        token_location::Candidate,
    },
    rotation::{policy::RotationPolicy, transition::Cause},
    time::UnixTime,
    token::{signature::SignatureCheck, verify::Unverified, TokenError},
};

/// The newest fetch of each provider's keys that had begun when a request came.
#[derive(Clone, Debug)]
pub(super) struct FetchWatermark(Vec<(ProviderId, u64)>);

impl FetchWatermark {
    /// The watermark of a request that needs these providers and comes now.
    pub(super) fn now(providers: &[ProviderId], key_sets: &KeySets) -> Self {
        Self(providers.iter().map(|provider| (*provider, key_sets.of(*provider).record.started)).collect())
    }

    fn of(&self, provider: ProviderId) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == provider).map(|(_, fetch)| *fetch)
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
    /// Evaluates the requirement of a request.
    pub(super) fn evaluate(
        &self,
        resolved: &ResolvedRequirement,
        watermark: &FetchWatermark,
        stage: Stage,
    ) -> Evaluation {
        evaluate(&resolved.root, |policy, token| self.check(resolved, policy, token, watermark, stage))
    }

    /// Evaluates the requirement of a request that just came, and what it comes to if there is no room to wait.
    ///
    /// A request waits only if that buys something. Where the requirement is satisfied whatever becomes of the tokens that
    /// wait, the verdict is Allow at once.
    pub(super) fn evaluate_arrival(
        &self,
        resolved: &ResolvedRequirement,
        watermark: &FetchWatermark,
        crowded: Option<ProviderId>,
    ) -> (Evaluation, Denial) {
        let stage = Stage::Arriving { crowded };
        let evaluation = self.evaluate(resolved, watermark, stage);
        if evaluation.verdict != Verdict::Wait {
            return (evaluation, Denial::TooManyParked);
        }
        let without_waiting = |cause| TokenCheck::Unknown { cause, denial: untold(cause, Duration::ZERO) };
        let now = evaluate_now(&resolved.root, &evaluation, without_waiting, |policy, token| {
            self.check(resolved, policy, token, watermark, stage)
        });
        match now.verdict {
            Verdict::Allow => (now, Denial::TooManyParked),
            Verdict::Deny(Denial::Token(error)) => (evaluation, Denial::Token(error)),
            // There is no room, whatever the keys say.
            Verdict::Deny(Denial::KeysUnavailable(_) | Denial::TooManyParked) | Verdict::Wait => {
                (evaluation, Denial::TooManyParked)
            }
        }
    }

    fn check(
        &self,
        resolved: &ResolvedRequirement,
        policy: TokenPolicyRef,
        token: usize,
        watermark: &FetchWatermark,
        stage: Stage,
    ) -> TokenCheck {
        match resolved.tokens.get(token) {
            Some(candidate) => self.check_token(policy, token, candidate, watermark, stage),
            None => TokenCheck::Denied(Denial::Token(TokenError::Missing)),
        }
    }

    fn check_token(
        &self,
        TokenPolicyRef { provider, policy }: TokenPolicyRef,
        token: usize,
        candidate: &Candidate,
        watermark: &FetchWatermark,
        stage: Stage,
    ) -> TokenCheck {
        let (known, keys) = (&self.plan.providers[provider], self.key_sets.of(provider));
        let (cause, error) = match keys.check_token(known, policy, candidate, self.check, self.now) {
            Ok(verified) => return TokenCheck::Verified(Permit::new(provider, token, verified)),
            Err(Unverified::Denied(error)) => return TokenCheck::Denied(Denial::Token(error)),
            Err(Unverified::NoKeys) => (Cause::Schedule, None),
            Err(Unverified::UnknownKey(error)) => (Cause::UnknownKid, Some(error)),
            Err(Unverified::BadSignature) => (Cause::BadSignature, Some(TokenError::BadSignature)),
        };
        let Some(remote) = known.remote() else {
            return TokenCheck::Denied(Denial::Token(error.unwrap_or(TokenError::UnknownKey)));
        };
        let until = match stage {
            Stage::Arriving { .. } => self.now.plus(patience(&remote.rotation, cause)),
            Stage::Parked { deadline, .. } => deadline,
        };
        let watermark = watermark.of(provider).unwrap_or(keys.record.started);
        let missing = keys.missing_key(cause, error, &remote.rotation, Patience { watermark, until }, self.now);
        match (missing, stage) {
            (MissingKey::Wait(cause), Stage::Parked { is_over: true, .. }) => {
                TokenCheck::Denied(untold(cause, keys.record.retry_at().since(self.now)))
            }
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
}

/// The denial of a token of which only a fetch could tell more, if the request does not wait, or waits no longer.
fn untold(cause: Cause, retry_after: Duration) -> Denial {
    match cause {
        // The key at hand does not match. There was only a chance that the issuer has replaced the key.
        Cause::BadSignature => Denial::Token(TokenError::BadSignature),
        Cause::Schedule | Cause::UnknownKid => Denial::KeysUnavailable(retry_after),
    }
}

/// How long a request may wait for a fetch of this cause.
pub(super) fn patience(policy: &RotationPolicy, cause: Cause) -> Duration {
    match cause {
        Cause::UnknownKid | Cause::BadSignature => policy.unknown_kid_max_wait,
        Cause::Schedule => policy.unknown_kid_max_wait.max(policy.fetch_timeout),
    }
}
