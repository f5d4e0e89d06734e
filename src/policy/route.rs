//! Which requests a rule is for, after Envoy's `RouteMatch` as `jwt_authn` reads it
//! (`source/extensions/filters/http/jwt_authn/matcher.cc`). Paths are compared as the host hands them over; normalise them
//! in the connection manager.

use super::{headers::Headers, query};
use crate::string_matcher::{Pattern, StringMatcher};

/// Which requests a rule is for: all of it must hold.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// What the path must be.
    pub path: PathMatch,
    /// Whether letters of the path are compared as they are.
    pub case_sensitive: bool,
    /// What headers must be.
    pub headers: Vec<HeaderMatch>,
    /// What parameters of the query must be.
    pub query: Vec<QueryMatch>,
}

/// What a path must be.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// This, without the query.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// This, or this and a slash and more, without the query.
    Separated(String),
    /// All of this, without the query.
    Regex(Pattern),
    /// Any, in a CONNECT request.
    Connect,
}

impl RouteMatch {
    /// A match by path alone.
    pub fn path(path: PathMatch) -> Self {
        Self { path, case_sensitive: true, headers: Vec::new(), query: Vec::new() }
    }

    /// Whether this request is meant.
    pub fn matches(&self, headers: Headers<'_>) -> bool {
        self.matches_path(headers)
            && self.headers.iter().all(|header| header.matches(headers))
            && self.query.iter().all(|parameter| parameter.matches(headers.query()))
    }

    fn matches_path(&self, headers: Headers<'_>) -> bool {
        let is = |own: &str, path: &[u8]| {
            if self.case_sensitive {
                own.as_bytes() == path
            } else {
                own.as_bytes().eq_ignore_ascii_case(path)
            }
        };
        let begins = |own: &str, path: &[u8]| path.get(..own.len()).is_some_and(|start| is(own, start));
        match &self.path {
            PathMatch::Exact(own) => is(own, headers.path()),
            PathMatch::Prefix(own) => begins(own, headers.path()),
            PathMatch::Separated(own) => {
                let path = headers.path();
                begins(own, path) && matches!(path.get(own.len()), None | Some(b'/'))
            }
            PathMatch::Regex(own) => own.matches_bytes(headers.path()),
            PathMatch::Connect => headers.first(":method") == Some(b"CONNECT"),
        }
    }
}

/// What a header must be: Envoy's `HeaderMatcher`.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Its name, lower-case.
    pub name: String,
    /// What its values, joined by commas, must be.
    pub value: ValueMatch,
    /// Whether it must not be so. A header that is not there is not either way, unless it counts as empty.
    pub invert: bool,
    /// Whether a header that is not there counts as an empty one.
    pub missing_is_empty: bool,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// There, or not there.
    Present(bool),
    /// Of this kind.
    Text(StringMatcher),
    /// A whole number from the first on, below the second.
    Range(i64, i64),
}

impl HeaderMatch {
    fn matches(&self, headers: Headers<'_>) -> bool {
        let values: Vec<_> = headers.all(&self.name).collect();
        let is_there = !values.is_empty() || self.missing_is_empty;
        let joined = values.join(&b","[..]);
        let matches = match &self.value {
            ValueMatch::Present(wanted) => is_there == *wanted,
            _ if !is_there => return false,
            ValueMatch::Text(text) => text.matches_bytes(&joined),
            ValueMatch::Range(from, to) => {
                let number = std::str::from_utf8(&joined).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(|number| (*from..*to).contains(&number))
            }
        };
        matches != self.invert
    }
}

/// What a parameter of the query must be: Envoy's `QueryParameterMatcher`. The first of its name counts, as it was sent.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    /// What it must be.
    pub value: ValueMatch,
}

impl QueryMatch {
    fn matches(&self, query: &[u8]) -> bool {
        let first = query::parameters(query).map(query::Parameter::raw).find(|(name, _)| *name == self.name.as_bytes());
        match (&self.value, first) {
            (ValueMatch::Present(wanted), first) => first.is_some() == *wanted,
            (ValueMatch::Text(text), Some((_, value))) => text.matches_bytes(value),
            (ValueMatch::Text(_) | ValueMatch::Range(..), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(list: &[(&str, &str)], matcher: &RouteMatch) -> bool {
        let list: Vec<_> = list.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
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
}
