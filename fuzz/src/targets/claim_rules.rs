//! Conditions on claims against docs/claims.md, which the reference below is written from.

use arbitrary::{Result, Unstructured};
use jwks_gate::{
    string_matcher::{Pattern, StringMatcher},
    token::{
        claim_rules::{ClaimRule, ClaimValue, Demands, HeaderRule},
        claims::ClaimName,
        TokenError,
    },
};
use serde_json::{json, Map, Value};

use crate::mutation;

const NAMES: [&str; 8] = ["a", "a", "b", "b", "a.b", "a.b.c", ".", "scope"];
const WORDS: [&str; 8] = ["", "x", "y", "x y", " x ", "7", "true", "1.0"];
const NUMBERS: [&str; 9] =
    ["1", "1.0", "-1", "0", "-0.0", "9007199254740993", "18446744073709551615", "0.5", "-9223372036854775808"];

pub fn seeds() -> Vec<Vec<u8>> {
    mutation::random(64, 200)
}

pub fn run(data: &[u8]) {
    let _ = compare(&mut Unstructured::new(data));
}

fn compare(u: &mut Unstructured<'_>) -> Result<bool> {
    let payload = Value::Object(object(u, 2)?);
    let (name, value) = (name(u)?, condition(u)?);
    let header = (*u.choose(&WORDS)?).as_bytes().to_vec();
    let scopes: Vec<String> =
        (0..u.int_in_range(0..=1)?).map(|_| u.choose(&["x", "y"]).map(|s| (*s).to_owned())).collect::<Result<_>>()?;
    let is_header = u.ratio(1, 4)?;
    let demands = Demands {
        claims: if is_header { Vec::new() } else { vec![ClaimRule { name: name.clone(), value: value.clone() }] },
        headers: if is_header { vec![HeaderRule { claim: name.clone(), header: "x".into() }] } else { Vec::new() },
        scopes: scopes.clone(),
    };
    let claim = find(&payload, &name);
    let is_met = match claim {
        Some(claim) if is_header => equals_header(claim, &header),
        Some(claim) => is_condition_met(claim, &value),
        None => false,
    };
    let is_granted = |scope: &String| {
        ["scope", "scp"].into_iter().any(|name| payload.get(name).is_some_and(|claim| has_word(claim, scope)))
    };
    let expected = match (is_met, scopes.iter().all(is_granted)) {
        (false, _) => Err(TokenError::ClaimNotAllowed),
        (true, false) => Err(TokenError::InsufficientScope),
        (true, true) => Ok(()),
    };
    let found = demands.check(payload.to_string().as_bytes(), |name| (name == "x").then_some(header.as_slice()));
    assert_eq!(found, expected, "{payload} {demands:?} {header:?}");
    Ok(is_met)
}

fn name(u: &mut Unstructured<'_>) -> Result<ClaimName> {
    if u.ratio(3, 4)? {
        return Ok(ClaimName::Dotted((*u.choose(&NAMES)?).into()));
    }
    Ok(ClaimName::Path(
        (0..u.int_in_range(1..=3)?).map(|_| u.choose(&NAMES).map(|name| (*name).into())).collect::<Result<_>>()?,
    ))
}

fn object(u: &mut Unstructured<'_>, depth: u8) -> Result<Map<String, Value>> {
    (0..u.int_in_range(0..=6)?)
        .map(|_| Ok(((*u.choose(&["a", "a", "b", "c", "a.b", "", "scope", "scp"])?).to_owned(), value(u, depth)?)))
        .collect()
}

fn value(u: &mut Unstructured<'_>, depth: u8) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth == 0 { 6 } else { 10 })? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 | 3 => serde_json::from_str(u.choose(&NUMBERS)?).expect("a number"),
        4..=6 => (*u.choose(&WORDS)?).into(),
        7 | 8 => (0..u.int_in_range(0..=3)?).map(|_| value(u, depth - 1)).collect::<Result<Vec<_>>>()?.into(),
        _ => object(u, depth - 1)?.into(),
    })
}

/// A value that a configuration may name: a string, a number or a boolean.
fn scalar(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=2)? {
        0 => json!(u.arbitrary::<bool>()?),
        1 => serde_json::from_str(u.choose(&NUMBERS)?).expect("a number"),
        _ => json!(u.choose(&WORDS)?),
    })
}

fn condition(u: &mut Unstructured<'_>) -> Result<ClaimValue> {
    Ok(match u.int_in_range(0..=4)? {
        0 => ClaimValue::Any,
        1 => ClaimValue::Equals(scalar(u)?),
        2 => ClaimValue::Contains(scalar(u)?),
        3 => ClaimValue::OneOf((0..u.int_in_range(1..=2)?).map(|_| scalar(u)).collect::<Result<_>>()?),
        _ => ClaimValue::Matches(StringMatcher::new(Pattern::Prefix((*u.choose(&WORDS)?).into()), false)),
    })
}

/// "The whole name counts first": the whole name, then each way to cut the name at a dot, the shortest first name first.
fn find<'v>(value: &'v Value, name: &ClaimName) -> Option<&'v Value> {
    fn dotted<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
        let members = value.as_object()?;
        if let Some(found) = members.get(name) {
            return Some(found);
        }
        for (at, _) in name.match_indices('.') {
            let (first, rest) = (&name[..at], &name[at + 1..]);
            if let Some(found) = members.get(first).and_then(|inner| dotted(inner, rest)) {
                return Some(found);
            }
        }
        None
    }
    match name {
        ClaimName::Dotted(name) => dotted(value, name),
        ClaimName::Path(path) => path.iter().try_fold(value, |value, name| value.as_object()?.get(name)),
    }
}

/// "Types differ. Numbers are compared by value. Integers of 64 bits are exact."
fn is_equal(a: &Value, b: &Value) -> bool {
    let integer = |value: &Value| match value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)) {
        Some(integer) => Some(integer),
        None => value
            .as_f64()
            .filter(|double| double.fract() == 0.0 && double.abs() <= 2_f64.powi(53))
            .map(|double| double as i128),
    };
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => a == b,
            (None, None) => a.as_f64() == b.as_f64(),
            _ => false,
        },
        _ => a == b,
    }
}

/// The items of a list, or the value itself.
fn items(claim: &Value) -> &[Value] {
    claim.as_array().map_or(std::slice::from_ref(claim), Vec::as_slice)
}

fn has_word(claim: &Value, word: &str) -> bool {
    match claim {
        Value::String(text) => text.split(' ').any(|known| known == word),
        Value::Array(items) => items.iter().any(|item| item == word),
        _ => false,
    }
}

fn is_condition_met(claim: &Value, condition: &ClaimValue) -> bool {
    match condition {
        ClaimValue::Any => !claim.is_null(),
        ClaimValue::Equals(value) => is_equal(value, claim),
        ClaimValue::Contains(Value::String(word)) => has_word(claim, word),
        ClaimValue::Contains(value) => claim.is_array() && items(claim).iter().any(|item| is_equal(value, item)),
        ClaimValue::OneOf(values) => items(claim).iter().any(|item| values.iter().any(|value| is_equal(value, item))),
        ClaimValue::Matches(matcher) => {
            items(claim).iter().any(|item| item.as_str().is_some_and(|text| matcher.matches(text) == Ok(true)))
        }
    }
}

fn equals_header(claim: &Value, header: &[u8]) -> bool {
    items(claim).iter().any(|item| match item {
        Value::String(text) => text.as_bytes() == header,
        Value::Number(number) => (number.is_i64() || number.is_u64()) && number.to_string().as_bytes() == header,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_met_and_not_met() {
        let all: Vec<_> =
            mutation::random(4_000, 200).iter().filter_map(|data| compare(&mut Unstructured::new(data)).ok()).collect();
        let met = all.iter().filter(|is_met| **is_met).count();
        assert!(met > 100 && all.len() - met > 100, "{met} of {}", all.len());
    }
}
