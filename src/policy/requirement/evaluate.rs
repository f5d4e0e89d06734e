//! Whether a resolved requirement holds: a pure function of what each token's check says.
//!
//! `requires_any`: Allow before Wait before Deny. `requires_all`: Deny before Wait before Allow. Which denial is told follows
//! Envoy's `AnyVerifierImpl` and `AllVerifierImpl` (`source/extensions/filters/http/jwt_authn/verifier.cc`).

use std::time::Duration;

use super::{demands::DemandsId, resolved::Node, Fallback, OnInvalid, TokenPolicyRef};
use crate::{
    ids::ProviderId,
    policy::{
        permit::{Clearance, NoAuthRequired, Permit},
        reply::Denial,
    },
    rotation::transition::Cause,
    token::TokenError,
};

/// Whether a request is allowed, under the keys at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The requirement holds.
    Allow,
    /// The requirement does not hold.
    Deny(Denial),
    /// The keys at hand cannot tell; a fetch can.
    Wait,
}

/// What the check of one token says.
#[derive(Clone, Copy, Debug)]
pub enum TokenCheck {
    /// The token is good.
    Verified(Permit),
    /// The token is denied under any keys, or there is no time left to wait for keys.
    Denied(Denial),
    /// The token is denied for want of a key.
    MissingKey {
        /// The denial.
        denial: Denial,
        /// Whether the issuer is to be asked as soon as the budget allows.
        wants_refresh: bool,
    },
    /// A fetch for this cause, running or due, can tell.
    Wait(Cause),
    /// The same, but the request does not wait: what is known without the fetch.
    Unknown { cause: Cause, denial: Denial },
    /// Only a signature check can tell, and another token waits already.
    Unchecked,
}

/// How much the check of a token may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Signatures are checked.
    Full,
    /// The verdict is Wait unless the token is denied without a signature check.
    Cheap,
}

/// The check of one token, as part of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// The provider whose policy was checked.
    pub provider: ProviderId,
    /// The index of the policy among the provider's.
    pub policy: usize,
    /// What was demanded besides.
    pub demands: Option<DemandsId>,
    /// The index of the token. `None`: the request has no token for the provider.
    pub token: Option<usize>,
    /// What the check says.
    pub check: TokenCheck,
}

/// What follows from a verdict.
#[derive(Debug)]
pub enum Outcome {
    /// The request goes upstream.
    Allow(Clearance),
    /// The request is denied.
    Deny(Denial),
    /// The request waits for these fetches.
    Wait(Waits),
}

/// The fetches that a request waits for: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The first fetch. Its provider's share of the room takes the request in.
    pub first: (ProviderId, Cause),
    rest: Vec<(ProviderId, Cause)>,
}

impl Waits {
    /// The number of fetches.
    pub fn count(&self) -> usize {
        self.rest.len().saturating_add(1)
    }

    /// All fetches.
    pub fn iter(&self) -> impl Iterator<Item = (ProviderId, Cause)> + use<'_> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
}

/// A verdict, and what was found on the way.
#[derive(Debug)]
pub struct Evaluation {
    /// The verdict.
    pub verdict: Verdict,
    /// The checks in their order. A token may be checked more than once, for several providers or nodes.
    pub findings: Vec<Finding>,
    /// The header that tells the upstream of an invalid token.
    pub invalid_header: Option<String>,
    /// Whether a part of the requirement holds because all tokens are of no configured issuer.
    pub is_foreign: bool,
}

/// Evaluates a requirement. `check` checks one token under one policy.
///
/// The verdict is Wait only if waiting buys something: the fetches that a request waits for may make the difference between
/// Allow and another denial. A part of the requirement that holds whatever becomes of its tokens does not wait for them.
///
/// Where all of several tokens must be good and one of them waits, the signatures of the others are not checked: the request
/// is decided again when the keys come.
pub fn evaluate(root: &Node, mut check: impl FnMut(TokenPolicyRef, usize, Effort) -> TokenCheck) -> Evaluation {
    let mut evaluator = Evaluator {
        check: &mut check,
        effort: Effort::Full,
        allows_missing: false,
        findings: Vec::new(),
        invalid_header: None,
        is_foreign: false,
    };
    let verdict = evaluator.node(root);
    let Evaluator { findings, invalid_header, is_foreign, .. } = evaluator;
    Evaluation { verdict, findings, invalid_header, is_foreign }
}

/// The verdict if no fetch could tell anything. What `earlier` found is not checked again.
pub fn verdict_without_waiting(
    root: &Node,
    earlier: &Evaluation,
    mut check: impl FnMut(TokenPolicyRef, usize, Effort) -> TokenCheck,
) -> Verdict {
    let now = evaluate(root, |policy, token, effort| {
        let is_known = |finding: &&Finding| {
            let TokenPolicyRef { provider, policy, demands } = policy;
            (finding.provider, finding.policy, finding.demands, finding.token)
                == (provider, policy, demands, Some(token))
        };
        let known = earlier.findings.iter().find(is_known).map(|finding| finding.check);
        let known = known.filter(|check| !matches!(check, TokenCheck::Unchecked));
        known.unwrap_or_else(|| check(policy, token, effort)).without_waiting()
    });
    now.verdict
}

/// The denial of a token of which only a fetch could tell more, if the request does not wait, or waits no longer.
pub fn untold(cause: Cause, retry_after: Duration) -> Denial {
    match cause {
        // The key at hand does not match. There was only a chance that the issuer has replaced the key.
        Cause::BadSignature => Denial::Token(TokenError::BadSignature),
        Cause::Schedule | Cause::UnknownKid => Denial::KeysUnavailable(retry_after),
    }
}

impl TokenCheck {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Verified(_) => Verdict::Allow,
            Self::Denied(denial) | Self::MissingKey { denial, .. } | Self::Unknown { denial, .. } => {
                Verdict::Deny(*denial)
            }
            Self::Wait(_) | Self::Unchecked => Verdict::Wait,
        }
    }

    /// The same check for a request that does not wait.
    fn without_waiting(self) -> Self {
        match self {
            Self::Wait(cause) => Self::Unknown { cause, denial: untold(cause, Duration::ZERO) },
            other => other,
        }
    }
}

impl Evaluation {
    /// The permits of the good tokens. A token that several nodes found good for one provider has one permit.
    pub fn permits(&self) -> Vec<Permit> {
        let mut permits: Vec<Permit> = Vec::new();
        for finding in &self.findings {
            let TokenCheck::Verified(permit) = finding.check else { continue };
            let is_known = |known: &Permit| known.provider() == permit.provider() && known.token() == permit.token();
            if !permits.iter().any(is_known) {
                permits.push(permit);
            }
        }
        permits
    }

    /// What follows from the verdict.
    pub fn outcome(&self) -> Outcome {
        match self.verdict {
            Verdict::Allow => {
                let reason = match self.is_foreign {
                    true => NoAuthRequired::ForeignTokens,
                    false => NoAuthRequired::RequirementSatisfied,
                };
                Outcome::Allow(Clearance::by_permits(self.permits()).unwrap_or_else(|| reason.into()))
            }
            Verdict::Deny(denial) => Outcome::Deny(denial),
            Verdict::Wait => {
                let mut waits = self.findings.iter().filter_map(|finding| match finding.check {
                    TokenCheck::Wait(cause) => Some((finding.provider, cause)),
                    _ => None,
                });
                match waits.next() {
                    Some(first) => Outcome::Wait(Waits { first, rest: waits.collect() }),
                    // Only the check of a token says Wait. If that changed, no request would pass because of it.
                    None => Outcome::Deny(Denial::KeysUnavailable(Duration::ZERO)),
                }
            }
        }
    }

    /// Whether a fetch could tell about a token although the request does not wait for the fetch.
    pub fn wants_refresh(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding.check, TokenCheck::Unknown { .. }))
    }

    /// The denials, each with its provider.
    pub fn denials(&self) -> impl DoubleEndedIterator<Item = (ProviderId, Denial)> + use<'_> {
        self.findings.iter().filter_map(|finding| match finding.check.verdict() {
            Verdict::Deny(denial) => Some((finding.provider, denial)),
            Verdict::Allow | Verdict::Wait => None,
        })
    }

    /// The provider that denied a token last.
    pub fn last_denied(&self) -> Option<ProviderId> {
        self.denials().next_back().map(|(provider, _)| provider)
    }
}

/// An evaluation in the making.
struct Evaluator<'a> {
    check: &'a mut dyn FnMut(TokenPolicyRef, usize, Effort) -> TokenCheck,
    effort: Effort,
    /// Whether a denial for a missing token satisfies a node above.
    allows_missing: bool,
    findings: Vec<Finding>,
    invalid_header: Option<String>,
    is_foreign: bool,
}

impl Evaluator<'_> {
    fn node(&mut self, node: &Node) -> Verdict {
        match node {
            Node::Satisfied => Verdict::Allow,
            Node::Foreign => {
                self.is_foreign = true;
                Verdict::Allow
            }
            Node::Denied(error) => Verdict::Deny(Denial::Token(*error)),
            Node::Good(policy, tokens) if tokens.is_empty() => {
                let denial = Denial::Token(TokenError::Missing);
                let check = TokenCheck::Denied(denial);
                self.found(*policy, None, check);
                Verdict::Deny(denial)
            }
            Node::Good(policy, tokens) => self.all(tokens, |this, token| this.token(*policy, *token)),
            Node::All(nodes) => self.all(nodes, Self::node),
            Node::Any(nodes, fallback) => self.any(nodes, *fallback),
            Node::Each { tokens, on_invalid: OnInvalid::Deny } => {
                self.all(tokens, |this, (token, policy)| match policy {
                    Ok(policy) => this.token(*policy, *token),
                    Err(error) => Verdict::Deny(Denial::Token(*error)),
                })
            }
            Node::Each { tokens, on_invalid } => self.whatever(|this| {
                for (token, policy) in tokens {
                    let verdict = policy.ok().map(|policy| this.token(policy, *token));
                    if let (OnInvalid::AllowWithHeader(header), true) = (on_invalid, verdict != Some(Verdict::Allow)) {
                        this.invalid_header = Some(header.clone());
                    }
                }
            }),
        }
    }

    /// Allow, whatever becomes of the tokens that `evaluate` checks: the request does not wait for them.
    fn whatever(&mut self, evaluate: impl FnOnce(&mut Self)) -> Verdict {
        let before = self.findings.len();
        evaluate(self);
        for finding in self.findings.iter_mut().skip(before) {
            finding.check = finding.check.without_waiting();
        }
        Verdict::Allow
    }

    /// The first denial; else Wait if anything waits.
    fn all<T>(&mut self, items: &[T], mut verdict_of: impl FnMut(&mut Self, &T) -> Verdict) -> Verdict {
        let (effort, mut verdict) = (self.effort, Verdict::Allow);
        for item in items {
            match verdict_of(self, item) {
                Verdict::Allow => {}
                Verdict::Wait => {
                    verdict = Verdict::Wait;
                    self.effort = Effort::Cheap;
                }
                // The token that waits may turn out bad, and a bad token is not missing.
                Verdict::Deny(Denial::Token(TokenError::Missing))
                    if self.allows_missing && verdict == Verdict::Wait =>
                {
                    break;
                }
                Verdict::Deny(denial) => {
                    verdict = Verdict::Deny(denial);
                    break;
                }
            }
        }
        self.effort = effort;
        verdict
    }

    fn any(&mut self, nodes: &[Node], fallback: Fallback) -> Verdict {
        if fallback == Fallback::MissingOrFailed {
            return self.whatever(|this| {
                this.any_of(nodes, Fallback::Nothing);
            });
        }
        self.any_of(nodes, fallback)
    }

    fn any_of(&mut self, nodes: &[Node], fallback: Fallback) -> Verdict {
        let (allows_missing, mut is_known, mut is_allowed) = (self.allows_missing, true, false);
        let mut told = Denial::Token(TokenError::Missing);
        for node in nodes {
            self.allows_missing = allows_missing || fallback == Fallback::Missing;
            let before = self.findings.len();
            let verdict = self.node(node);
            self.allows_missing = allows_missing;
            match verdict {
                // The next nodes may have good tokens to forward, which this node does not know of its own.
                Verdict::Allow if self.lacks_keys_since(before) => is_allowed = true,
                Verdict::Allow => return Verdict::Allow,
                Verdict::Wait => is_known = false,
                Verdict::Deny(denial) if weight(denial) >= weight(told) => told = denial,
                Verdict::Deny(_) => {}
            }
        }
        match fallback {
            _ if is_allowed => Verdict::Allow,
            _ if !is_known => Verdict::Wait,
            Fallback::Missing if told == Denial::Token(TokenError::Missing) => Verdict::Allow,
            Fallback::Missing | Fallback::Nothing | Fallback::MissingOrFailed => Verdict::Deny(told),
        }
    }

    /// Whether a token was found since then of which a fetch could tell more, though no request waits for it.
    fn lacks_keys_since(&self, before: usize) -> bool {
        let mut since = self.findings.iter().skip(before);
        since.any(|finding| matches!(finding.check, TokenCheck::Unknown { .. }))
    }

    fn token(&mut self, policy: TokenPolicyRef, token: usize) -> Verdict {
        let check = (self.check)(policy, token, self.effort);
        self.found(policy, Some(token), check);
        check.verdict()
    }

    fn found(&mut self, policy: TokenPolicyRef, token: Option<usize>, check: TokenCheck) {
        let TokenPolicyRef { provider, policy, demands } = policy;
        self.findings.push(Finding { provider, policy, demands, token, check });
    }
}

/// Of several denials the last of the greatest weight is told: a missing token counts least, then an issuer that no provider
/// accepts, then what is wrong with a token, then that the keys are not available.
fn weight(denial: Denial) -> u8 {
    match denial {
        Denial::Token(TokenError::Missing) => 0,
        Denial::Token(TokenError::IssuerNotConfigured) => 1,
        Denial::Token(_) => 2,
        Denial::KeysUnavailable(_) | Denial::TooManyParked => 3,
    }
}

#[cfg(test)]
mod tests;
