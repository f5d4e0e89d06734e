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
    pub(super) fn new(rules: &[&RouteMatch], list: &[usize]) -> Self {
        let required = |index: &usize| rules.get(*index).into_iter().flat_map(|route| route.required_headers());
        let key = |(name, value)| format!("{name}\0{value}");
        let with_key = |index: &usize| required(index).map(|header| (key(header), *index)).collect::<Vec<_>>();
        let by_key = sorted::group(list.iter().flat_map(with_key).collect());
        let count = |header: &_| sorted::get(&by_key, key(*header).as_bytes()).map_or(0, Vec::len);
        // Of several headers, the one that leaves the fewest rules.
        let chosen = |index: &usize| required(index).min_by_key(count);
        let with_name = |index: &usize| Some((chosen(index)?.0.to_owned(), *index));
        let by_name = sorted::group(list.iter().filter_map(with_name).collect());
        let is_indexed = |index: &usize| {
            let list = chosen(index).and_then(|(name, _)| sorted::get(&by_name, name.as_bytes()));
            list.is_some_and(|list| list.len() >= MIN_INDEXED)
        };
        let others = list.iter().copied().filter(|index| !is_indexed(index)).collect();
        let mut by_header = Vec::new();
        for (name, list) in by_name.into_iter().filter(|(_, list)| list.len() >= MIN_INDEXED) {
            let with_value = |index: &usize| Some((chosen(index)?.1.to_owned(), *index));
            by_header.push(ByHeader { name, by_value: sorted::group(list.iter().filter_map(with_value).collect()) });
        }
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
