//! What a requirement requires of one request. The answer may change with the keys; the question does not.

use super::{demands::CapturedHeaders, Fallback, OnInvalid, TokenPolicyRef};
use crate::{ids::ProviderId, policy::token_location::Candidate, token::TokenError};

/// A requirement resolved for one request.
#[derive(Debug)]
pub struct ResolvedRequirement {
    /// The tokens of the request. Nodes name a token by its index.
    pub tokens: Vec<Candidate>,
    /// What must hold of the tokens.
    pub root: Node,
    /// The headers with which claims are compared.
    pub headers: CapturedHeaders,
    /// The request asks whether the filter is ready, and goes nowhere. These are key sets whose records tell.
    pub readiness: Option<Vec<ProviderId>>,
}

/// What must hold of a request's tokens.
#[derive(Debug)]
pub enum Node {
    /// Always holds.
    Satisfied,
    /// Holds, since all tokens of the request are of no configured issuer.
    Foreign,
    /// Never holds.
    Denied(TokenError),
    /// There is a token, and all these tokens satisfy this policy.
    Good(TokenPolicyRef, Vec<usize>),
    /// All of these hold.
    All(Vec<Node>),
    /// One of these holds, or the fallback does.
    Any(Vec<Node>, Fallback),
    /// Each of these tokens satisfies the policy of its own issuer, or the request is allowed anyway.
    Each {
        /// The tokens, each with the policy of its issuer, or why no provider accepts it.
        tokens: Vec<(usize, Result<TokenPolicyRef, TokenError>)>,
        /// What becomes of a request with an invalid token.
        on_invalid: OnInvalid,
    },
}

impl ResolvedRequirement {
    /// A requirement that every request satisfies.
    pub fn satisfied() -> Self {
        Self { tokens: Vec::new(), root: Node::Satisfied, headers: CapturedHeaders::default(), readiness: None }
    }

    /// A requirement that no request satisfies.
    pub fn denied(error: TokenError) -> Self {
        Self { root: Node::Denied(error), ..Self::satisfied() }
    }

    /// A request that only the filter answers. No requirement lets the request through.
    pub fn of_readiness(providers: Vec<ProviderId>) -> Self {
        Self { readiness: Some(providers), ..Self::denied(TokenError::Missing) }
    }

    /// Whether the requirement is satisfied whatever the tokens are.
    pub fn is_satisfied(&self) -> bool {
        matches!(self.root, Node::Satisfied)
    }

    /// About the memory that the requirement takes besides its tokens. Grows with the number of tokens
    /// and with the headers that claims are compared with.
    pub fn bytes(&self) -> usize {
        self.root.bytes().saturating_add(self.headers.bytes())
    }

    /// The providers whose keys the evaluation may need, or whose records the answer.
    pub fn providers(&self) -> Vec<ProviderId> {
        let mut providers = self.readiness.clone().unwrap_or_default();
        self.root.for_each_policy(&mut |TokenPolicyRef { provider, .. }| {
            if !providers.contains(&provider) {
                providers.push(provider);
            }
        });
        providers
    }

    /// The token policies that the evaluation may check, each with its demands.
    pub fn policies(&self) -> Vec<TokenPolicyRef> {
        let mut policies = Vec::new();
        self.root.for_each_policy(&mut |policy| policies.push(policy));
        policies
    }
}

impl Node {
    fn bytes(&self) -> usize {
        let of_tokens = |count: usize, size: usize| count.saturating_mul(size);
        let rest = match self {
            Self::Satisfied | Self::Foreign | Self::Denied(_) => 0,
            Self::Good(_, tokens) => of_tokens(tokens.len(), size_of::<usize>()),
            Self::All(nodes) | Self::Any(nodes, _) => nodes.iter().map(Self::bytes).fold(0, usize::saturating_add),
            Self::Each { tokens, .. } => {
                of_tokens(tokens.len(), size_of::<(usize, Result<TokenPolicyRef, TokenError>)>())
            }
        };
        rest.saturating_add(size_of::<Self>())
    }

    fn for_each_policy(&self, apply: &mut dyn FnMut(TokenPolicyRef)) {
        match self {
            Self::Good(policy, _) => apply(*policy),
            Self::All(nodes) | Self::Any(nodes, _) => nodes.iter().for_each(|node| node.for_each_policy(apply)),
            Self::Each { tokens, .. } => tokens.iter().filter_map(|(_, policy)| policy.ok()).for_each(apply),
            Self::Satisfied | Self::Foreign | Self::Denied(_) => {}
        }
    }
}
