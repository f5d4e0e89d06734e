//! Sorted vectors as maps, for what is built once: much less code in the wasm than a `BTreeMap` for each type of value. Keys are
//! ordered by length first, so that most comparisons read no text.

use std::cmp::Ordering;

fn compare(a: &str, b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b))
}

/// The numbers of each key, in ascending order.
pub(crate) fn group(mut pairs: Vec<(String, usize)>) -> Vec<(String, Vec<usize>)> {
    pairs.sort_unstable_by(|(a, left), (b, right)| compare(a, b.as_bytes()).then_with(|| left.cmp(right)));
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (key, number) in pairs {
        match groups.last_mut() {
            Some((last, numbers)) if *last == key => numbers.push(number),
            _ => groups.push((key, vec![number])),
        }
    }
    groups
}

/// The value under `key` in what [`group`] has ordered.
pub(crate) fn get<'a, V>(map: &'a [(String, V)], key: &[u8]) -> Option<&'a V> {
    let index = map.binary_search_by(|(known, _)| compare(known, key)).ok()?;
    map.get(index).map(|(_, value)| value)
}

/// These texts, each once, for [`contains`].
pub(crate) fn texts(texts: Vec<String>) -> Vec<String> {
    group(texts.into_iter().map(|text| (text, 0)).collect()).into_iter().map(|(text, _)| text).collect()
}

/// Whether `text` is among what [`texts`] has ordered.
pub(crate) fn contains(texts: &[String], text: &str) -> bool {
    texts.binary_search_by(|known| compare(known, text.as_bytes())).is_ok()
}

/// The least number of this key.
pub(crate) fn first(groups: &[(String, Vec<usize>)], key: &str) -> Option<usize> {
    get(groups, key.as_bytes())?.first().copied()
}
