//! `rules` and `requirement_map`: which requests need which tokens.

use std::collections::BTreeMap;

use super::{header_name, string_matcher, Result};
use crate::{
    config::{
        error::ConfigError,
        read::Named,
        schema::{
            HeaderMatcher, JwtRequirement, JwtRequirements, ProviderWithAudiences, QueryParameterMatcher,
            RequirementRule, RouteMatch, StringMatcher,
        },
    },
    ids::{ProviderId, RequirementId},
    policy::{
        provider::Provider,
        requirement::{Fallback, Requirement, Requirements, TokenPolicyRef, SIGNATURE_VERIFIED},
        route::{self, HeaderMatch, PathMatch, QueryMatch, ValueMatch},
        route_table::Rule,
    },
    string_matcher::{Pattern, StringMatcher as Matcher},
    token::{claims::normalize_audience, validation::TokenPolicy},
};

/// Requirements do not nest deeper.
const MAX_DEPTH: u8 = 16;

/// What requirements are compiled with.
pub(super) struct Compiler<'a> {
    pub(super) ids: &'a BTreeMap<String, ProviderId>,
    pub(super) providers: &'a mut [Provider],
    pub(super) requirements: &'a mut Requirements,
}

impl Compiler<'_> {
    /// The rules in their order.
    pub(super) fn rules(&mut self, wire: Vec<RequirementRule>, map: Named<JwtRequirement>) -> Result<Vec<Rule>> {
        let mut named = BTreeMap::new();
        for (name, wire) in map.0 {
            let requirement = self.requirement(&format!("requirement_map.{name}"), wire, MAX_DEPTH)?;
            named.insert(name, self.requirements.add(requirement));
        }
        wire.into_iter().enumerate().map(|(place, wire)| self.rule(&format!("rules[{place}]"), wire, &named)).collect()
    }

    fn rule(&mut self, path: &str, wire: RequirementRule, named: &BTreeMap<String, RequirementId>) -> Result<Rule> {
        let route = route(&format!("{path}.match"), wire.r#match)?;
        let requires = match (wire.requires, wire.requirement_name) {
            (None, None) => None,
            (Some(wire), None) => match self.requirement(&format!("{path}.requires"), wire, MAX_DEPTH)? {
                Requirement::Nothing => None,
                requirement => Some(self.requirements.add(requirement)),
            },
            (None, Some(name)) => Some(*named.get(&name).ok_or_else(|| {
                let reason = format!("there is no requirement {name:?} in requirement_map");
                ConfigError::new(format!("{path}.requirement_name"), reason)
            })?),
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(path, "has both requires and requirement_name; give one of them"))
            }
        };
        Ok(Rule { route, requires })
    }

    fn requirement(&mut self, path: &str, wire: JwtRequirement, depth: u8) -> Result<Requirement> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(ConfigError::new(path, "nests too deep"));
        };
        let JwtRequirement {
            provider_name,
            provider_and_audiences,
            requires_any,
            requires_all,
            allow_missing,
            allow_missing_or_failed,
            extract_only_without_validation,
        } = wire;
        let given = [
            provider_name.is_some(),
            provider_and_audiences.is_some(),
            requires_any.is_some(),
            requires_all.is_some(),
            allow_missing.is_some(),
            allow_missing_or_failed.is_some(),
            extract_only_without_validation.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(ConfigError::new(path, "has more than one kind of requirement; give one of them"));
        }
        if let Some(name) = provider_name {
            let provider = self.provider(&format!("{path}.provider_name"), &name)?;
            return Ok(Requirement::Provider(TokenPolicyRef { provider, policy: 0 }));
        }
        if let Some(wire) = provider_and_audiences {
            return self.provider_and_audiences(&format!("{path}.provider_and_audiences"), wire);
        }
        if let Some(wire) = requires_any {
            return self.any(&format!("{path}.requires_any"), wire, depth);
        }
        if let Some(wire) = requires_all {
            let children = self.list(&format!("{path}.requires_all"), wire, depth)?;
            return Ok(Requirement::All(children));
        }
        Ok(match (allow_missing, allow_missing_or_failed, extract_only_without_validation) {
            (Some(_), _, _) => Requirement::AllowMissing,
            (_, Some(_), _) => Requirement::AllowMissingOrFailed,
            (_, _, Some(wire)) => {
                let at = format!("{path}.extract_only_without_validation.verification_status_header");
                let header = match wire.verification_status_header.as_str() {
                    "" => Some(SIGNATURE_VERIFIED.to_owned()),
                    name => header_name(name).filter(|name| name != "host"),
                };
                Requirement::ExtractOnly(header.ok_or_else(|| ConfigError::new(at, "is no header that can be set"))?)
            }
            (None, None, None) => Requirement::Nothing,
        })
    }

    fn provider(&self, path: &str, name: &str) -> Result<ProviderId> {
        let id = self.ids.get(name).copied();
        id.ok_or_else(|| ConfigError::new(path, format!("there is no provider {name:?}")))
    }

    /// The provider's rules with other audiences; the same ones only once.
    fn provider_and_audiences(&mut self, path: &str, wire: ProviderWithAudiences) -> Result<Requirement> {
        let provider = self.provider(&format!("{path}.provider_name"), &wire.provider_name)?;
        if let Some(place) = wire.audiences.iter().position(String::is_empty) {
            return Err(ConfigError::new(format!("{path}.audiences[{place}]"), "must not be empty"));
        }
        let audiences: Vec<_> = wire.audiences.iter().map(|audience| normalize_audience(audience).to_owned()).collect();
        let lane = |rules| Requirement::Provider(TokenPolicyRef { provider, policy: rules });
        let Some(own) = self.providers.get_mut(provider.index()).filter(|_| !audiences.is_empty()) else {
            return Ok(lane(0));
        };
        if let Some(known) = own.policies.iter().position(|rules| rules.audiences == audiences) {
            return Ok(lane(known));
        }
        let with = own.policies.first().map(|rules| TokenPolicy { audiences, ..rules.clone() });
        own.policies.extend(with);
        Ok(lane(own.policies.len().saturating_sub(1)))
    }

    fn any(&mut self, path: &str, wire: JwtRequirements, depth: u8) -> Result<Requirement> {
        let mut allow = Fallback::Nothing;
        let mut children = Vec::new();
        for child in self.list(path, wire, depth)? {
            match child {
                Requirement::AllowMissing => allow = allow.max(Fallback::Missing),
                Requirement::AllowMissingOrFailed => allow = Fallback::MissingOrFailed,
                child => children.push(child),
            }
        }
        // As in Envoy: alone they look at the tokens of all providers.
        Ok(match (children.is_empty(), allow) {
            (true, Fallback::Missing) => Requirement::AllowMissing,
            (true, Fallback::MissingOrFailed) => Requirement::AllowMissingOrFailed,
            _ => self.requirements.any(children, allow),
        })
    }

    fn list(&mut self, path: &str, wire: JwtRequirements, depth: u8) -> Result<Vec<Requirement>> {
        if wire.requirements.len() < 2 {
            return Err(ConfigError::new(format!("{path}.requirements"), "must have two or more"));
        }
        let children = wire.requirements.into_iter().enumerate();
        children.map(|(place, wire)| self.requirement(&format!("{path}.requirements[{place}]"), wire, depth)).collect()
    }
}

fn route(path: &str, wire: RouteMatch) -> Result<route::RouteMatch> {
    for (field, refused) in [
        ("path_match_policy", &wire.path_match_policy),
        ("runtime_fraction", &wire.runtime_fraction),
        ("grpc", &wire.grpc),
        ("tls_context", &wire.tls_context),
        ("dynamic_metadata", &wire.dynamic_metadata),
        ("filter_state", &wire.filter_state),
        ("cookies", &wire.cookies),
    ] {
        if refused.is_some() {
            let reason = "is not looked at here, nor by jwt_authn, so that the rule would match more than it says";
            return Err(ConfigError::new(format!("{path}.{field}"), reason));
        }
    }
    let regex = wire.safe_regex.map(|wire| {
        Pattern::regex(&wire.regex).map_err(|reason| ConfigError::new(format!("{path}.safe_regex.regex"), reason))
    });
    let kinds = [
        wire.prefix.map(PathMatch::Prefix),
        wire.path.map(PathMatch::Exact),
        wire.path_separated_prefix.map(PathMatch::Separated),
        regex.transpose()?.map(PathMatch::Regex),
        wire.connect_matcher.map(|_| PathMatch::Connect),
    ];
    let mut kinds = kinds.into_iter().flatten();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        let reason = "must have exactly one of prefix, path, path_separated_prefix, safe_regex and connect_matcher";
        return Err(ConfigError::new(path, reason));
    };
    let literal = match &kind {
        PathMatch::Prefix(text) => Some(("prefix", text)),
        PathMatch::Exact(text) => Some(("path", text)),
        PathMatch::Separated(text) => Some(("path_separated_prefix", text)),
        PathMatch::Regex(_) | PathMatch::Connect => None,
    };
    match literal {
        // It could never match. An empty prefix always does.
        Some((field, text)) if !(text.starts_with('/') || text == "*" || (text.is_empty() && field == "prefix")) => {
            return Err(ConfigError::new(format!("{path}.{field}"), "must begin with a slash"));
        }
        Some((field @ "path_separated_prefix", text)) if text.ends_with('/') || text.contains(['?', '#']) => {
            let reason = "must not end with a slash, nor have a question mark or a hash";
            return Err(ConfigError::new(format!("{path}.{field}"), reason));
        }
        _ => {}
    }
    let mut headers = Vec::new();
    for (place, wire) in wire.headers.into_iter().enumerate() {
        headers.push(header(&format!("{path}.headers[{place}]"), wire)?);
    }
    let mut query = Vec::new();
    for (place, wire) in wire.query_parameters.into_iter().enumerate() {
        query.push(parameter(&format!("{path}.query_parameters[{place}]"), wire)?);
    }
    Ok(route::RouteMatch { path: kind, case_sensitive: wire.case_sensitive.unwrap_or(true), headers, query })
}

fn header(path: &str, wire: HeaderMatcher) -> Result<HeaderMatch> {
    let is_pseudo = wire.name.starts_with(':');
    let name = if is_pseudo { Some(wire.name.to_ascii_lowercase()) } else { header_name(&wire.name) };
    let name = name.ok_or_else(|| ConfigError::new(format!("{path}.name"), "is no header's name"))?;
    // For Envoy they are one, and the list that it hands over has the latter.
    let name = if name == "host" { ":authority".to_owned() } else { name };
    let text = |pattern| ValueMatch::Text(Matcher::new(pattern, false));
    let regex = wire.safe_regex_match.map(|wire| {
        let at = format!("{path}.safe_regex_match.regex");
        Pattern::regex(&wire.regex).map_err(|reason| ConfigError::new(at, reason))
    });
    let kinds = [
        wire.string_match.map(|wire| string(&format!("{path}.string_match"), wire)).transpose()?,
        wire.exact_match.map(|own| text(Pattern::Exact(own))),
        wire.prefix_match.map(|own| text(Pattern::Prefix(own))),
        wire.suffix_match.map(|own| text(Pattern::Suffix(own))),
        wire.contains_match.map(|own| text(Pattern::Contains(own))),
        regex.transpose()?.map(text),
        wire.range_match.map(|range| ValueMatch::Range(range.start, range.end)),
        wire.present_match.map(ValueMatch::Present),
    ];
    let mut kinds = kinds.into_iter().flatten();
    match (kinds.next(), kinds.next()) {
        (value, None) => Ok(HeaderMatch {
            name,
            value: value.unwrap_or(ValueMatch::Present(true)),
            invert: wire.invert_match,
            missing_is_empty: wire.treat_missing_header_as_empty,
        }),
        (_, Some(_)) => Err(ConfigError::new(path, "has more than one kind of match; give one of them")),
    }
}

fn parameter(path: &str, wire: QueryParameterMatcher) -> Result<QueryMatch> {
    if wire.name.is_empty() {
        return Err(ConfigError::new(format!("{path}.name"), "must not be empty"));
    }
    let value = match (wire.string_match, wire.present_match) {
        (None, present) => ValueMatch::Present(present.unwrap_or(true)),
        (Some(wire), None) => string(&format!("{path}.string_match"), wire)?,
        (Some(_), Some(_)) => {
            return Err(ConfigError::new(path, "has both string_match and present_match; give one of them"))
        }
    };
    Ok(QueryMatch { name: wire.name, value })
}

fn string(path: &str, wire: StringMatcher) -> Result<ValueMatch> {
    string_matcher(path, wire).map(ValueMatch::Text)
}
