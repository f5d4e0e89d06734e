//! Which requirement a request falls under: the first rule that matches.

use super::{
    candidates::Candidates,
    headers::Headers,
    route::{PathMatch, RouteMatch},
};
use crate::{ids::RequirementId, sorted, string_matcher::TooLong};

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which requests the rule matches.
    pub route: RouteMatch,
    /// What the rule requires. `None`: nothing.
    pub requires: Option<RequirementId>,
}

/// The rules, indexed by path and by headers: a request costs as much under a thousand rules as under one.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    rules: Vec<Rule>,
    exact: Vec<(String, Candidates)>,
    prefixes: Vec<(String, Candidates)>,
    /// The lengths of the prefixes, in the order of the prefixes.
    lengths: Vec<usize>,
    /// Rules that no path finds.
    others: Candidates,
}

impl RouteTable {
    /// A table of these rules, in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        let (mut exact, mut prefixes, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (index, Rule { route, .. }) in rules.iter().enumerate() {
            match &route.path {
                PathMatch::Exact(path) if route.case_sensitive => exact.push((path.clone(), index)),
                PathMatch::Prefix(path) | PathMatch::Separated(path) if route.case_sensitive => {
                    prefixes.push((path.clone(), index));
                }
                _ => others.push(index),
            }
        }
        let routes: Vec<_> = rules.iter().map(|rule| &rule.route).collect();
        let by_path = |list| -> Vec<_> {
            sorted::group(list).into_iter().map(|(path, list)| (path, Candidates::new(&routes, &list))).collect()
        };
        let (exact, prefixes) = (by_path(exact), by_path(prefixes));
        let mut lengths: Vec<_> = prefixes.iter().map(|(path, _)| path.len()).collect();
        lengths.dedup();
        let others = Candidates::new(&routes, &others);
        Self { rules, exact, prefixes, lengths, others }
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
        let path = headers.path();
        let exact = sorted::get(&self.exact, path);
        let prefixes = self.lengths.iter().filter_map(|length| sorted::get(&self.prefixes, path.get(..*length)?));
        let mut first: Option<(usize, Result<Option<RequirementId>, TooLong>)> = None;
        for candidates in exact.into_iter().chain(prefixes).chain([&self.others]) {
            for list in candidates.lists(headers) {
                // Each list is in the order of the rules.
                let earlier = list.iter().copied().take_while(|index| first.is_none_or(|(first, _)| *index < first));
                first = self.first_match(earlier, headers).or(first);
            }
        }
        first.map_or(Ok(None), |(_, requirement)| requirement)
    }

    fn first_match(
        &self,
        mut list: impl Iterator<Item = usize>,
        headers: Headers<'_>,
    ) -> Option<(usize, Result<Option<RequirementId>, TooLong>)> {
        list.find_map(|index| {
            let rule = self.rules.get(index)?;
            match rule.route.matches(headers) {
                Ok(is_match) => is_match.then_some((index, Ok(rule.requires))),
                Err(too_long) => Some((index, Err(too_long))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::route::{HeaderMatch, ValueMatch},
        string_matcher::{Pattern, StringMatcher},
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
        const PATHS: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/ab", "/b", "/A/b"];
        const NAMES: [&str; 4] = ["x", "y", ":method", ":authority"];
        // U+FFFD stands for what is no UTF-8.
        const VALUES: [&str; 7] = ["", "a", "b", "A", "a,b", ",", "\u{fffd}"];
        let condition = |draw: &mut fastrand::Rng| {
            let value = (*draw.choice(&VALUES).unwrap()).to_owned();
            let text = |pattern, ignore_case| ValueMatch::Text(StringMatcher::new(pattern, ignore_case));
            let value = match draw.u8(..8) {
                0 => ValueMatch::Present(draw.bool()),
                1 => text(Pattern::Prefix(value), false),
                2 => text(Pattern::Exact(value), true),
                3 => text(Pattern::regex("a*").unwrap(), false),
                _ => text(Pattern::Exact(value), false),
            };
            let (name, invert) = ((*draw.choice(&NAMES).unwrap()).to_owned(), draw.u8(..6) == 0);
            HeaderMatch { name, value, invert, missing_is_empty: draw.u8(..4) == 0 }
        };
        let request = |draw: &mut fastrand::Rng| {
            let path =
                (*draw.choice(&["/", "/a", "/a/b", "/ab", "/A/b", "/a?q", "/a/b/c?/b", "/b"]).unwrap()).to_owned();
            let mut list = vec![(":path", path.into_bytes())];
            for _ in 0..draw.usize(..5) {
                let value = match draw.u8(..10) {
                    0 => b"\xff".to_vec(),
                    1 => vec![b'a'; crate::string_matcher::MAX_REGEX_INPUT + 1],
                    _ => draw.choice(&VALUES).unwrap().as_bytes().to_vec(),
                };
                list.push((*draw.choice(&NAMES).unwrap(), value));
            }
            list
        };
        let (mut matched, mut too_long) = (0, 0);
        for seed in 0..2_000 {
            let mut draw = fastrand::Rng::with_seed(seed);
            // Few paths: many rules share one.
            let (count, paths) = (draw.usize(1..40), draw.usize(1..=PATHS.len()));
            let rules = (0..count).map(|index| {
                let path = PATHS[draw.usize(..paths)].to_owned();
                let path = match draw.u8(..6) {
                    0 => PathMatch::Regex(Pattern::regex("/a.*").unwrap()),
                    1 => PathMatch::Connect,
                    2 => PathMatch::Exact(path),
                    3 => PathMatch::Separated(path),
                    _ => PathMatch::Prefix(path),
                };
                let mut rule = rule(path, Some(index));
                rule.route.case_sensitive = draw.u8(..4) > 0;
                rule.route.headers = (0..draw.usize(..3)).map(|_| condition(&mut draw)).collect();
                rule
            });
            let rules = RouteTable::new(rules.collect());
            for _ in 0..20 {
                let list = request(&mut draw);
                let list: Vec<_> = list.iter().map(|(name, value)| (*name, value.as_slice())).collect();
                let headers = Headers::new(&list);
                let one_by_one = rules.iter().find_map(|rule| match rule.route.matches(headers) {
                    Ok(is_match) => is_match.then_some(Ok(rule.requires)),
                    Err(too_long) => Some(Err(too_long)),
                });
                matched += usize::from(matches!(one_by_one, Some(Ok(_))));
                too_long += usize::from(matches!(one_by_one, Some(Err(_))));
                assert_eq!(rules.requirement(headers), one_by_one.unwrap_or(Ok(None)), "{seed} {list:?} {rules:?}");
            }
        }
        assert!(matched > 10_000 && too_long > 100, "{matched} {too_long}");
    }

    /// Of a thousand rules with equal paths, those of the request's tenant are tried.
    #[test]
    fn rules_of_one_path_are_found_by_a_header() {
        let is = |name: &str, value: String| HeaderMatch {
            name: name.to_owned(),
            value: ValueMatch::Text(StringMatcher::new(Pattern::Exact(value), false)),
            invert: false,
            missing_is_empty: false,
        };
        let rules: Vec<_> = (0..1000)
            .map(|index| {
                let mut rule = rule(PathMatch::Prefix("/".into()), Some(index));
                rule.route.headers = vec![is(":method", "GET".into()), is("tenant", (index / 2).to_string())];
                rule
            })
            .collect();
        let routes: Vec<_> = rules.iter().map(|rule| &rule.route).collect();
        let candidates = Candidates::new(&routes, &Vec::from_iter(0..1000));
        for (tenant, expected) in [("7", vec![14, 15]), ("x", vec![]), ("7,8", vec![])] {
            let list: Vec<_> = tenant.split(',').map(|value| ("tenant", value.as_bytes())).collect();
            let found: Vec<usize> = candidates.lists(Headers::new(&list)).flatten().copied().collect();
            assert_eq!(found, expected, "{tenant}");
        }
    }
}
