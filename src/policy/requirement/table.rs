//! All requirements of a configuration, and the providers by issuer and by the locations of their tokens.

use std::collections::BTreeSet;

use super::{
    demands::DemandsTable, foreign::OwnIssuers, issuer_index::IssuerIndex, AnyOf, Fallback, Group, Requirement,
    TokenPolicyRef,
};
use crate::{
    ids::{ProviderId, ProviderMap, RequirementId},
    policy::token_location::{Candidate, TokenLocation},
    token::issuers::Issuers,
};

/// A provider as requirements see it.
#[derive(Clone, Debug)]
pub struct IndexedProvider {
    /// The issuers whose tokens the provider accepts.
    pub issuers: Issuers,
    /// The index of the list of locations in which the provider looks for tokens.
    pub locations: usize,
}

/// A location in which any provider looks for tokens.
#[derive(Clone, Debug)]
pub(super) struct SharedLocation {
    pub(super) location: TokenLocation,
    /// The providers that look here.
    pub(super) of_issuer: IssuerIndex,
}

/// All requirements of a configuration.
#[derive(Clone, Debug)]
pub struct Requirements {
    pub(super) requirements: Vec<Requirement>,
    pub(super) providers: ProviderMap<IndexedProvider>,
    /// Lists of locations; providers with equal lists share one.
    pub(super) locations: Vec<Vec<TokenLocation>>,
    /// The locations of all providers, sorted.
    pub(super) everywhere: Vec<SharedLocation>,
    /// All providers, by their positions.
    of_issuer: IssuerIndex,
    /// Tells which tokens are foreign. `None`: no requirement asks, and no token is.
    own_issuers: Option<OwnIssuers>,
    /// The longest token that is parsed.
    pub(super) max_token_bytes: usize,
    /// What rules demand of tokens that a provider accepts.
    pub demands: DemandsTable,
}

impl Requirements {
    /// No requirement yet, of these providers. `locations` are the lists that the providers name by index.
    pub fn new(providers: Vec<IndexedProvider>, locations: Vec<Vec<TokenLocation>>, max_token_bytes: usize) -> Self {
        let providers = ProviderMap::from(providers);
        let of_issuer = IssuerIndex::new(providers.iter().map(|(id, provider)| (id.index(), &provider.issuers)));
        let mut everywhere: Vec<SharedLocation> = Vec::new();
        for location in locations.iter().flatten() {
            let at = everywhere.partition_point(|shared| shared.location < *location);
            if everywhere.get(at).is_some_and(|shared| shared.location == *location) {
                continue;
            }
            let lists: Vec<bool> = locations.iter().map(|list| list.contains(location)).collect();
            let looks_here = |provider: &IndexedProvider| lists.get(provider.locations) == Some(&true);
            let here = providers.iter().filter(|(_, provider)| looks_here(provider));
            let of_issuer = IssuerIndex::new(here.map(|(id, provider)| (id.index(), &provider.issuers)));
            everywhere.insert(at, SharedLocation { location: location.clone(), of_issuer });
        }
        let (requirements, own_issuers, demands) = Default::default();
        Self { requirements, providers, locations, everywhere, of_issuer, own_issuers, demands, max_token_bytes }
    }

    /// Some requirement will allow tokens of no configured issuer.
    pub fn tell_foreign_tokens(&mut self) {
        let issuers = self.providers.iter().map(|(_, provider)| &provider.issuers);
        self.own_issuers = Some(OwnIssuers::new(issuers));
    }

    /// Whether a token is of no configured issuer.
    pub(super) fn is_foreign(&self, token: &Candidate) -> bool {
        let is_readable = token.token().len() <= self.max_token_bytes;
        is_readable && self.own_issuers.as_ref().is_some_and(|own| own.is_foreign(token.token()))
    }

    /// Adds a requirement.
    pub fn add(&mut self, requirement: Requirement) -> RequirementId {
        self.requirements.push(requirement);
        RequirementId::new(self.requirements.len().saturating_sub(1))
    }

    /// A requirement that one of `children` satisfies, or else `fallback`; or that all tokens are foreign, if that is allowed.
    pub fn any(&self, children: Vec<Requirement>, fallback: Fallback, allows_foreign: bool) -> Requirement {
        let mut any = AnyOf { fallback, allows_foreign, ..AnyOf::default() };
        for (index, child) in children.into_iter().enumerate() {
            let policy = match child {
                Requirement::Provider(policy) => policy,
                other => {
                    any.others.push((index, other));
                    continue;
                }
            };
            let IndexedProvider { locations, .. } = &self.providers[policy.provider];
            let at = any.groups.iter().position(|group| group.locations == *locations).unwrap_or(any.groups.len());
            if at == any.groups.len() {
                any.groups.push(Group { locations: *locations, last: index, ..Group::default() });
            }
            let Some(group) = any.groups.get_mut(at) else { continue };
            group.children.push((index, policy));
            group.last = index;
        }
        for group in &mut any.groups {
            let issuers = |(_, policy): &(usize, TokenPolicyRef)| &self.providers[policy.provider].issuers;
            group.by_issuer = IssuerIndex::new(group.children.iter().map(issuers).enumerate());
        }
        Requirement::Any(any)
    }

    /// The headers by which upstreams learn of invalid tokens.
    pub fn status_headers(&self) -> Vec<&str> {
        let mut headers = Vec::new();
        self.requirements.iter().for_each(|requirement| requirement.status_headers(&mut headers));
        headers
    }

    /// The providers that requirements name: all providers if a requirement is `allow_missing`, which denies a bad token of any.
    pub fn named_providers(&self) -> BTreeSet<ProviderId> {
        let mut named = BTreeSet::new();
        let is_about_all = self.requirements.iter().fold(false, |all, requirement| requirement.named(&mut named) | all);
        if is_about_all {
            named.extend(self.providers.ids());
        }
        named
    }

    /// Whether this requirement denies some request.
    pub fn can_deny(&self, id: RequirementId) -> bool {
        self.requirements.get(id.0).is_none_or(Requirement::can_deny)
    }

    /// The first provider that accepts tokens of this issuer.
    pub(super) fn provider_of(&self, issuer: &str) -> Option<ProviderId> {
        self.of_issuer.first(issuer).map(ProviderId::new)
    }

    /// The own token policy of a provider, with what each request demands of its tokens.
    pub(super) fn policy_of(&self, provider: ProviderId) -> TokenPolicyRef {
        TokenPolicyRef { demands: self.demands.of_provider(provider), ..TokenPolicyRef::new(provider, 0) }
    }
}
