//! What a requirement requires of one request. The answer may change with the keys; the question does not.

use super::{Fallback, OnInvalid, TokenPolicyRef};
use crate::{ids::ProviderId, policy::token_location::Candidate, token::TokenError};

/// A requirement resolved for one request.
#[derive(Debug)]
pub struct ResolvedRequirement {
    /// The tokens of the request. Nodes name a token by its index.
    pub tokens: Vec<Candidate>,
    /// What must hold of the tokens.
    pub root: Node,
}

/// What must hold of a request's tokens.
#[derive(Debug)]
pub enum Node {
    /// Always holds.
    Satisfied,
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
        Self { tokens: Vec::new(), root: Node::Satisfied }
    }

    /// A requirement that no request satisfies.
    pub fn denied(error: TokenError) -> Self {
        Self { tokens: Vec::new(), root: Node::Denied(error) }
    }

    /// Whether the requirement is satisfied whatever the tokens are.
    pub fn is_satisfied(&self) -> bool {
        matches!(self.root, Node::Satisfied)
    }

    /// About the memory that the requirement takes besides its tokens. Grows with the number of tokens.
    pub fn bytes(&self) -> usize {
        self.root.bytes()
    }

    /// The providers whose keys the evaluation may need.
    pub fn providers(&self) -> Vec<ProviderId> {
        let mut providers = Vec::new();
        self.root.providers(&mut providers);
        providers
    }
}

impl Node {
    fn bytes(&self) -> usize {
        let of_tokens = |count: usize, size: usize| count.saturating_mul(size);
        let rest = match self {
            Self::Satisfied | Self::Denied(_) => 0,
            Self::Good(_, tokens) => of_tokens(tokens.len(), size_of::<usize>()),
            Self::All(nodes) | Self::Any(nodes, _) => nodes.iter().map(Self::bytes).fold(0, usize::saturating_add),
            Self::Each { tokens, .. } => {
                of_tokens(tokens.len(), size_of::<(usize, Result<TokenPolicyRef, TokenError>)>())
            }
        };
        rest.saturating_add(size_of::<Self>())
    }

    fn providers(&self, providers: &mut Vec<ProviderId>) {
        let mut add = |provider| {
            if !providers.contains(&provider) {
                providers.push(provider);
            }
        };
        match self {
            Self::Good(policy, _) => add(policy.provider),
            Self::All(nodes) | Self::Any(nodes, _) => nodes.iter().for_each(|node| node.providers(providers)),
            Self::Each { tokens, .. } => {
                tokens.iter().filter_map(|(_, policy)| policy.ok()).for_each(|p| add(p.provider))
            }
            Self::Satisfied | Self::Denied(_) => {}
        }
    }
}
