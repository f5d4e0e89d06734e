//! What a rule asks for: Envoy's `JwtRequirement`, and the question that it becomes for one request.
//!
//! However many providers a requirement names, a request is asked about those that its token's issuer leaves: the others are
//! found to be out of the question by their `iss`, all at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    headers::Headers,
    token_location::{Candidate, Source},
};
use crate::token::{claims::Claims, jws, ProviderId, TokenError};

/// Which requirement of the configuration: a small index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequirementId(usize);

impl RequirementId {
    /// The requirement at this place.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }
}

/// A provider's rules, or those with other audiences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenPolicyRef {
    /// Whose tokens.
    pub provider: ProviderId,
    /// A place in [`super::provider::Provider::rules`].
    pub rules: usize,
}

/// The header by which Envoy tells the upstream that a token is bad and went on.
pub const SIGNATURE_VERIFIED: &str = "x-jwt-signature-verified";

/// More tokens than this in one request are not read.
const MAX_TOKENS: usize = 16;

/// Where tokens are looked for on behalf of some providers, and for which issuers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The place.
    pub source: Source,
    /// The issuers whose tokens may come from there; `None`: any.
    pub issuers: Option<BTreeSet<String>>,
}

/// What is asked for. Lists of places are told apart by their number in [`Requirements::places`].
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Nothing.
    Nothing,
    /// A good token of this provider.
    Provider(TokenPolicyRef),
    /// All of these.
    All(Vec<Requirement>),
    /// One of these.
    Any(Any),
    /// Whatever tokens there are must be good.
    AllowMissing,
    /// Tokens may be good.
    AllowMissingOrFailed,
    /// The same, and the upstream is told if one is not: Envoy's `extract_only_without_validation` as Envoy 1.40 does it,
    /// which verifies in spite of its name.
    ExtractOnly(String),
}

/// One of many; those that are plain providers are found by their issuer.
#[derive(Clone, Debug, Default)]
pub struct Any {
    groups: Vec<Group>,
    others: Vec<(usize, Requirement)>,
    allow: Fallback,
}

/// What else satisfies an [`Any`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fallback {
    /// Nothing.
    #[default]
    Nothing,
    /// That there is no token at all.
    Missing,
    /// Whatever there is.
    MissingOrFailed,
}

/// Providers that look in the same places.
#[derive(Clone, Debug)]
struct Group {
    places: usize,
    by_issuer: BTreeMap<String, Vec<(usize, TokenPolicyRef)>>,
    of_any_issuer: Vec<(usize, TokenPolicyRef)>,
    size: usize,
    last: usize,
}

/// A provider as far as requirements are concerned.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its issuer; `None`: any.
    pub issuer: Option<String>,
    /// Where it looks for tokens: a place in [`Requirements::places`].
    pub places: usize,
}

/// All requirements of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    requirements: Vec<Requirement>,
    known: Vec<Known>,
    places: Vec<Vec<Source>>,
    /// Where any provider looks.
    everywhere: Vec<Place>,
    first_of_issuer: BTreeMap<String, ProviderId>,
    first_of_any_issuer: Option<ProviderId>,
}

/// The question that a request is: the same, whenever it is asked again.
#[derive(Clone, Debug)]
pub struct ResolvedRequirement {
    /// The tokens that it is about.
    pub tokens: Vec<Candidate>,
    /// What must hold.
    pub node: Node,
}

/// What must hold of the tokens. A token is a place in [`ResolvedRequirement::tokens`].
#[derive(Clone, Debug)]
pub enum Node {
    /// Always.
    Passed,
    /// Never.
    Refused(TokenError),
    /// All these tokens are good by these rules.
    Good(TokenPolicyRef, Vec<usize>),
    /// All of these.
    All(Vec<Node>),
    /// One of these, or what else is allowed.
    Any(Vec<Node>, Fallback),
    /// These tokens are good, each by the rules of its own issuer; or need not be.
    Each {
        /// The tokens, and whose rules they fall under.
        tokens: Vec<(usize, Result<TokenPolicyRef, TokenError>)>,
        /// Whether bad ones are allowed.
        bad: OnInvalid,
    },
}

/// What becomes of a request with bad tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// It is refused.
    Refused,
    /// It goes on.
    Allowed,
    /// It goes on, and says so in this header.
    Told(String),
}

impl Requirements {
    /// Those of these providers; lists of places by their numbers.
    pub fn new(known: Vec<Known>, places: Vec<Vec<Source>>) -> Self {
        let mut own = Self { places, ..Self::default() };
        let mut everywhere: Vec<Place> = Vec::new();
        for (index, provider) in known.iter().enumerate() {
            let id = ProviderId::new(index);
            match &provider.issuer {
                Some(issuer) => drop(own.first_of_issuer.entry(issuer.clone()).or_insert(id)),
                None => drop(own.first_of_any_issuer.get_or_insert(id)),
            }
            for source in own.places.get(provider.places).into_iter().flatten() {
                let at = everywhere.partition_point(|place| place.source < *source);
                if everywhere.get(at).is_none_or(|place| place.source != *source) {
                    everywhere.insert(at, Place { source: source.clone(), issuers: Some(BTreeSet::new()) });
                }
                let Some(place) = everywhere.get_mut(at) else { continue };
                match (&provider.issuer, &mut place.issuers) {
                    (Some(issuer), Some(issuers)) => drop(issuers.insert(issuer.clone())),
                    (None, issuers) => *issuers = None,
                    (Some(_), None) => {}
                }
            }
        }
        own.everywhere = everywhere;
        own.known = known;
        own
    }

    /// Adds one.
    pub fn add(&mut self, requirement: Requirement) -> RequirementId {
        self.requirements.push(requirement);
        RequirementId(self.requirements.len().saturating_sub(1))
    }

    /// One of these, or what else is allowed.
    pub fn any(&self, children: Vec<Requirement>, allow: Fallback) -> Requirement {
        let mut any = Any { allow, ..Any::default() };
        for (index, child) in children.into_iter().enumerate() {
            let lane = match child {
                Requirement::Provider(lane) => lane,
                other => {
                    any.others.push((index, other));
                    continue;
                }
            };
            let Some(known) = self.known.get(lane.provider.index()) else { continue };
            let at = any.groups.iter().position(|group| group.places == known.places).unwrap_or(any.groups.len());
            if at == any.groups.len() {
                let (by_issuer, of_any_issuer) = Default::default();
                any.groups.push(Group { places: known.places, by_issuer, of_any_issuer, size: 0, last: index });
            }
            let Some(group) = any.groups.get_mut(at) else { continue };
            match &known.issuer {
                Some(issuer) => group.by_issuer.entry(issuer.clone()).or_default().push((index, lane)),
                None => group.of_any_issuer.push((index, lane)),
            }
            group.size = group.size.saturating_add(1);
            group.last = index;
        }
        Requirement::Any(any)
    }

    /// The headers by which upstreams are told of bad tokens.
    pub fn status_headers(&self) -> Vec<&str> {
        let mut headers = Vec::new();
        self.requirements.iter().for_each(|requirement| requirement.status_headers(&mut headers));
        headers
    }

    /// Whether this one refuses some request.
    pub fn can_deny(&self, id: RequirementId) -> bool {
        self.requirements.get(id.0).is_none_or(Requirement::can_deny)
    }

    /// The question that this request is.
    pub fn question(&self, id: RequirementId, headers: Headers<'_>) -> ResolvedRequirement {
        let mut asking = Resolver { requirements: self, headers, tokens: Vec::new(), found: Vec::new() };
        let node = match self.requirements.get(id.0) {
            Some(requirement) => asking.ask(requirement),
            None => Node::Refused(TokenError::Missing),
        };
        if asking.tokens.len() <= MAX_TOKENS {
            return ResolvedRequirement { tokens: asking.tokens, node };
        }
        // None of them is looked at.
        let node = match self.requirements.get(id.0) {
            Some(requirement) if !requirement.can_deny() => {
                let mut headers = Vec::new();
                requirement.status_headers(&mut headers);
                let bad = headers.first().map_or(OnInvalid::Allowed, |header| OnInvalid::Told((*header).to_owned()));
                Node::Each { tokens: vec![(0, Err(TokenError::TooLarge))], bad }
            }
            _ => Node::Refused(TokenError::TooLarge),
        };
        ResolvedRequirement { tokens: Vec::new(), node }
    }
}

impl Requirement {
    fn status_headers<'a>(&'a self, headers: &mut Vec<&'a str>) {
        match self {
            Self::ExtractOnly(header) => headers.push(header),
            Self::All(children) => children.iter().for_each(|child| child.status_headers(headers)),
            Self::Any(any) => any.others.iter().for_each(|(_, child)| child.status_headers(headers)),
            Self::Nothing | Self::Provider(_) | Self::AllowMissing | Self::AllowMissingOrFailed => {}
        }
    }

    fn can_deny(&self) -> bool {
        match self {
            Self::Nothing | Self::AllowMissingOrFailed | Self::ExtractOnly(_) => false,
            Self::Provider(_) | Self::AllowMissing => true,
            Self::All(children) => children.iter().any(Self::can_deny),
            Self::Any(any) => {
                any.allow != Fallback::MissingOrFailed && any.others.iter().all(|(_, child)| child.can_deny())
            }
        }
    }
}

impl ResolvedRequirement {
    /// One that nothing is asked in.
    pub fn none() -> Self {
        Self { tokens: Vec::new(), node: Node::Passed }
    }

    /// Whether the answer is yes, whatever the tokens.
    pub fn is_satisfied(&self) -> bool {
        matches!(self.node, Node::Passed)
    }

    /// The providers whose keys it may take to answer.
    pub fn providers(&self) -> Vec<ProviderId> {
        let mut providers = Vec::new();
        self.node.providers(&mut providers);
        providers
    }
}

impl Node {
    fn providers(&self, providers: &mut Vec<ProviderId>) {
        match self {
            Self::Good(lane, _) if !providers.contains(&lane.provider) => providers.push(lane.provider),
            Self::All(nodes) | Self::Any(nodes, _) => nodes.iter().for_each(|node| node.providers(providers)),
            Self::Each { tokens, .. } => {
                for provider in tokens.iter().filter_map(|(_, lane)| Some(lane.as_ref().ok()?.provider)) {
                    if !providers.contains(&provider) {
                        providers.push(provider);
                    }
                }
            }
            Self::Good(..) | Self::Passed | Self::Refused(_) => {}
        }
    }
}

/// Nodes in the order of the children that they stand for.
struct Ordered(Vec<(usize, Node)>);

impl Ordered {
    fn add(&mut self, index: usize, node: Node) {
        let at = self.0.partition_point(|(other, _)| *other <= index);
        self.0.insert(at, (index, node));
    }
}

/// A question in the making.
struct Resolver<'r, 'h> {
    requirements: &'r Requirements,
    headers: Headers<'h>,
    tokens: Vec<Candidate>,
    /// What was found in these places already.
    found: Vec<(usize, Vec<usize>)>,
}

impl Resolver<'_, '_> {
    fn ask(&mut self, requirement: &Requirement) -> Node {
        match requirement {
            Requirement::Nothing => Node::Passed,
            Requirement::Provider(lane) => {
                let places =
                    self.requirements.known.get(lane.provider.index()).map_or(usize::MAX, |known| known.places);
                Node::Good(*lane, self.look(places))
            }
            Requirement::All(children) => Node::All(children.iter().map(|child| self.ask(child)).collect()),
            Requirement::Any(any) => self.ask_any(any),
            Requirement::AllowMissing => Node::Each { tokens: self.look_everywhere(), bad: OnInvalid::Refused },
            Requirement::AllowMissingOrFailed => Node::Each { tokens: self.look_everywhere(), bad: OnInvalid::Allowed },
            Requirement::ExtractOnly(header) => {
                Node::Each { tokens: self.look_everywhere(), bad: OnInvalid::Told(header.clone()) }
            }
        }
    }

    fn ask_any(&mut self, any: &Any) -> Node {
        // Each with its place among the children: their order decides whose refusal is told.
        let mut nodes = Ordered(Vec::new());
        for group in &any.groups {
            let tokens = self.look(group.places);
            // The first that is looked at decides whose token this may be.
            let Some(first) = tokens.first() else {
                nodes.add(group.last, Node::Refused(TokenError::Missing));
                continue;
            };
            if group.size == 1 {
                let lane = group.by_issuer.values().flatten().chain(&group.of_any_issuer).next();
                if let Some((index, lane)) = lane {
                    nodes.add(*index, Node::Good(*lane, tokens));
                }
                continue;
            }
            match self.issuer(*first) {
                Err(error) => nodes.add(group.last, Node::Refused(error)),
                Ok(issuer) => {
                    let own = issuer.and_then(|issuer| group.by_issuer.get(&issuer)).into_iter().flatten();
                    let mut left = group.size;
                    for (index, lane) in own.chain(&group.of_any_issuer) {
                        nodes.add(*index, Node::Good(*lane, tokens.clone()));
                        left = left.saturating_sub(1);
                    }
                    if left > 0 {
                        nodes.add(group.last, Node::Refused(TokenError::IssuerNotConfigured));
                    }
                }
            }
        }
        for (index, other) in &any.others {
            let node = self.ask(other);
            nodes.add(*index, node);
        }
        Node::Any(nodes.0.into_iter().map(|(_, node)| node).collect(), any.allow)
    }

    /// The tokens in these places, in the order in which they are looked at.
    fn look(&mut self, places: usize) -> Vec<usize> {
        if let Some((_, found)) = self.found.iter().find(|(own, _)| *own == places) {
            return found.clone();
        }
        let sources = self.requirements.places.get(places).into_iter().flatten();
        let found: Vec<_> = sources.rev().flat_map(|source| self.take(source)).collect();
        self.found.push((places, found.clone()));
        found
    }

    fn take(&mut self, source: &Source) -> Vec<usize> {
        let mut taken = Vec::new();
        for token in source.tokens(self.headers).into_iter().rev() {
            // One more than are read: enough to notice.
            if self.tokens.len() > MAX_TOKENS {
                break;
            }
            let known = self.tokens.iter().position(|other| other.source == *source && *other.token == *token);
            let place = known.unwrap_or(self.tokens.len());
            if !taken.contains(&place) {
                taken.push(place);
            }
            if known.is_none() {
                self.tokens.push(Candidate { token: token.into_owned(), source: source.clone() });
            }
        }
        taken
    }

    /// The tokens in all places, each with the rules of the first provider of its issuer.
    fn look_everywhere(&mut self) -> Vec<(usize, Result<TokenPolicyRef, TokenError>)> {
        let mut found = Vec::new();
        let requirements = self.requirements;
        for place in requirements.everywhere.iter().rev() {
            for token in self.take(&place.source) {
                let lane = self.issuer(token).and_then(|issuer| {
                    let issuer = issuer.unwrap_or_default();
                    let is_from_here = place.issuers.as_ref().is_none_or(|issuers| issuers.contains(&issuer));
                    let provider = requirements.first_of_issuer.get(&issuer).copied();
                    let provider = provider.or(requirements.first_of_any_issuer).filter(|_| is_from_here);
                    provider
                        .map(|provider| TokenPolicyRef { provider, rules: 0 })
                        .ok_or(TokenError::IssuerNotConfigured)
                });
                found.push((token, lane));
            }
        }
        found
    }

    /// Who is said to have issued this token.
    fn issuer(&self, token: usize) -> Result<Option<String>, TokenError> {
        let token = self.tokens.get(token).map_or(&[][..], |candidate| &candidate.token);
        let jws = jws::parse(token)?;
        let issuer = Claims::parse(&jws.payload)?.issuer().map(str::to_owned);
        Ok(issuer)
    }
}
