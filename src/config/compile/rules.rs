//! `rules` and `requirement_map`: which requests need which tokens.

use super::{
    claims::{self, ComparedHeaders},
    value::{check_items, header_name, regex, string_matcher, unsupported, writable_header},
};
use crate::{
    config::{
        error::Result,
        oneof,
        path::Path,
        read::Named,
        schema::{
            ExtractOnlyWithoutValidation, HeaderMatcher, JwtRequirement, JwtRequirements, ProviderWithAudiences,
            QueryParameterMatcher, RequirementRule, RouteMatch,
        },
    },
    ids::{ProviderId, RequirementId},
    policy::{
        provider::Provider,
        requirement::{Fallback, Requirement, Requirements, TokenPolicyRef, SIGNATURE_VERIFIED},
        route::{self, HeaderMatch, PathMatch, QueryMatch, ValueMatch},
        route_table::Rule,
    },
    sorted,
    string_matcher::{Pattern, StringMatcher},
    token::{claim_rules::Demands, claims::normalize_audience, validation::TokenPolicy},
};

/// Nesting limit of requirements.
const MAX_DEPTH: u8 = 16;

/// Compiles requirements, which refer to providers by name.
pub(super) struct Compiler<'a> {
    pub(super) ids: &'a [(String, Vec<usize>)],
    pub(super) providers: &'a mut [Provider],
    pub(super) requirements: &'a mut Requirements,
    pub(super) compared: &'a mut ComparedHeaders,
}

/// What a rule requires: a requirement, or the name of one.
enum Requires<'a> {
    Inline(&'a JwtRequirement),
    Named(&'a str),
}

/// The `oneof` of a `JwtRequirement`.
enum Kind<'a> {
    Provider(&'a str),
    ProviderAndAudiences(&'a ProviderWithAudiences),
    Any(&'a JwtRequirements),
    All(&'a JwtRequirements),
    AllowMissing,
    AllowForeign,
    AllowMissingOrFailed,
    ExtractOnly(&'a ExtractOnlyWithoutValidation),
}

impl Compiler<'_> {
    pub(super) fn rules(&mut self, wire: &[RequirementRule], map: &Named<JwtRequirement>) -> Result<Vec<Rule>> {
        let path = Path::Root.field("requirement_map");
        let mut named = Vec::new();
        for (name, wire) in &map.0 {
            let requirement = self.requirement(&path.field(name), wire, MAX_DEPTH)?;
            named.push((name.clone(), self.requirements.add(requirement).0));
        }
        let named = sorted::group(named);
        let path = Path::Root.field("rules");
        wire.iter().enumerate().map(|(index, wire)| self.rule(&path.index(index), wire, &named)).collect()
    }

    fn rule(&mut self, path: &Path<'_>, wire: &RequirementRule, named: &[(String, Vec<usize>)]) -> Result<Rule> {
        let route = route(&path.field("match"), &wire.r#match)?;
        let inline = wire.requires.as_ref().map(Requires::Inline);
        let name = wire.requirement_name.as_deref().map(Requires::Named);
        let requires = match oneof::at_most_one(path, &mut [("requires", inline), ("requirement_name", name)])? {
            None => None,
            Some((field, Requires::Inline(wire))) => match self.requirement(&path.field(field), wire, MAX_DEPTH)? {
                Requirement::Nothing => None,
                requirement => Some(self.requirements.add(requirement)),
            },
            Some((field, Requires::Named(name))) => {
                let id = sorted::first(named, name).map(RequirementId::new);
                Some(id.ok_or_else(|| {
                    path.field(field).error(format!("unknown requirement {name:?}; not in requirement_map"))
                })?)
            }
        };
        Ok(Rule { route, requires })
    }

    fn requirement(&mut self, path: &Path<'_>, wire: &JwtRequirement, depth: u8) -> Result<Requirement> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(path.error(format!("nested too deeply; at most {MAX_DEPTH} levels")));
        };
        let mut kinds = [
            ("provider_name", wire.provider_name.as_deref().map(Kind::Provider)),
            ("provider_and_audiences", wire.provider_and_audiences.as_ref().map(Kind::ProviderAndAudiences)),
            ("requires_any", wire.requires_any.as_ref().map(Kind::Any)),
            ("requires_all", wire.requires_all.as_ref().map(Kind::All)),
            ("allow_missing", wire.allow_missing.as_ref().map(|_| Kind::AllowMissing)),
            ("allow_foreign", wire.allow_foreign.as_ref().map(|_| Kind::AllowForeign)),
            ("allow_missing_or_failed", wire.allow_missing_or_failed.as_ref().map(|_| Kind::AllowMissingOrFailed)),
            ("extract_only_without_validation", wire.extract_only_without_validation.as_ref().map(Kind::ExtractOnly)),
        ];
        let kind = oneof::at_most_one(path, &mut kinds)?;
        if !matches!(kind, Some((_, Kind::Provider(_) | Kind::ProviderAndAudiences(_)))) {
            let demands = [("scopes", !wire.scopes.is_empty()), ("claims", !wire.claims.is_empty())];
            if let Some((field, _)) = demands.into_iter().find(|(_, is_set)| *is_set) {
                return Err(path.field(field).error("requires provider_name or provider_and_audiences"));
            }
        }
        let Some((field, kind)) = kind else { return Ok(Requirement::Nothing) };
        let demands = claims::demands(path, &wire.claims, &wire.scopes, self.compared)?;
        let path = path.field(field);
        match kind {
            Kind::Provider(name) => {
                let provider = self.provider(&path, name)?;
                Ok(self.token(TokenPolicyRef::new(provider, 0), demands))
            }
            Kind::ProviderAndAudiences(wire) => {
                let policy = self.provider_and_audiences(&path, wire)?;
                let more = claims::demands(&path, &wire.claims, &wire.scopes, self.compared)?;
                Ok(self.token(policy, demands.and(more)))
            }
            Kind::Any(wire) => self.any(&path, wire, depth),
            Kind::All(wire) => self.list(&path, wire, depth).map(Requirement::All),
            Kind::AllowMissing => Ok(Requirement::AllowMissing),
            Kind::AllowForeign => self.allow_foreign(&path),
            Kind::AllowMissingOrFailed => Ok(Requirement::AllowMissingOrFailed),
            Kind::ExtractOnly(wire) => match wire.verification_status_header.as_str() {
                "" => Ok(Requirement::ExtractOnly(SIGNATURE_VERIFIED.to_owned())),
                name => writable_header(&path.field("verification_status_header"), name).map(Requirement::ExtractOnly),
            },
        }
    }

    fn provider(&self, path: &Path<'_>, name: &str) -> Result<ProviderId> {
        let id = sorted::first(self.ids, name).map(ProviderId::new);
        id.ok_or_else(|| path.error(format!("unknown provider {name:?}")))
    }

    /// A good token, of which these demands are made besides those of its provider.
    fn token(&mut self, policy: TokenPolicyRef, demands: Demands) -> Requirement {
        let table = &mut self.requirements.demands;
        let of_provider = table.of_provider(policy.provider);
        let demands = if demands.is_empty() {
            of_provider
        } else {
            let known = of_provider.and_then(|id| table.get(id)).cloned().unwrap_or_default();
            table.add(known.and(demands))
        };
        Requirement::Provider(TokenPolicyRef { demands, ..policy })
    }

    /// The token policy of the provider with other audiences. Equal lists of audiences share a policy.
    fn provider_and_audiences(&mut self, path: &Path<'_>, wire: &ProviderWithAudiences) -> Result<TokenPolicyRef> {
        let provider = self.provider(&path.field("provider_name"), &wire.provider_name)?;
        check_items(&path.field("audiences"), &wire.audiences, |audience| !audience.is_empty(), "must not be empty")?;
        let audiences: Vec<_> = wire.audiences.iter().map(|audience| normalize_audience(audience).to_owned()).collect();
        let policy_ref = |policy| TokenPolicyRef::new(provider, policy);
        let Some(entry) = self.providers.get_mut(provider.index()).filter(|_| !audiences.is_empty()) else {
            return Ok(policy_ref(0));
        };
        if let Some(index) = entry.policies.iter().position(|rules| rules.audiences == audiences) {
            return Ok(policy_ref(index));
        }
        let with_audiences = entry.policies.first().map(|rules| TokenPolicy { audiences, ..rules.clone() });
        entry.policies.extend(with_audiences);
        Ok(policy_ref(entry.policies.len().saturating_sub(1)))
    }

    /// If a provider accepts any issuer, no token is foreign.
    fn allow_foreign(&mut self, path: &Path<'_>) -> Result<Requirement> {
        if let Some(provider) = self.providers.iter().find(|provider| provider.issuers().is_any()) {
            let name = &provider.name;
            return Err(path.error(format!("no token is foreign: the provider {name:?} accepts any issuer")));
        }
        self.requirements.tell_foreign_tokens();
        Ok(Requirement::AllowForeign { or_missing: false })
    }

    fn any(&mut self, path: &Path<'_>, wire: &JwtRequirements, depth: u8) -> Result<Requirement> {
        let (mut allow, mut allows_foreign) = (Fallback::Nothing, false);
        let mut children = Vec::new();
        for child in self.list(path, wire, depth)? {
            match child {
                Requirement::AllowMissing => allow = allow.max(Fallback::Missing),
                Requirement::AllowForeign { or_missing } => {
                    allows_foreign = true;
                    allow = allow.max(if or_missing { Fallback::Missing } else { Fallback::Nothing });
                }
                Requirement::AllowMissingOrFailed => allow = Fallback::MissingOrFailed,
                child => children.push(child),
            }
        }
        // As in Envoy: without other requirements, they apply to the tokens of all providers.
        Ok(match (children.is_empty(), allow) {
            (true, Fallback::MissingOrFailed) => Requirement::AllowMissingOrFailed,
            (true, allow) if allows_foreign => Requirement::AllowForeign { or_missing: allow == Fallback::Missing },
            (true, Fallback::Missing) => Requirement::AllowMissing,
            _ => self.requirements.any(children, allow, allows_foreign),
        })
    }

    fn list(&mut self, path: &Path<'_>, wire: &JwtRequirements, depth: u8) -> Result<Vec<Requirement>> {
        let path = path.field("requirements");
        if wire.requirements.len() < 2 {
            return Err(path.error("must contain at least two requirements"));
        }
        let children = wire.requirements.iter().enumerate();
        children.map(|(index, wire)| self.requirement(&path.index(index), wire, depth)).collect()
    }
}

fn route(path: &Path<'_>, wire: &RouteMatch) -> Result<route::RouteMatch> {
    let matcher = [("path_match_policy", &wire.path_match_policy)];
    unsupported(path, matcher, "Envoy extensions are not available to Wasm filters; use safe_regex")?;
    unsupported(
        path,
        [
            ("runtime_fraction", &wire.runtime_fraction),
            ("grpc", &wire.grpc),
            ("tls_context", &wire.tls_context),
            ("dynamic_metadata", &wire.dynamic_metadata),
            ("filter_state", &wire.filter_state),
            ("cookies", &wire.cookies),
        ],
        "not supported: jwt_authn ignores this field, so the rule would match more requests than the rule states",
    )?;
    let safe_regex = wire.safe_regex.as_ref().map(|wire| regex(&path.field("safe_regex"), wire)).transpose()?;
    let (field, kind) = oneof::exactly_one(
        path,
        &mut [
            ("prefix", wire.prefix.clone().map(PathMatch::Prefix)),
            ("path", wire.path.clone().map(PathMatch::Exact)),
            ("path_separated_prefix", wire.path_separated_prefix.clone().map(PathMatch::Separated)),
            ("safe_regex", safe_regex.map(PathMatch::Regex)),
            ("connect_matcher", wire.connect_matcher.as_ref().map(|_| PathMatch::Connect)),
        ],
    )?;
    check_literal(&path.field(field), &kind)?;
    let mut headers = Vec::new();
    for (index, wire) in wire.headers.iter().enumerate() {
        headers.push(header(&path.field("headers").index(index), wire)?);
    }
    let mut query = Vec::new();
    for (index, wire) in wire.query_parameters.iter().enumerate() {
        query.push(parameter(&path.field("query_parameters").index(index), wire)?);
    }
    Ok(route::RouteMatch { path: kind, case_sensitive: wire.case_sensitive.unwrap_or(true), headers, query })
}

/// Rejects a path that could never match. An empty prefix always matches.
fn check_literal(path: &Path<'_>, kind: &PathMatch) -> Result<()> {
    let (text, may_be_empty) = match kind {
        PathMatch::Prefix(text) => (text, true),
        PathMatch::Exact(text) | PathMatch::Separated(text) => (text, false),
        PathMatch::Regex(_) | PathMatch::Connect => return Ok(()),
    };
    if !(text.starts_with('/') || text == "*" || (text.is_empty() && may_be_empty)) {
        return Err(path.error("must begin with a slash"));
    }
    if matches!(kind, PathMatch::Separated(_)) && (text.ends_with('/') || text.contains(['?', '#'])) {
        return Err(path.error("must not end with a slash or contain a question mark or a hash"));
    }
    Ok(())
}

fn header(path: &Path<'_>, wire: &HeaderMatcher) -> Result<HeaderMatch> {
    let is_pseudo = wire.name.starts_with(':');
    let name = if is_pseudo { Some(wire.name.to_ascii_lowercase()) } else { header_name(&wire.name) };
    let name = name.ok_or_else(|| path.field("name").error("must be a header name"))?;
    // Envoy treats both as one header and passes on the latter.
    let name = if name == "host" { ":authority".to_owned() } else { name };
    let text = |pattern| ValueMatch::Text(StringMatcher::new(pattern, false));
    let string_match =
        wire.string_match.as_ref().map(|wire| string_matcher(&path.field("string_match"), wire)).transpose()?;
    let regex_match =
        wire.safe_regex_match.as_ref().map(|wire| regex(&path.field("safe_regex_match"), wire)).transpose()?;
    let value = oneof::at_most_one(
        path,
        &mut [
            ("string_match", string_match.map(ValueMatch::Text)),
            ("exact_match", wire.exact_match.clone().map(|value| text(Pattern::Exact(value)))),
            ("prefix_match", wire.prefix_match.clone().map(|value| text(Pattern::Prefix(value)))),
            ("suffix_match", wire.suffix_match.clone().map(|value| text(Pattern::Suffix(value)))),
            ("contains_match", wire.contains_match.clone().map(|value| text(Pattern::Contains(value)))),
            ("safe_regex_match", regex_match.map(text)),
            ("range_match", wire.range_match.as_ref().map(|range| ValueMatch::Range(range.start, range.end))),
            ("present_match", wire.present_match.map(ValueMatch::Present)),
        ],
    )?;
    Ok(HeaderMatch {
        name,
        value: value.map_or(ValueMatch::Present(true), |(_, value)| value),
        invert: wire.invert_match,
        missing_is_empty: wire.treat_missing_header_as_empty,
    })
}

fn parameter(path: &Path<'_>, wire: &QueryParameterMatcher) -> Result<QueryMatch> {
    if wire.name.is_empty() {
        return Err(path.field("name").error("must not be empty"));
    }
    let string_match =
        wire.string_match.as_ref().map(|wire| string_matcher(&path.field("string_match"), wire)).transpose()?;
    let value = oneof::at_most_one(
        path,
        &mut [
            ("string_match", string_match.map(ValueMatch::Text)),
            ("present_match", wire.present_match.map(ValueMatch::Present)),
        ],
    )?;
    Ok(QueryMatch { name: wire.name.clone(), value: value.map_or(ValueMatch::Present(true), |(_, value)| value) })
}
