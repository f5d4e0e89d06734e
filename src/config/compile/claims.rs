//! `required_claims` of providers, and `claims` and `scopes` of rules.

use std::{collections::BTreeSet, rc::Rc};

use serde_json::Value;

use super::value::{check_items, header_name, string_matcher};
use crate::{
    config::{error::Result, oneof, path::Path, schema::RequiredClaim},
    token::{
        claim_rules::{is_exact, ClaimRule, ClaimValue, Demands, HeaderRule},
        claims::ClaimName,
    },
};

/// Each item of a list is compared with each value.
const MAX_VALUES: usize = 1000;

const NOT_EMPTY: &str = "must not be empty";

/// Headers with which claims are compared, each with the path of the field that names it.
pub(super) type ComparedHeaders = Vec<(String, Rc<str>)>;

/// Conditions on claims: those that hold for a token as such, and those that depend on the request.
pub(super) struct Rules {
    pub(super) claims: Vec<ClaimRule>,
    pub(super) headers: Vec<HeaderRule>,
}

enum Condition {
    Value(ClaimValue),
    Header(Rc<str>),
}

pub(super) fn rules(path: &Path<'_>, wire: &[RequiredClaim], compared: &mut ComparedHeaders) -> Result<Rules> {
    let (mut claims, mut headers) = (Vec::new(), Vec::new());
    for (index, wire) in wire.iter().enumerate() {
        let path = path.index(index);
        let name = name(&path, wire)?;
        match condition(&path, wire)? {
            Condition::Value(value) => claims.push(ClaimRule { name, value }),
            Condition::Header(header) => {
                compared.push((path.field("equals_header").to_string(), header.clone()));
                headers.push(HeaderRule { claim: name, header });
            }
        }
    }
    Ok(Rules { claims, headers })
}

/// The demands of a rule.
pub(super) fn demands(
    path: &Path<'_>,
    claims: &[RequiredClaim],
    scopes: &[String],
    compared: &mut ComparedHeaders,
) -> Result<Demands> {
    check_scopes(&path.field("scopes"), scopes)?;
    let Rules { claims, headers } = rules(&path.field("claims"), claims, compared)?;
    Ok(Demands { claims, scopes: scopes.to_vec(), headers })
}

pub(super) fn check_scopes(path: &Path<'_>, scopes: &[String]) -> Result<()> {
    check_items(path, scopes, |scope| !scope.trim().is_empty(), NOT_EMPTY)?;
    let is_scope = |scope: &str| scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    let reason = "must be one scope (RFC 6749 §3.3): printable ASCII without spaces, quotes and backslashes";
    check_items(path, scopes, is_scope, reason)
}

/// Rejects a header that upstreams do not get as the client sent it.
pub(super) fn check_headers(
    compared: &ComparedHeaders,
    own: &BTreeSet<String>,
    tokens: &BTreeSet<String>,
) -> Result<()> {
    for (path, header) in compared {
        let error = |reason: &str| Err(crate::config::error::ConfigError::new(path.clone(), reason));
        if own.contains(&**header) {
            return error("the filter itself sets this header, and removes the value of the client");
        }
        if tokens.contains(&**header) {
            return error("this header carries a token");
        }
    }
    Ok(())
}

fn name(path: &Path<'_>, wire: &RequiredClaim) -> Result<ClaimName> {
    let dotted = Some(&wire.claim).filter(|name| !name.is_empty()).map(|name| ClaimName::Dotted(name.clone()));
    let names = wire.path.clone().map(ClaimName::Path);
    let (field, name) = oneof::exactly_one(path, &mut [("claim", dotted), ("path", names)])?;
    let path = path.field(field);
    match &name {
        ClaimName::Dotted(name) if name.split('.').any(str::is_empty) => {
            Err(path.error("must be the name of a claim, or names joined by dots"))
        }
        ClaimName::Path(names) if names.is_empty() => Err(path.error(NOT_EMPTY)),
        ClaimName::Path(names) => check_items(&path, names, |name| !name.is_empty(), NOT_EMPTY).map(|()| name),
        ClaimName::Dotted(_) => Ok(name),
    }
}

fn condition(path: &Path<'_>, wire: &RequiredClaim) -> Result<Condition> {
    let matcher = wire.matches.as_ref().map(|wire| string_matcher(&path.field("matches"), wire)).transpose()?;
    let condition = oneof::at_most_one(
        path,
        &mut [
            ("equals", wire.equals.clone().map(ClaimValue::Equals).map(Condition::Value)),
            ("contains", wire.contains.clone().map(ClaimValue::Contains).map(Condition::Value)),
            ("one_of", wire.one_of.clone().map(ClaimValue::OneOf).map(Condition::Value)),
            ("matches", matcher.map(ClaimValue::Matches).map(Condition::Value)),
            ("equals_header", wire.equals_header.as_deref().map(Rc::from).map(Condition::Header)),
        ],
    )?;
    let Some((field, condition)) = condition else { return Ok(Condition::Value(ClaimValue::Any)) };
    let path = path.field(field);
    match &condition {
        Condition::Value(ClaimValue::Equals(value) | ClaimValue::Contains(value)) => check_scalar(&path, value)?,
        Condition::Value(ClaimValue::OneOf(values)) if values.is_empty() => return Err(path.error(NOT_EMPTY)),
        Condition::Value(ClaimValue::OneOf(values)) if values.len() > MAX_VALUES => {
            return Err(path.error(format!("must have at most {MAX_VALUES} values")));
        }
        Condition::Value(ClaimValue::OneOf(values)) => {
            for (index, value) in values.iter().enumerate() {
                check_scalar(&path.index(index), value)?;
            }
        }
        Condition::Value(ClaimValue::Any | ClaimValue::Matches(_)) => {}
        Condition::Header(name) => return header(&path, name).map(Condition::Header),
    }
    Ok(condition)
}

/// The name under which Envoy hands over a header.
fn header(path: &Path<'_>, name: &str) -> Result<Rc<str>> {
    match name.to_ascii_lowercase().as_str() {
        "host" | ":authority" => Ok(":authority".into()),
        _ => header_name(name).map(Rc::from).ok_or_else(|| path.error("must be a header name, or :authority")),
    }
}

fn check_scalar(path: &Path<'_>, value: &Value) -> Result<()> {
    match value {
        Value::String(_) | Value::Bool(_) => Ok(()),
        Value::Number(number) if is_exact(number) => Ok(()),
        Value::Number(_) => Err(path.error("a number of this size is not exact")),
        _ => Err(path.error("must be a string, a number or a boolean")),
    }
}
