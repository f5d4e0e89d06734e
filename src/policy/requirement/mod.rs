//! What a rule requires: Envoy's `JwtRequirement`.
//!
//! [`table`] holds all requirements of a configuration and indexes providers by issuer ([`issuer_index`]), so that a request is evaluated against
//! the providers of its token's `iss` only. [`resolve`] finds the tokens of one request, [`resolved`] is what must hold of
//! them, and [`evaluate`] decides whether it does. [`demands`] is what rules demand of tokens that a provider accepts.

pub mod demands;
pub mod evaluate;
mod foreign;
mod issuer_index;
mod resolve;
pub mod resolved;
pub mod table;

use std::collections::BTreeSet;

use self::{demands::DemandsId, issuer_index::IssuerIndex};
pub use self::{
    evaluate::{Evaluation, Finding, TokenCheck, Verdict},
    resolved::ResolvedRequirement,
    table::{IndexedProvider, Requirements},
};
use crate::ids::ProviderId;

/// The header by which Envoy tells an upstream that a token is invalid and was let through.
pub const SIGNATURE_VERIFIED: &str = "x-jwt-signature-verified";

/// One of a provider's token policies, and what is demanded besides. Whatever the demands are, they share the policy's cache and
/// its signature checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenPolicyRef {
    /// The provider.
    pub provider: ProviderId,
    /// The index in [`super::provider::Provider::policies`].
    pub policy: usize,
    /// What each request demands of a token that satisfies the policy. `None`: nothing.
    pub demands: Option<DemandsId>,
}

impl TokenPolicyRef {
    /// A policy, without demands.
    pub const fn new(provider: ProviderId, policy: usize) -> Self {
        Self { provider, policy, demands: None }
    }

    /// The policy alone.
    #[must_use]
    pub const fn without_demands(self) -> Self {
        Self { demands: None, ..self }
    }
}

/// What is required of a request.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Nothing.
    Nothing,
    /// A good token of this provider.
    Provider(TokenPolicyRef),
    /// All of these.
    All(Vec<Requirement>),
    /// One of these.
    Any(AnyOf),
    /// Every token of the request is good. A request without a token satisfies the requirement.
    AllowMissing,
    /// The request has a token, and every token of a configured issuer is good. With `or_missing`, a request without a token
    /// satisfies the requirement, too.
    AllowForeign { or_missing: bool },
    /// Every request satisfies the requirement.
    AllowMissingOrFailed,
    /// Every request satisfies the requirement; this header tells the upstream that a token is invalid. Envoy 1.40's
    /// `extract_only_without_validation` verifies tokens in spite of its name.
    ExtractOnly(String),
}

/// `requires_any`. Children that are plain providers are found by their issuer.
#[derive(Clone, Debug, Default)]
pub struct AnyOf {
    groups: Vec<Group>,
    others: Vec<(usize, Requirement)>,
    fallback: Fallback,
    /// Whether a request satisfies the requirement whose tokens all are of no configured issuer.
    allows_foreign: bool,
}

/// What satisfies an [`AnyOf`] when no child does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fallback {
    /// Nothing.
    #[default]
    Nothing,
    /// That the request has no token.
    Missing,
    /// Anything.
    MissingOrFailed,
}

/// What becomes of a request with an invalid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// The request is denied.
    Deny,
    /// The request is allowed.
    Allow,
    /// The request is allowed and carries this header.
    AllowWithHeader(String),
}

/// Children of an [`AnyOf`] that look for tokens in the same locations.
#[derive(Clone, Debug, Default)]
struct Group {
    /// The index of the list of locations.
    locations: usize,
    /// Each child's position among the children, and its token policy.
    children: Vec<(usize, TokenPolicyRef)>,
    /// The indices in `children`.
    by_issuer: IssuerIndex,
    last: usize,
}

impl Requirement {
    /// The headers by which upstreams learn of invalid tokens.
    fn status_headers<'a>(&'a self, headers: &mut Vec<&'a str>) {
        match self {
            Self::ExtractOnly(header) => headers.push(header),
            Self::All(children) => children.iter().for_each(|child| child.status_headers(headers)),
            Self::Any(any) => any.others.iter().for_each(|(_, child)| child.status_headers(headers)),
            Self::Nothing
            | Self::Provider(_)
            | Self::AllowMissing
            | Self::AllowForeign { .. }
            | Self::AllowMissingOrFailed => {}
        }
    }

    /// Adds the providers that the requirement names. Returns whether the requirement is about all providers.
    fn named(&self, providers: &mut BTreeSet<ProviderId>) -> bool {
        let mut of = |children: &mut dyn Iterator<Item = &Self>| {
            children.fold(false, |is_about_all, child| child.named(providers) | is_about_all)
        };
        match self {
            Self::Provider(policy) => {
                providers.insert(policy.provider);
                false
            }
            Self::All(children) => of(&mut children.iter()),
            Self::Any(any) => {
                let is_about_all = of(&mut any.others.iter().map(|(_, child)| child));
                let children = any.groups.iter().flat_map(|group| &group.children);
                providers.extend(children.map(|(_, policy)| policy.provider));
                is_about_all
            }
            Self::AllowMissing | Self::AllowForeign { .. } => true,
            Self::Nothing | Self::AllowMissingOrFailed | Self::ExtractOnly(_) => false,
        }
    }

    /// Whether the requirement denies some request.
    fn can_deny(&self) -> bool {
        match self {
            Self::Nothing | Self::AllowMissingOrFailed | Self::ExtractOnly(_) => false,
            Self::Provider(_) | Self::AllowMissing | Self::AllowForeign { .. } => true,
            Self::All(children) => children.iter().any(Self::can_deny),
            Self::Any(any) => {
                any.fallback != Fallback::MissingOrFailed && any.others.iter().all(|(_, child)| child.can_deny())
            }
        }
    }
}
