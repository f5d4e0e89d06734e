//! Rules on the claims of a token that its issuer signed.

use std::rc::Rc;

use serde_json::{Number, Value};

use super::{
    claims::{ClaimName, SelectedClaims},
    TokenError,
};
use crate::string_matcher::{StringMatcher, MAX_REGEX_INPUT};

/// How many bytes of the strings of one list a regular expression is tried on, at most.
pub const MAX_LIST_REGEX_INPUT: usize = 4 * MAX_REGEX_INPUT;

/// The integers up to which doubles represent every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The claims that may grant scopes.
pub(super) const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];

/// A requirement on one claim.
#[derive(Clone, Debug)]
pub struct ClaimRule {
    /// The claim.
    pub name: ClaimName,
    /// The condition on the value.
    pub value: ClaimValue,
}

/// The required value of a claim.
#[derive(Clone, Debug)]
pub enum ClaimValue {
    /// Any value but `null`.
    Any,
    /// A list that contains this value, or a space-separated string that contains it as a word.
    Contains(Value),
    /// Exactly this value.
    Equals(Value),
    /// One of these values, or a list that contains one of them.
    OneOf(Vec<Value>),
    /// A string that matches, or a list that contains such a string.
    Matches(StringMatcher),
}

/// A requirement on one claim: the claim equals the value of a request header, or is a list that contains the value.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    /// The claim.
    pub claim: ClaimName,
    /// The name of the header, in lower case.
    pub header: Rc<str>,
}

/// What a request demands of a token besides the token policy. A cache of verified tokens knows nothing of demands: they are
/// checked for each request.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Rules of the request's route.
    pub claims: Vec<ClaimRule>,
    /// Scopes that the request's route requires.
    pub scopes: Vec<String>,
    /// Rules that compare a claim with a header of the request.
    pub headers: Vec<HeaderRule>,
}

impl Demands {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.scopes.is_empty() && self.headers.is_empty()
    }

    /// All of these demands.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.claims.extend(more.claims);
        self.scopes.extend(more.scopes);
        self.headers.extend(more.headers);
        self
    }

    /// Checks the payload of a verified token. `header` gives the only value of a header.
    ///
    /// # Errors
    /// The first demand that the token does not meet.
    pub fn check<'h>(&self, payload: &[u8], header: impl Fn(&str) -> Option<&'h [u8]>) -> Result<(), TokenError> {
        let of_claims = self.claims.iter().map(|rule| &rule.name);
        let names = of_claims.chain(self.headers.iter().map(|rule| &rule.claim)).flat_map(ClaimName::candidates);
        let claims = SelectedClaims::read(payload, SCOPE_CLAIMS.into_iter().chain(names))?;
        let equals_header = |rule: &HeaderRule| {
            let values = claims.find(&rule.claim).zip(header(&rule.header));
            values.is_some_and(|(claim, header)| is_or_contains(claim, |item| is_text(item, header)))
        };
        if !self.headers.iter().all(equals_header) {
            return Err(TokenError::ClaimNotAllowed);
        }
        check(&self.claims, &self.scopes, &claims)
    }
}

/// Checks that all rules are met and all scopes granted.
///
/// # Errors
/// [`TokenError::ClaimNotAllowed`] or [`TokenError::InsufficientScope`].
pub(super) fn check(rules: &[ClaimRule], scopes: &[String], claims: &SelectedClaims<'_>) -> Result<(), TokenError> {
    let is_met = |rule: &ClaimRule| claims.find(&rule.name).is_some_and(|value| rule.value.matches(value));
    if !rules.iter().all(is_met) {
        return Err(TokenError::ClaimNotAllowed);
    }
    let is_granted = |scope: &String| {
        let granted = SCOPE_CLAIMS.into_iter().filter_map(|claim| claims.get(claim));
        granted.into_iter().any(|value| contains(value, |item| item.as_str() == Some(scope), scope))
    };
    if scopes.iter().all(is_granted) {
        Ok(())
    } else {
        Err(TokenError::InsufficientScope)
    }
}

impl ClaimValue {
    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Any => !value.is_null(),
            Self::Equals(expected) => is_same(expected, value),
            Self::Contains(Value::String(word)) => contains(value, |item| item.as_str() == Some(word), word),
            Self::Contains(expected) => {
                value.as_array().is_some_and(|items| items.iter().any(|item| is_same(expected, item)))
            }
            Self::OneOf(allowed) => is_or_contains(value, |item| allowed.iter().any(|one| is_same(one, item))),
            Self::Matches(matcher) => {
                let mut left = MAX_LIST_REGEX_INPUT;
                is_or_contains(value, |item| {
                    let Some(text) = item.as_str() else { return false };
                    if matcher.is_regex() {
                        let Some(rest) = left.checked_sub(text.len()) else { return false };
                        left = rest;
                    }
                    matcher.matches(text) == Ok(true)
                })
            }
        }
    }
}

/// Whether a list contains such an item, or a space-separated string contains this word.
fn contains(value: &Value, is_item: impl FnMut(&Value) -> bool, word: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_item),
        Value::String(words) => words.split(' ').any(|other| other == word),
        _ => false,
    }
}

/// Whether the value is such a value, or a list with such an item.
fn is_or_contains(value: &Value, mut is_such: impl FnMut(&Value) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_such),
        value => is_such(value),
    }
}

/// Whether two values are equal. Numbers are equal by value: 1 and 1.0 are.
fn is_same(expected: &Value, value: &Value) -> bool {
    match (expected, value) {
        (Value::Number(expected), Value::Number(number)) => {
            expected == number || integer(expected).is_some_and(|expected| integer(number) == Some(expected))
        }
        (expected, value) => expected == value,
    }
}

fn integer(number: &Number) -> Option<i64> {
    let double = || number.as_f64().filter(|double| double.fract() == 0.0 && double.abs() <= EXACT);
    number.as_i64().or_else(|| double().map(|double| double as i64))
}

/// Whether a number is known exactly. Of larger numbers, several have one double.
pub fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|double| double.abs() <= EXACT)
}

/// Whether a claim is this text: a string, or an integer of 64 bits in decimal.
fn is_text(value: &Value, text: &[u8]) -> bool {
    match value {
        Value::String(claim) => claim.as_bytes() == text,
        Value::Number(number) if !number.is_f64() => number.to_string().as_bytes() == text,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
