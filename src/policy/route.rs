//! Which requests a rule matches, after Envoy's `RouteMatch` as `jwt_authn` reads it
//! (`source/extensions/filters/http/jwt_authn/matcher.cc`). Paths are compared as the host passes them; the connection manager
//! normalizes paths.

use super::{headers::Headers, query};
use crate::string_matcher::{Pattern, StringMatcher, TooLong};

/// Which requests a rule matches. All conditions must hold.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The condition on the path.
    pub path: PathMatch,
    /// Whether the path is compared case-sensitively.
    pub case_sensitive: bool,
    /// The conditions on headers.
    pub headers: Vec<HeaderMatch>,
    /// The conditions on query parameters.
    pub query: Vec<QueryMatch>,
}

/// A condition on the path.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// The path equals this; the query does not count.
    Exact(String),
    /// The path begins with this.
    Prefix(String),
    /// The path equals this, or begins with this and a slash; the query does not count.
    Separated(String),
    /// The expression matches the whole path; the query does not count.
    Regex(Pattern),
    /// Any path of a CONNECT request.
    Connect,
}

impl RouteMatch {
    /// A condition on the path alone.
    pub fn path(path: PathMatch) -> Self {
        Self { path, case_sensitive: true, headers: Vec::new(), query: Vec::new() }
    }

    /// Whether the request matches.
    ///
    /// # Errors
    /// [`TooLong`]: a regular expression would decide, and the text is too long for it. Where another condition fails, the
    /// request does not match, whatever the regular expression says.
    pub fn matches(&self, headers: Headers<'_>) -> Result<bool, TooLong> {
        let path = || self.matches_path(headers);
        let header = self.headers.iter().map(|header| header.matches(headers));
        let query = self.query.iter().map(|parameter| parameter.matches(headers.query()));
        let mut matches = Ok(true);
        for condition in std::iter::once_with(path).chain(header).chain(query) {
            match condition {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(too_long) => matches = Err(too_long),
            }
        }
        matches
    }

    /// The headers that must have exactly one value, whatever else must hold: in every request that may match, the header's
    /// values, joined by commas, equal the text. A missing header may count as an empty one.
    pub(super) fn required_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|header| match &header.value {
            ValueMatch::Text(text) if !header.invert => Some((header.name.as_str(), text.exact()?)),
            _ => None,
        })
    }

    fn matches_path(&self, headers: Headers<'_>) -> Result<bool, TooLong> {
        let equals = |expected: &str, path: &[u8]| {
            if self.case_sensitive {
                expected.as_bytes() == path
            } else {
                expected.as_bytes().eq_ignore_ascii_case(path)
            }
        };
        let begins = |prefix: &str, path: &[u8]| path.get(..prefix.len()).is_some_and(|start| equals(prefix, start));
        Ok(match &self.path {
            PathMatch::Exact(expected) => equals(expected, headers.path()),
            PathMatch::Prefix(prefix) => begins(prefix, headers.path()),
            PathMatch::Separated(prefix) => {
                let path = headers.path();
                begins(prefix, path) && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            // A CONNECT has no path. As in `jwt_authn`, no expression matches, not even one that matches the empty path.
            PathMatch::Regex(_) if headers.first(":path").is_none() => false,
            PathMatch::Regex(pattern) => return pattern.matches_bytes(headers.path()),
            PathMatch::Connect => headers.first(":method") == Some(b"CONNECT"),
        })
    }
}

/// A condition on a header: Envoy's `HeaderMatcher`.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// The header's name, in lower case.
    pub name: String,
    /// The condition on the header's values, joined by commas.
    pub value: ValueMatch,
    /// Inverts the match. A missing header never matches, inverted or not, unless `missing_is_empty`.
    pub invert: bool,
    /// Whether a missing header counts as an empty header.
    pub missing_is_empty: bool,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// The header or parameter is present, or absent.
    Present(bool),
    /// The value matches.
    Text(StringMatcher),
    /// The value is an integer from the first number up to, but not including, the second.
    Range(i64, i64),
}

impl HeaderMatch {
    fn matches(&self, headers: Headers<'_>) -> Result<bool, TooLong> {
        let joined = headers.joined(&self.name);
        let is_present = joined.is_some() || self.missing_is_empty;
        let joined = joined.unwrap_or_default();
        let matches = match &self.value {
            ValueMatch::Present(expected) => is_present == *expected,
            _ if !is_present => return Ok(false),
            ValueMatch::Text(text) => text.matches_bytes(&joined)?,
            ValueMatch::Range(from, to) => {
                let number = std::str::from_utf8(&joined).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(|number| (*from..*to).contains(&number))
            }
        };
        Ok(matches != self.invert)
    }
}

/// A condition on a query parameter: Envoy's `QueryParameterMatcher`. Of several parameters of one name the first counts, as
/// sent.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// The parameter's name.
    pub name: String,
    /// The condition on its value.
    pub value: ValueMatch,
}

impl QueryMatch {
    fn matches(&self, query: &[u8]) -> Result<bool, TooLong> {
        let first = query::parameters(query).map(query::Parameter::raw).find(|(name, _)| *name == self.name.as_bytes());
        match (&self.value, first) {
            (ValueMatch::Present(expected), first) => Ok(first.is_some() == *expected),
            (ValueMatch::Text(text), Some((_, value))) => text.matches_bytes(value),
            (ValueMatch::Text(_) | ValueMatch::Range(..), _) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(list: &[(&str, &str)], matcher: &RouteMatch) -> bool {
        verdict(list, matcher).unwrap()
    }

    fn verdict(list: &[(&str, &str)], matcher: &RouteMatch) -> Result<bool, TooLong> {
        let list: Vec<_> = list.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        matcher.matches(Headers::new(&list))
    }

    #[test]
    fn paths_match_as_their_kind_says() {
        let regex = || PathMatch::Regex(Pattern::regex("/[a-z]+/x").unwrap());
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        for (path, case_sensitive, good, bad) in [
            (PathMatch::Exact("/a".into()), true, vec!["/a", "/a?x", "/a#f"], vec!["/A", "/a/", "/ab"]),
            (PathMatch::Exact("/a".into()), false, vec!["/A"], vec!["/b"]),
            (prefix("/a"), true, vec!["/a", "/ab", "/a?b"], vec!["/A", "/"]),
            (prefix("/a"), false, vec!["/AB"], vec!["/"]),
            (prefix("/a?b"), true, vec![], vec!["/a?b", "/a"]),
            (PathMatch::Separated("/a".into()), true, vec!["/a", "/a/", "/a/b", "/a?b"], vec!["/ab", "/A", "/"]),
            (PathMatch::Separated("/a".into()), false, vec!["/A/b"], vec!["/ab"]),
            (regex(), true, vec!["/ab/x", "/ab/x?y"], vec!["/ab/xx", "/x/ab/x", "/Ab/x"]),
        ] {
            let matcher = RouteMatch { case_sensitive, ..RouteMatch::path(path) };
            assert!(good.iter().all(|path| request(&[(":path", path)], &matcher)), "{matcher:?}");
            assert!(!bad.iter().any(|path| request(&[(":path", path)], &matcher)), "{matcher:?}");
        }
        let empty = RouteMatch::path(PathMatch::Regex(Pattern::regex(".*").unwrap()));
        assert!(request(&[(":path", "")], &empty) && !request(&[(":method", "CONNECT")], &empty));
        let connect = RouteMatch::path(PathMatch::Connect);
        assert!(request(&[(":method", "CONNECT")], &connect) && !request(&[(":method", "GET")], &connect));
    }

    #[test]
    fn headers_match_joined_and_inverted() {
        let text = || ValueMatch::Text(StringMatcher::new(Pattern::Exact("a,b".into()), false));
        let header = |value, invert, missing_is_empty| RouteMatch {
            headers: vec![HeaderMatch { name: "x".into(), value, invert, missing_is_empty }],
            ..RouteMatch::path(PathMatch::Prefix(String::new()))
        };
        let both = [("x", "a"), ("x", "b")];
        for (value, invert, empty, list, expected) in [
            (text(), false, false, &both[..], true),
            (text(), true, false, &both[..], false),
            (text(), true, false, &[][..], false),
            (text(), true, true, &[][..], true),
            (ValueMatch::Present(true), false, false, &both[..], true),
            (ValueMatch::Present(true), true, false, &[][..], true),
            (ValueMatch::Present(false), false, false, &[][..], true),
            (ValueMatch::Range(1, 3), false, false, &[("x", "2")][..], true),
            (ValueMatch::Range(1, 3), false, false, &[("x", "3")][..], false),
            (ValueMatch::Range(1, 3), false, false, &[("x", "2 ")][..], false),
        ] {
            let matcher = header(value, invert, empty);
            assert_eq!(request(list, &matcher), expected, "{matcher:?} {list:?}");
        }
    }

    #[test]
    fn of_parameters_the_first_counts() {
        let with = |value| RouteMatch {
            query: vec![QueryMatch { name: "q".into(), value }],
            ..RouteMatch::path(PathMatch::Prefix("/".into()))
        };
        let text = with(ValueMatch::Text(StringMatcher::new(Pattern::Prefix("a".into()), false)));
        assert!(request(&[(":path", "/?x=1&q=ab&q=c")], &text));
        assert!(!request(&[(":path", "/?q=c&q=a")], &text) && !request(&[(":path", "/?Q=a")], &text));
        let present = with(ValueMatch::Present(true));
        assert!(request(&[(":path", "/?q")], &present) && !request(&[(":path", "/q")], &present));
    }

    /// A rule whose regular expression cannot be tried is neither matched nor skipped, inverted or not, unless another
    /// condition fails.
    #[test]
    fn a_text_too_long_for_a_regular_expression_leaves_the_match_open() {
        let regex = || Pattern::regex(".*").unwrap();
        let text = || ValueMatch::Text(StringMatcher::new(regex(), false));
        let header =
            |value, invert, missing_is_empty| HeaderMatch { name: "x".into(), value, invert, missing_is_empty };
        let any = || PathMatch::Prefix(String::new());
        let with_header = |path, list| RouteMatch { headers: list, ..RouteMatch::path(path) };
        let query = QueryMatch { name: "q".into(), value: text() };
        let long = "a".repeat(crate::string_matcher::MAX_REGEX_INPUT);
        let (path, parameter) = (format!("/{long}"), format!("/?q=a{long}"));
        let in_path = [(":path", path.as_str()), ("y", "")];
        let in_query = [(":path", parameter.as_str())];
        let value = format!("a{long}");
        let in_header = [(":path", "/"), ("x", value.as_str())];
        // Several values of one header count together.
        let joined = [(":path", "/"), ("x", long.as_str()), ("x", "")];
        let is_absent = || HeaderMatch { name: "y".into(), ..header(ValueMatch::Present(false), false, false) };
        for (matcher, list, expected) in [
            (RouteMatch::path(PathMatch::Regex(regex())), &in_path[..], Err(TooLong)),
            (RouteMatch::path(PathMatch::Regex(regex())), &in_query, Ok(true)),
            (with_header(PathMatch::Regex(regex()), vec![is_absent()]), &in_path, Ok(false)),
            (with_header(any(), vec![header(text(), false, false)]), &in_header, Err(TooLong)),
            (with_header(any(), vec![header(text(), true, false)]), &in_header, Err(TooLong)),
            (with_header(any(), vec![header(text(), true, true)]), &joined, Err(TooLong)),
            (with_header(PathMatch::Exact("/a".into()), vec![header(text(), true, false)]), &in_header, Ok(false)),
            (RouteMatch { query: vec![query.clone()], ..RouteMatch::path(any()) }, &in_query, Err(TooLong)),
            (RouteMatch { query: vec![query], ..RouteMatch::path(any()) }, &in_path, Ok(false)),
        ] {
            assert_eq!(verdict(list, &matcher), expected, "{matcher:?}");
        }
    }
}
