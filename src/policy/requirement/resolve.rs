//! Resolves a requirement for one request: finds the tokens, and the providers that their issuers leave.

use super::{
    demands::CapturedHeaders,
    resolved::{Node, ResolvedRequirement},
    table::Requirements,
    AnyOf, OnInvalid, Requirement, TokenPolicyRef,
};
use crate::{
    ids::RequirementId,
    policy::{
        headers::Headers,
        token_location::{Candidate, TokenLocation},
    },
    token::TokenError,
};

/// A request with more tokens is denied without a check, unless its requirement cannot deny.
const MAX_TOKENS: usize = 16;
/// How many bytes at the end of a token tell different tokens apart, as a rule.
const END: usize = 16;

impl Requirements {
    /// What this requirement requires of a request with these headers.
    pub fn resolve(&self, id: RequirementId, headers: Headers<'_>) -> ResolvedRequirement {
        let Some(requirement) = self.requirements.get(id.0) else {
            return ResolvedRequirement::denied(TokenError::Missing);
        };
        let mut resolver = Resolver::new(self, headers);
        let root = resolver.resolve(requirement);
        let Resolver { tokens, captured, .. } = resolver;
        if tokens.len() <= MAX_TOKENS {
            return ResolvedRequirement { tokens, root, headers: captured, readiness: None };
        }
        // Too many tokens: none is checked.
        let root = if requirement.can_deny() {
            Node::Denied(TokenError::TooLarge)
        } else {
            let mut headers = Vec::new();
            requirement.status_headers(&mut headers);
            let header = headers.first().map(|header| (*header).to_owned());
            let on_invalid = header.map_or(OnInvalid::Allow, OnInvalid::AllowWithHeader);
            Node::Each { tokens: vec![(0, Err(TokenError::TooLarge))], on_invalid }
        };
        ResolvedRequirement { root, ..ResolvedRequirement::satisfied() }
    }
}

/// The index of a token, with the policy of the first provider of its issuer.
type FoundToken = (usize, Result<TokenPolicyRef, TokenError>);

/// Resolves one requirement for one request.
struct Resolver<'r, 'h> {
    requirements: &'r Requirements,
    headers: Headers<'h>,
    /// The tokens that were found; one more than [`MAX_TOKENS`] if the request has too many.
    tokens: Vec<Candidate>,
    /// The tokens that were found at a list of locations.
    found: Vec<(usize, Vec<usize>)>,
    captured: CapturedHeaders,
}

/// Nodes in the order of the children that they stand for. The order decides which denial is told.
struct Ordered(Vec<(usize, Node)>);

impl Ordered {
    fn add(&mut self, index: usize, node: Node) {
        let at = self.0.partition_point(|(other, _)| *other <= index);
        self.0.insert(at, (index, node));
    }
}

impl<'r, 'h> Resolver<'r, 'h> {
    fn new(requirements: &'r Requirements, headers: Headers<'h>) -> Self {
        Self { requirements, headers, tokens: Vec::new(), found: Vec::new(), captured: CapturedHeaders::default() }
    }

    fn resolve(&mut self, requirement: &Requirement) -> Node {
        match requirement {
            Requirement::Nothing => Node::Satisfied,
            Requirement::Provider(policy) => {
                let locations = self.requirements.providers[policy.provider].locations;
                let tokens = self.tokens_at(locations);
                self.good(*policy, tokens)
            }
            Requirement::All(children) => Node::All(children.iter().map(|child| self.resolve(child)).collect()),
            Requirement::Any(any) => self.resolve_any(any),
            Requirement::AllowMissing => self.resolve_each(OnInvalid::Deny),
            Requirement::AllowForeign { or_missing } => self.resolve_foreign(*or_missing),
            Requirement::AllowMissingOrFailed => self.resolve_each(OnInvalid::Allow),
            Requirement::ExtractOnly(header) => self.resolve_each(OnInvalid::AllowWithHeader(header.clone())),
        }
    }

    fn resolve_any(&mut self, any: &AnyOf) -> Node {
        let mut nodes = Ordered(Vec::new());
        for group in &any.groups {
            let tokens = self.tokens_at(group.locations);
            // The first token decides which providers of the group remain.
            let Some(first) = tokens.first() else {
                nodes.add(group.last, Node::Denied(TokenError::Missing));
                continue;
            };
            if let [(index, policy)] = group.children.as_slice() {
                nodes.add(*index, self.good(*policy, tokens));
                continue;
            }
            match self.issuer(*first) {
                Err(error) => nodes.add(group.last, Node::Denied(error)),
                Ok(issuer) => {
                    let of_issuer = issuer.map(|issuer| group.by_issuer.of(issuer)).unwrap_or_default();
                    let found = of_issuer.iter().chain(group.by_issuer.of_any());
                    let mut remaining = group.children.len();
                    for (index, policy) in found.filter_map(|child| group.children.get(*child)) {
                        nodes.add(*index, self.good(*policy, tokens.clone()));
                        remaining = remaining.saturating_sub(1);
                    }
                    if remaining > 0 {
                        nodes.add(group.last, Node::Denied(TokenError::IssuerNotConfigured));
                    }
                }
            }
        }
        for (index, other) in &any.others {
            let node = self.resolve(other);
            nodes.add(*index, node);
        }
        if any.allows_foreign {
            let tokens = self.each_token();
            if !tokens.is_empty() && tokens.iter().all(|token| self.is_foreign(token)) {
                nodes.add(usize::MAX, Node::Foreign);
            }
        }
        Node::Any(nodes.0.into_iter().map(|(_, node)| node).collect(), any.fallback)
    }

    /// The tokens of configured issuers, each with the policy of the first provider of its issuer.
    fn resolve_foreign(&mut self, or_missing: bool) -> Node {
        let mut tokens = self.each_token();
        if tokens.is_empty() && !or_missing {
            return Node::Denied(TokenError::Missing);
        }
        let has_tokens = !tokens.is_empty();
        tokens.retain(|token| !self.is_foreign(token));
        match tokens.is_empty() && has_tokens {
            true => Node::Foreign,
            false => Node::Each { tokens, on_invalid: OnInvalid::Deny },
        }
    }

    fn is_foreign(&self, (token, policy): &FoundToken) -> bool {
        policy.is_err() && self.tokens.get(*token).is_some_and(|token| self.requirements.is_foreign(token))
    }

    fn resolve_each(&mut self, on_invalid: OnInvalid) -> Node {
        Node::Each { tokens: self.each_token(), on_invalid }
    }

    /// The tokens of all locations, each with the policy of the first provider of its issuer.
    fn each_token(&mut self) -> Vec<FoundToken> {
        let requirements = self.requirements;
        let mut found = Vec::new();
        for shared in requirements.everywhere.iter().rev() {
            for token in self.add_tokens(&shared.location) {
                let policy = self.issuer(token).and_then(|issuer| {
                    let issuer = issuer.unwrap_or_default();
                    let is_expected_here = shared.of_issuer.first(issuer).is_some();
                    let provider = requirements.provider_of(issuer).filter(|_| is_expected_here);
                    provider.map(|id| requirements.policy_of(id)).ok_or(TokenError::IssuerNotConfigured)
                });
                policy.iter().for_each(|policy| self.capture(*policy));
                found.push((token, policy));
            }
        }
        found
    }

    fn good(&mut self, policy: TokenPolicyRef, tokens: Vec<usize>) -> Node {
        self.capture(policy);
        Node::Good(policy, tokens)
    }

    /// Keeps the headers that the token is compared with: a request that waits is decided without its headers.
    fn capture(&mut self, policy: TokenPolicyRef) {
        if let Some(demands) = policy.demands.and_then(|id| self.requirements.demands.get(id)) {
            self.captured.capture(demands, self.headers);
        }
    }

    /// The tokens at a list of locations, in the order in which they are tried.
    fn tokens_at(&mut self, locations: usize) -> Vec<usize> {
        if let Some((_, found)) = self.found.iter().find(|(known, _)| *known == locations) {
            return found.clone();
        }
        let list = self.requirements.locations.get(locations).into_iter().flatten();
        let found: Vec<_> = list.rev().flat_map(|location| self.add_tokens(location)).collect();
        self.found.push((locations, found.clone()));
        found
    }

    /// Adds the tokens at a location to the request's tokens.
    fn add_tokens(&mut self, location: &TokenLocation) -> Vec<usize> {
        let mut added = Vec::new();
        for token in location.tokens(self.headers).into_iter().rev() {
            // One token too many is enough to notice.
            if self.tokens.len() > MAX_TOKENS {
                break;
            }
            // Tokens of one issuer begin alike, so their ends are compared first.
            let end = token.last_chunk::<END>();
            let is_known = |known: &Candidate| {
                known.token().last_chunk() == end && *known.token() == *token && known.location() == location
            };
            let known = self.tokens.iter().position(is_known);
            let index = known.unwrap_or(self.tokens.len());
            if !added.contains(&index) {
                added.push(index);
            }
            if known.is_none() {
                self.tokens.push(Candidate::new(location.clone(), &token, self.requirements.max_token_bytes));
            }
        }
        added
    }

    /// The issuer that a token names.
    fn issuer(&self, token: usize) -> Result<Option<&str>, TokenError> {
        self.tokens.get(token).ok_or(TokenError::Missing)?.issuer()
    }
}
