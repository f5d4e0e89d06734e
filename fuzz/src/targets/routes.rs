//! Which rule a request falls under: the index of the filter against Envoy's documented rules, tried one after the other.
//!
//! The reference below is written from the documentation of `RouteMatch`, `HeaderMatcher` and `QueryParameterMatcher`, and from
//! docs/jwt_authn.md for texts that are too long for a regular expression.

use arbitrary::{Result, Unstructured};
use jwks_gate::{config, engine::Headers};
use serde_json::{json, Map, Value};

use crate::mutation;

const PATHS: [&str; 14] =
    ["/", "/a", "/a/", "/a/b", "/ab", "/A", "/A/b", "/a?q", "/a#f", "/a/b/c", "*", "", "/\u{fffd}", "/aaaaaaaa"];
const REGEXES: [&str; 8] = ["/a+", "/[ab]/.*", ".*", "a|/b", "(?i)/A", "\\d+", "/a(/b)?", "[^/]*"];
const NAMES: [&str; 5] = ["x", "y", ":method", ":authority", "host"];
const VALUES: [&str; 12] = ["", "a", "b", "A", "a,b", ",", "7", "-7", "+7", "007", "7 ", "\u{fffd}"];
const RULES: usize = 6;
/// The longest text that a regular expression is tried on.
const LONGEST: usize = 4096;

/// What a condition says of a request. `None`: a regular expression would decide, and the text is too long.
type Verdict = Option<bool>;

pub fn seeds() -> Vec<Vec<u8>> {
    mutation::random(64, 400)
}

pub fn run(data: &[u8]) {
    let _ = compare(&mut Unstructured::new(data));
}

/// A list of names and values.
type List = Vec<(String, Vec<u8>)>;

fn compare(u: &mut Unstructured<'_>) -> Result<Option<usize>> {
    let rules = (0..u.int_in_range(1..=RULES)?).map(|_| route(u)).collect::<Result<Vec<_>>>()?;
    let Ok(plan) = config::parse(configuration(&rules).to_string().as_bytes()) else { return Ok(None) };
    let ids: Vec<_> = plan.routes.iter().map(|rule| rule.requires).collect();
    let mut matched = None;
    for _ in 0..4 {
        let request = request(u)?;
        let list: Vec<_> = request.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let found = plan.routes.requirement(Headers::new(&list));
        let expected = rules.iter().position(|rule| matches(rule, &request) != Some(false));
        let expected = match expected.map(|index| (index, matches(&rules[index], &request))) {
            None => Ok(None),
            Some((_, None)) => Err(()),
            Some((index, _)) => {
                matched = Some(index);
                Ok(ids[index])
            }
        };
        assert_eq!(found.map_err(|_| ()), expected, "{request:?} {rules:?}");
    }
    Ok(matched)
}

fn configuration(rules: &[Value]) -> Value {
    let provider = |index: usize| {
        let http_uri = json!({"uri": "https://i/", "cluster": "c", "timeout": "1s"});
        (format!("p{index}"), json!({"issuer": format!("i{index}"), "remote_jwks": {"http_uri": http_uri}}))
    };
    let requires = |index: usize| json!({ "provider_name": format!("p{index}") });
    let rule = |(index, rule): (usize, &Value)| json!({"match": rule, "requires": requires(index)});
    let rules: Vec<_> = rules.iter().enumerate().map(rule).collect();
    json!({"providers": (0..RULES).map(provider).collect::<Map<_, _>>(), "rules": rules})
}

fn text(u: &mut Unstructured<'_>, known: &[&str]) -> Result<String> {
    if u.ratio(3, 4)? {
        return Ok((*u.choose(known)?).to_owned());
    }
    let characters = ['/', 'a', 'A', 'b', '?', '#', ',', '=', '&', '%', ' ', '\u{e9}'];
    (0..u.int_in_range(0..=5)?).map(|_| u.choose(&characters).copied()).collect()
}

fn route(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut rule = Map::new();
    let (field, value) = match u.int_in_range(0..=6)? {
        0 => ("safe_regex", regex(u)?),
        1 => ("connect_matcher", json!({})),
        2 | 3 => ("path", text(u, &PATHS)?.into()),
        4 => ("path_separated_prefix", text(u, &PATHS)?.into()),
        _ => ("prefix", text(u, &PATHS)?.into()),
    };
    rule.insert(field.into(), value);
    if u.ratio(1, 4)? {
        rule.insert("case_sensitive".into(), u.arbitrary::<bool>()?.into());
    }
    let headers = (0..u.int_in_range(0..=2)?).map(|_| header(u)).collect::<Result<Vec<_>>>()?;
    let query = (0..u.int_in_range(0..=1)?).map(|_| parameter(u)).collect::<Result<Vec<_>>>()?;
    rule.insert("headers".into(), headers.into());
    rule.insert("query_parameters".into(), query.into());
    Ok(rule.into())
}

fn regex(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(json!({ "regex": u.choose(&REGEXES)? }))
}

fn string_match(u: &mut Unstructured<'_>) -> Result<Value> {
    let kind = *u.choose(&["exact", "prefix", "suffix", "contains", "safe_regex"])?;
    let value = if kind == "safe_regex" { regex(u)? } else { text(u, &VALUES)?.into() };
    Ok(json!({ kind: value, "ignore_case": u.ratio(1, 3)? }))
}

fn header(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut header = Map::new();
    header.insert("name".into(), (*u.choose(&NAMES)?).into());
    match u.int_in_range(0..=5)? {
        0 => header.insert("present_match".into(), u.arbitrary::<bool>()?.into()),
        1 => header
            .insert("range_match".into(), json!({"start": u.int_in_range(-8..=8)?, "end": u.int_in_range(-8..=8)?})),
        2 => None,
        3 => header.insert("exact_match".into(), text(u, &VALUES)?.into()),
        _ => header.insert("string_match".into(), string_match(u)?),
    };
    header.insert("invert_match".into(), u.ratio(1, 4)?.into());
    header.insert("treat_missing_header_as_empty".into(), u.ratio(1, 4)?.into());
    Ok(header.into())
}

fn parameter(u: &mut Unstructured<'_>) -> Result<Value> {
    let name = *u.choose(&["q", "r"])?;
    Ok(match u.int_in_range(0..=2)? {
        0 => json!({"name": name, "present_match": u.arbitrary::<bool>()?}),
        1 => json!({ "name": name }),
        _ => json!({"name": name, "string_match": string_match(u)?}),
    })
}

fn request(u: &mut Unstructured<'_>) -> Result<List> {
    let value = |u: &mut Unstructured<'_>| -> Result<Vec<u8>> {
        Ok(match u.int_in_range(0..=15)? {
            0 => vec![b'a'; LONGEST + 1],
            1 => b"\xff".to_vec(),
            _ => text(u, &VALUES)?.into_bytes(),
        })
    };
    let mut list = List::new();
    if u.ratio(15, 16)? {
        let mut path = text(u, &PATHS)?.into_bytes();
        if u.ratio(1, 16)? {
            path.resize(LONGEST + 1, b'a');
        }
        if u.ratio(1, 2)? {
            let parameters = ["?q=a", "?q", "?r=b&q=", "?x&&q=A&q=a", "?q=\u{fffd}#f", "?%71=a"];
            path.extend_from_slice(u.choose(&parameters)?.as_bytes());
        }
        list.push((":path".into(), path));
    }
    list.push((":method".into(), (*u.choose(&["GET", "CONNECT", "connect"])?).into()));
    for _ in 0..u.int_in_range(0..=4)? {
        list.push(((*u.choose(&["x", "y", ":authority"])?).into(), value(u)?));
    }
    Ok(list)
}

/// Whether a rule matches: the path, all headers and all parameters do.
fn matches(rule: &Value, request: &List) -> Verdict {
    let conditions = |name: &str| rule[name].as_array().cloned().unwrap_or_default();
    let headers: Vec<_> = conditions("headers").iter().map(|header| matches_header(header, request)).collect();
    let query: Vec<_> = conditions("query_parameters").iter().map(|query| matches_parameter(query, request)).collect();
    let all: Vec<_> = [matches_path(rule, request)].into_iter().chain(headers).chain(query).collect();
    if all.contains(&Some(false)) {
        return Some(false);
    }
    (!all.contains(&None)).then_some(true)
}

fn values<'r>(request: &'r List, name: &str) -> Vec<&'r [u8]> {
    let name = if name == "host" { ":authority" } else { name };
    request.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice()).collect()
}

fn is_equal(a: &[u8], b: &[u8], case_sensitive: bool) -> bool {
    if case_sensitive {
        a == b
    } else {
        a.eq_ignore_ascii_case(b)
    }
}

fn matches_path(rule: &Value, request: &List) -> Verdict {
    let path = values(request, ":path").first().copied();
    let case_sensitive = rule["case_sensitive"].as_bool().unwrap_or(true);
    let whole = path.unwrap_or_default();
    let path_alone = whole.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let begins = |with: &str| {
        let start = path_alone.get(..with.len());
        start.is_some_and(|start| is_equal(start, with.as_bytes(), case_sensitive))
    };
    let text = |name: &str| rule[name].as_str();
    if let Some(prefix) = text("prefix") {
        return Some(begins(prefix));
    }
    if let Some(path) = text("path") {
        return Some(is_equal(path_alone, path.as_bytes(), case_sensitive));
    }
    if let Some(prefix) = text("path_separated_prefix") {
        let next = path_alone.get(prefix.len());
        return Some(begins(prefix) && matches!(next, None | Some(b'/')));
    }
    if rule.get("connect_matcher").is_some() {
        return Some(values(request, ":method").first().copied() == Some(b"CONNECT"));
    }
    // A CONNECT without a path matches no expression.
    if path.is_none() {
        Some(false)
    } else {
        matches_regex(&rule["safe_regex"], path_alone)
    }
}

fn matches_regex(matcher: &Value, text: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(text);
    let regex = matcher["regex"].as_str().expect("an expression");
    let whole = || regex::Regex::new(&format!("^(?:{regex})$")).expect("a valid expression").is_match(&text);
    (text.len() <= LONGEST).then(whole)
}

fn matches_string(matcher: &Value, text: &[u8]) -> Verdict {
    if matcher.get("safe_regex").is_some() {
        // `ignore_case` has no effect on the expression, in Envoy on nothing else either.
        let text = if matcher["ignore_case"] == true { text.to_ascii_lowercase() } else { text.to_vec() };
        return matches_regex(&matcher["safe_regex"], &text);
    }
    let fold = |text: &str| if matcher["ignore_case"] == true { text.to_ascii_lowercase() } else { text.to_owned() };
    let text = fold(&String::from_utf8_lossy(text));
    let given = |name: &str| matcher[name].as_str().map(fold);
    Some(match (given("exact"), given("prefix"), given("suffix"), given("contains")) {
        (Some(exact), ..) => text == exact,
        (_, Some(prefix), ..) => text.starts_with(&prefix),
        (_, _, Some(suffix), _) => text.ends_with(&suffix),
        (_, _, _, Some(part)) => text.contains(&part),
        _ => panic!("{matcher}"),
    })
}

fn matches_header(header: &Value, request: &List) -> Verdict {
    let values = values(request, header["name"].as_str().unwrap_or_default());
    let is_there = !values.is_empty() || header["treat_missing_header_as_empty"] == true;
    let value = values.join(&b","[..]);
    let verdict = if let Some(present) = header["present_match"].as_bool() {
        Some(is_there == present)
    } else if let Some(range) = header.get("range_match") {
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
        let bound = |name: &str| range[name].as_i64().unwrap_or_default();
        if !is_there {
            return Some(false);
        }
        Some(number.is_some_and(|number| bound("start") <= number && number < bound("end")))
    } else if let Some(exact) = header["exact_match"].as_str() {
        if !is_there {
            return Some(false);
        }
        Some(String::from_utf8_lossy(&value) == exact)
    } else if let Some(matcher) = header.get("string_match") {
        if !is_there {
            return Some(false);
        }
        matches_string(matcher, &value)
    } else {
        Some(is_there)
    };
    verdict.map(|verdict| verdict != (header["invert_match"] == true))
}

fn matches_parameter(parameter: &Value, request: &List) -> Verdict {
    let target = values(request, ":path").first().copied().unwrap_or_default();
    let query = target.iter().position(|byte| *byte == b'?').map_or(&[][..], |at| &target[at + 1..]);
    let pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (&pair[..at], pair.get(at + 1..).unwrap_or_default())
    });
    let name = parameter["name"].as_str().unwrap_or_default().as_bytes();
    let first = pairs.into_iter().find(|(known, _)| *known == name);
    if let Some(matcher) = parameter.get("string_match") {
        return first.map_or(Some(false), |(_, value)| matches_string(matcher, value));
    }
    Some(first.is_some() == parameter["present_match"].as_bool().unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The comparison is of use only if rules are valid and match.
    #[test]
    fn rules_of_any_place_match() {
        let mut matched = [0; RULES];
        for data in mutation::random(4_000, 400) {
            if let Ok(Some(index)) = compare(&mut Unstructured::new(&data)) {
                matched[index] += 1;
            }
        }
        assert!(matched.iter().all(|count| *count > 5), "{matched:?}");
    }
}
