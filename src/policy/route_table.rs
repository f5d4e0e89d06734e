//! Which requirement a request falls under: the first rule that matches.

use std::collections::BTreeMap;

use super::{
    headers::Headers,
    route::{PathMatch, RouteMatch},
};
use crate::{ids::RequirementId, string_matcher::TooLong};

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which requests the rule matches.
    pub route: RouteMatch,
    /// What the rule requires. `None`: nothing.
    pub requires: Option<RequirementId>,
}

/// The rules, indexed by path: a request costs as much under a thousand rules as under one.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    rules: Vec<Rule>,
    exact: BTreeMap<String, Vec<usize>>,
    /// By length of the prefix.
    prefixes: Vec<(usize, BTreeMap<String, Vec<usize>>)>,
    /// Rules that are tried one by one.
    others: Vec<usize>,
}

impl RouteTable {
    /// A table of these rules, in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut table = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            match &rule.route {
                RouteMatch { path: PathMatch::Exact(path), case_sensitive: true, .. } => {
                    table.exact.entry(path.clone()).or_default().push(index);
                }
                RouteMatch {
                    path: PathMatch::Prefix(path) | PathMatch::Separated(path), case_sensitive: true, ..
                } => {
                    let known = table.prefixes.iter().position(|(length, _)| *length == path.len());
                    let at = known.unwrap_or(table.prefixes.len());
                    if known.is_none() {
                        table.prefixes.push((path.len(), BTreeMap::new()));
                    }
                    if let Some((_, rules)) = table.prefixes.get_mut(at) {
                        rules.entry(path.clone()).or_default().push(index);
                    }
                }
                _ => table.others.push(index),
            }
        }
        table.rules = rules;
        table
    }

    /// All rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The requirement of the first rule that matches. `None`: no rule matches, or the rule requires nothing.
    ///
    /// # Errors
    /// [`TooLong`]: nobody knows whether a rule before any that matches does. To skip the rule could be a hole.
    pub fn requirement(&self, headers: Headers<'_>) -> Result<Option<RequirementId>, TooLong> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let exact = text(headers.path()).and_then(|path| self.exact.get(path));
        let prefixes =
            self.prefixes.iter().filter_map(|(length, rules)| rules.get(text(headers.path().get(..*length)?)?));
        let mut first: Option<(usize, Result<Option<RequirementId>, TooLong>)> = None;
        for list in exact.into_iter().chain(prefixes).chain([&self.others]) {
            // Each list is in the order of the rules.
            let mut earlier = list.iter().copied().take_while(|index| first.is_none_or(|(first, _)| *index < first));
            let found = earlier.find_map(|index| {
                let rule = self.rules.get(index)?;
                match rule.route.matches(headers) {
                    Ok(is_match) => is_match.then_some((index, Ok(rule.requires))),
                    Err(too_long) => Some((index, Err(too_long))),
                }
            });
            first = found.or(first);
        }
        first.map_or(Ok(None), |(_, requirement)| requirement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::route::{HeaderMatch, ValueMatch},
        string_matcher::Pattern,
    };

    fn rule(path: PathMatch, requires: Option<usize>) -> Rule {
        Rule { route: RouteMatch::path(path), requires: requires.map(RequirementId::new) }
    }

    fn required(rules: &RouteTable, list: &[(&str, &str)]) -> Option<RequirementId> {
        verdict(rules, list).unwrap()
    }

    fn verdict(rules: &RouteTable, list: &[(&str, &str)]) -> Result<Option<RequirementId>, TooLong> {
        let list: Vec<_> = list.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        rules.requirement(Headers::new(&list))
    }

    #[test]
    fn a_rule_that_nobody_can_match_is_not_skipped() {
        let regex = || PathMatch::Regex(Pattern::regex("/a+").unwrap());
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        let long = format!("/{}", "a".repeat(crate::string_matcher::MAX_REGEX_INPUT));
        let is = |rules: Vec<Rule>, path: &str| verdict(&RouteTable::new(rules), &[(":path", path)]);
        let required = |id| Ok(Some(RequirementId::new(id)));
        for (rules, of_long, of_short) in [
            (vec![rule(regex(), Some(0))], Err(TooLong), required(0)),
            // A rule without a requirement as well: a later rule may have one.
            (vec![rule(regex(), None), rule(prefix("/"), Some(0))], Err(TooLong), Ok(None)),
            (
                vec![rule(prefix("/b"), None), rule(regex(), Some(0)), rule(prefix("/"), None)],
                Err(TooLong),
                required(0),
            ),
            // An earlier rule that matches decides.
            (vec![rule(prefix("/a"), Some(1)), rule(regex(), Some(0))], required(1), required(1)),
            (vec![rule(prefix("/"), None), rule(regex(), Some(0)), rule(prefix("/a"), Some(1))], Ok(None), Ok(None)),
            (vec![rule(PathMatch::Exact(long.clone()), Some(1)), rule(regex(), Some(0))], required(1), required(0)),
        ] {
            assert_eq!(is(rules.clone(), &long), of_long, "{rules:?}");
            assert_eq!(is(rules.clone(), "/aa"), of_short, "{rules:?}");
        }
    }

    #[test]
    fn the_first_match_wins_and_the_query_does_not_count() {
        let rules = RouteTable::new(vec![
            rule(PathMatch::Exact("/api/health".into()), None),
            rule(PathMatch::Prefix("/api/".into()), Some(0)),
            rule(PathMatch::Prefix("/".into()), Some(1)),
        ]);
        for (path, expected) in [
            ("/api/health", None),
            ("/api/health?x=1", None),
            ("/api/health#f", None),
            ("/api/healthy", Some(0)),
            ("/x?/api/", Some(1)),
            ("*", None),
        ] {
            assert_eq!(required(&rules, &[(":path", path)]), expected.map(RequirementId::new), "{path}");
        }
    }

    /// The index finds what trying one rule after the other finds.
    #[test]
    fn the_index_finds_the_first() {
        let paths = ["/", "/a", "/a/", "/a/b", "/ab", "/b", "/A/b"];
        let mut seed = 1_u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..2_000 {
            let rules = (0..6).map(|index| {
                let path = paths[draw(7) as usize].to_owned();
                let path = match draw(5) {
                    0 => PathMatch::Exact(path),
                    1 => PathMatch::Prefix(path),
                    2 => PathMatch::Separated(path),
                    3 => PathMatch::Regex(Pattern::regex("/a.*").unwrap()),
                    _ => PathMatch::Connect,
                };
                let mut rule = rule(path, Some(index));
                rule.route.case_sensitive = draw(4) > 0;
                if draw(3) == 0 {
                    let value = ValueMatch::Present(true);
                    let (name, invert) = ("x".to_owned(), false);
                    rule.route.headers.push(HeaderMatch { name, value, invert, missing_is_empty: false });
                }
                rule
            });
            let rules = RouteTable::new(rules.collect());
            for path in paths.into_iter().chain(["/a?q", "/a/b/c?/b"]) {
                for list in [vec![(":path", path)], vec![(":path", path), ("x", "1")]] {
                    let bytes: Vec<_> = list.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
                    let one_by_one = rules.iter().find(|rule| rule.route.matches(Headers::new(&bytes)).unwrap());
                    assert_eq!(required(&rules, &list), one_by_one.and_then(|rule| rule.requires), "{path} {rules:?}");
                }
            }
        }
    }
}
