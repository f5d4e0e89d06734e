//! All requirements of a configuration, and the providers by issuer and by the locations of their tokens.

use std::collections::BTreeSet;

use super::{demands::DemandsTable, AnyOf, Fallback, Group, Requirement, TokenPolicyRef};
use crate::{
    ids::{ProviderId, ProviderMap, RequirementId},
    policy::token_location::TokenLocation,
    sorted,
};

/// A provider as requirements see it.
#[derive(Clone, Debug)]
pub struct IndexedProvider {
    /// The only issuer whose tokens the provider accepts. `None`: any issuer.
    pub issuer: Option<String>,
    /// The index of the list of locations in which the provider looks for tokens.
    pub locations: usize,
}

/// A location in which any provider looks for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SharedLocation {
    pub(super) location: TokenLocation,
    /// The issuers whose tokens may be at this location. `None`: any issuer.
    pub(super) issuers: Option<BTreeSet<String>>,
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
    /// The providers of each issuer, by their positions.
    of_issuer: Vec<(String, Vec<usize>)>,
    first_of_any_issuer: Option<ProviderId>,
    /// The longest token that is parsed.
    pub(super) max_token_bytes: usize,
    /// What rules demand of tokens that a provider accepts.
    pub demands: DemandsTable,
}

impl Requirements {
    /// No requirement yet, of these providers. `locations` are the lists that the providers name by index.
    pub fn new(providers: Vec<IndexedProvider>, locations: Vec<Vec<TokenLocation>>, max_token_bytes: usize) -> Self {
        let providers = ProviderMap::from(providers);
        let (mut of_issuer, mut first_of_any_issuer) = (Vec::new(), None);
        let mut everywhere: Vec<SharedLocation> = Vec::new();
        for (id, provider) in providers.iter() {
            match &provider.issuer {
                Some(issuer) => of_issuer.push((issuer.clone(), id.index())),
                None => drop(first_of_any_issuer.get_or_insert(id)),
            }
            for location in locations.get(provider.locations).into_iter().flatten() {
                let at = everywhere.partition_point(|shared| shared.location < *location);
                if everywhere.get(at).is_none_or(|shared| shared.location != *location) {
                    let issuers = Some(BTreeSet::new());
                    everywhere.insert(at, SharedLocation { location: location.clone(), issuers });
                }
                let Some(shared) = everywhere.get_mut(at) else { continue };
                match (&provider.issuer, &mut shared.issuers) {
                    (Some(issuer), Some(issuers)) => drop(issuers.insert(issuer.clone())),
                    (None, issuers) => *issuers = None,
                    (Some(_), None) => {}
                }
            }
        }
        let (requirements, of_issuer) = (Vec::new(), sorted::group(of_issuer));
        let demands = DemandsTable::default();
        Self {
            requirements,
            providers,
            locations,
            everywhere,
            of_issuer,
            first_of_any_issuer,
            max_token_bytes,
            demands,
        }
    }

    /// Adds a requirement.
    pub fn add(&mut self, requirement: Requirement) -> RequirementId {
        self.requirements.push(requirement);
        RequirementId::new(self.requirements.len().saturating_sub(1))
    }

    /// A requirement that one of `children` satisfies, or else `fallback`.
    pub fn any(&self, children: Vec<Requirement>, fallback: Fallback) -> Requirement {
        let mut any = AnyOf { fallback, ..AnyOf::default() };
        for (index, child) in children.into_iter().enumerate() {
            let policy = match child {
                Requirement::Provider(policy) => policy,
                other => {
                    any.others.push((index, other));
                    continue;
                }
            };
            let IndexedProvider { issuer, locations } = &self.providers[policy.provider];
            let at = any.groups.iter().position(|group| group.locations == *locations).unwrap_or(any.groups.len());
            if at == any.groups.len() {
                let (by_issuer, of_any_issuer) = Default::default();
                any.groups.push(Group { locations: *locations, by_issuer, of_any_issuer, size: 0, last: index });
            }
            let Some(group) = any.groups.get_mut(at) else { continue };
            match issuer {
                Some(issuer) => group.by_issuer.entry(issuer.clone()).or_default().push((index, policy)),
                None => group.of_any_issuer.push((index, policy)),
            }
            group.size = group.size.saturating_add(1);
            group.last = index;
        }
        Requirement::Any(any)
    }

    /// The headers by which upstreams learn of invalid tokens.
    pub fn status_headers(&self) -> Vec<&str> {
        let mut headers = Vec::new();
        self.requirements.iter().for_each(|requirement| requirement.status_headers(&mut headers));
        headers
    }

    /// Whether this requirement denies some request.
    pub fn can_deny(&self, id: RequirementId) -> bool {
        self.requirements.get(id.0).is_none_or(Requirement::can_deny)
    }

    /// The first provider that accepts tokens of this issuer.
    pub(super) fn provider_of(&self, issuer: &str) -> Option<ProviderId> {
        sorted::first(&self.of_issuer, issuer).map(ProviderId::new).or(self.first_of_any_issuer)
    }

    /// The own token policy of a provider, with what each request demands of its tokens.
    pub(super) fn policy_of(&self, provider: ProviderId) -> TokenPolicyRef {
        TokenPolicyRef { demands: self.demands.of_provider(provider), ..TokenPolicyRef::new(provider, 0) }
    }
}
