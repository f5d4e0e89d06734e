//! JSON read in another way than the core reads it: each level by itself, from raw text.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, Value};

/// How deep serde_json descends.
const MAX_DEPTH: usize = 127;
/// The member by which serde_json recognizes raw text. Values with the member are left to the tests of the core.
const RESERVED: &str = "$serde_json::private::RawValue";

/// The members of an object, in order, with repeated names.
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}

/// The members of an object. `None`: the text is no object.
pub fn members(text: &str) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(text).ok().map(|members| members.0)
}

/// Whether the text is JSON in which no object repeats a name.
pub fn is_strict(text: &str) -> bool {
    is_strict_within(text, MAX_DEPTH)
}

fn is_strict_within(text: &str, depth: usize) -> bool {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let Some(inner) = depth.checked_sub(usize::from(text.starts_with(['{', '[']))) else { return false };
    if text.starts_with('{') {
        let Some(members) = members(text) else { return false };
        let mut names = BTreeSet::new();
        members.iter().all(|(name, value)| names.insert(name) && is_strict_within(value.get(), inner))
    } else if text.starts_with('[') {
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return false };
        items.iter().all(|item| is_strict_within(item.get(), inner))
    } else {
        serde_json::from_str::<Value>(text).is_ok()
    }
}

/// The value of strict JSON. `None`: the text is none, or serde_json itself gives one of its members a meaning.
pub fn value(text: &str) -> Option<Value> {
    (is_strict(text) && !has_reserved_name(text)).then(|| serde_json::from_str(text).expect("strict JSON"))
}

/// Whether a name in the text may be the one by which serde_json recognizes raw text, escaped or not.
pub fn has_reserved_name(text: &str) -> bool {
    text.contains(RESERVED) || (text.contains("\\u") && text.contains("serde_json") || text.contains("\\u00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_found_at_any_depth() {
        for good in [" {} ", "[1,[2]]", r#"{"a":{"b":1},"b":{"b":1}}"#, "7", r#""a""#] {
            assert!(is_strict(good), "{good}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for bad in ["", "{", r#"{"a":1,"\u0061":1}"#, r#"[{"a":[{"b":1,"b":1}]}]"#, r#""\ud800""#, "1e999", &deep(128)]
        {
            assert!(!is_strict(bad), "{bad}");
        }
        assert!(is_strict(&deep(127)));
    }
}
