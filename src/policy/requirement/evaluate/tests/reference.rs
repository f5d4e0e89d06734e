//! The evaluation in three-valued logic, without denials, findings or order.

use super::super::{TokenCheck, Verdict};
use crate::{
    policy::requirement::{resolved::Node, Fallback, OnInvalid, TokenPolicyRef},
    token::TokenError,
};

/// A verdict without its denial. `requires_all` is the least of its children, `requires_any` the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    Deny,
    Wait,
    Allow,
}

use Truth::{Allow, Deny, Wait};

impl From<Verdict> for Truth {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Allow,
            Verdict::Wait => Wait,
            Verdict::Deny(_) => Deny,
        }
    }
}

/// The check of one token under one policy.
pub(super) type Check<'a> = &'a dyn Fn(TokenPolicyRef, usize) -> TokenCheck;

pub(super) fn reference(node: &Node, check: Check<'_>) -> Truth {
    truth(node, check, false)
}

/// `allows_missing`: a denial for want of a token satisfies a node above.
fn truth(node: &Node, check: Check<'_>, allows_missing: bool) -> Truth {
    let token = |policy: TokenPolicyRef, token: usize| Truth::from(check(policy, token).verdict());
    let all = |truths: &mut dyn Iterator<Item = Truth>| truths.min().unwrap_or(Allow);
    let of_each =
        |(index, policy): &(usize, Result<TokenPolicyRef, TokenError>)| policy.map(|policy| token(policy, *index));
    match node {
        Node::Satisfied | Node::Foreign => Allow,
        Node::Denied(_) => Deny,
        Node::Good(policy, tokens) => tokens.iter().map(|index| token(*policy, *index)).min().unwrap_or(Deny),
        Node::All(nodes) => {
            let mut least = Allow;
            for node in nodes {
                match truth(node, check, allows_missing) {
                    // The token that waits may be denied for another reason.
                    Deny if least == Wait && allows_missing && lacks_token(node, check, true) => break,
                    truth => least = least.min(truth),
                }
            }
            least
        }
        Node::Any(_, Fallback::MissingOrFailed) => Allow,
        Node::Any(nodes, fallback) => {
            let allows_missing = allows_missing || *fallback == Fallback::Missing;
            let lacks_tokens = || nodes.iter().all(|node| lacks_token(node, check, allows_missing));
            match nodes.iter().map(|node| truth(node, check, allows_missing)).max().unwrap_or(Deny) {
                Deny if *fallback == Fallback::Missing && lacks_tokens() => Allow,
                truth => truth,
            }
        }
        Node::Each { tokens, on_invalid: OnInvalid::Deny } => {
            all(&mut tokens.iter().map(|token| of_each(token).unwrap_or(Deny)))
        }
        Node::Each { .. } => Allow,
    }
}

/// Whether a denied node is denied for want of a token.
fn lacks_token(node: &Node, check: Check<'_>, allows_missing: bool) -> bool {
    match node {
        Node::Denied(error) => *error == TokenError::Missing,
        Node::Good(_, tokens) => tokens.is_empty(),
        Node::All(nodes) => {
            let first = nodes.iter().find(|node| truth(node, check, allows_missing) == Deny);
            first.is_some_and(|node| lacks_token(node, check, allows_missing))
        }
        Node::Any(nodes, fallback) => {
            let allows_missing = allows_missing || *fallback == Fallback::Missing;
            nodes.iter().all(|node| lacks_token(node, check, allows_missing))
        }
        Node::Satisfied | Node::Foreign | Node::Each { .. } => false,
    }
}
