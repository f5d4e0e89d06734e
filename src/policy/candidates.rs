//! Rules of one path, indexed by the headers that they require.

use super::{headers::Headers, route::RouteMatch};
use crate::sorted;

/// Fewer rules under one header are tried one by one: to read the header would take as long.
const MIN_INDEXED: usize = 4;

/// Rules of which the first that matches is wanted. A rule that requires an exact value of a header is found by the header's
/// value.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// Rules that are tried one by one.
    others: Vec<usize>,
    by_header: Vec<ByHeader>,
}

/// Rules that require an exact value of this header.
#[derive(Clone, Debug)]
struct ByHeader {
    name: String,
    by_value: Vec<(String, Vec<usize>)>,
}

impl Candidates {
    /// Indexes those of the rules that `list` names, in its order.
    pub(super) fn new(rules: &[&RouteMatch], list: Vec<usize>) -> Self {
        let required = |index: &usize| rules.get(*index).into_iter().flat_map(|route| route.required_headers());
        let mut all: Vec<_> = list.iter().flat_map(required).collect();
        all.sort_unstable();
        let count = |pair: &(&str, &str)| {
            all.partition_point(|known| known <= pair).saturating_sub(all.partition_point(|known| known < pair))
        };
        let (mut others, mut indexed) = (Vec::new(), Vec::new());
        for index in list {
            // Of several headers, the one that leaves the fewest rules.
            match required(&index).min_by_key(count) {
                Some((name, value)) => indexed.push((name, value.to_owned(), index)),
                None => others.push(index),
            }
        }
        indexed.sort_unstable();
        let mut by_header = Vec::new();
        for rules in indexed.chunk_by(|(a, ..), (b, ..)| a == b) {
            match rules {
                [(name, ..), ..] if rules.len() >= MIN_INDEXED => {
                    let by_value =
                        sorted::group(rules.iter().map(|(_, value, index)| (value.clone(), *index)).collect());
                    by_header.push(ByHeader { name: (*name).to_owned(), by_value });
                }
                _ => others.extend(rules.iter().map(|(.., index)| *index)),
            }
        }
        others.sort_unstable();
        Self { others, by_header }
    }

    /// Lists that together have every rule that may match, each in the order of the rules.
    pub(super) fn lists<'a>(&'a self, headers: Headers<'a>) -> impl Iterator<Item = &'a [usize]> {
        let found = self.by_header.iter().filter_map(move |ByHeader { name, by_value }| {
            // A missing header may count as an empty one.
            let value = headers.joined(name).unwrap_or_default();
            // As StringMatcher compares.
            sorted::get(by_value, String::from_utf8_lossy(&value).as_bytes())
        });
        std::iter::once(&self.others).chain(found).map(Vec::as_slice)
    }
}
