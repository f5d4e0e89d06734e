//! Which requirement a request falls under: the first rule that matches.

use super::headers::Headers;
use crate::token::ProviderId;

/// How a rule matches, after Envoy's `RouteMatch`. Paths are compared as the host hands them over, without the query;
/// normalise them in the connection manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Its beginning.
    Prefix(String),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which requests it is for.
    pub path: PathMatch,
    /// What they need; `None`: nothing.
    pub requires: Option<ProviderId>,
}

/// What the first matching rule asks for; `None`: no rule matches, or it asks for nothing.
pub fn requirement(rules: &[Rule], headers: Headers<'_>) -> Option<ProviderId> {
    let path = headers.path();
    rules.iter().find(|rule| rule.path.matches(path))?.requires
}

impl PathMatch {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(own) => path == own.as_bytes(),
            Self::Prefix(own) => path.starts_with(own.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins_and_the_query_does_not_count() {
        let rule = |path, requires: Option<usize>| Rule { path, requires: requires.map(ProviderId::new) };
        let rules = [
            rule(PathMatch::Exact("/api/health".into()), None),
            rule(PathMatch::Prefix("/api/".into()), Some(0)),
            rule(PathMatch::Prefix("/".into()), Some(1)),
        ];
        for (path, expected) in [
            ("/api/health", None),
            ("/api/health?x=1", None),
            ("/api/health#f", None),
            ("/api/healthy", Some(0)),
            ("/x?/api/", Some(1)),
            ("*", None),
        ] {
            let list = [(":path".to_owned(), path.as_bytes().to_vec())];
            assert_eq!(requirement(&rules, Headers::new(&list)), expected.map(ProviderId::new), "{path}");
        }
        assert_eq!(requirement(&rules, Headers::new(&[])), None);
    }
}
