//! A strict JSON parser: a name that occurs twice in an object is an error.
//!
//! Untrusted text must not be deserialized as [`Value`] directly: with the feature `raw_value`, serde_json parses a
//! member of a reserved name a second time, which doubles the permitted depth.

use std::{borrow::Cow, fmt};

use serde::{
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
    Deserialize,
};
use serde_json::{Map, Number, Value};

/// Parses JSON text.
///
/// # Errors
/// The text is not JSON, or a name occurs twice in an object.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let text = std::str::from_utf8(text).map_err(de::Error::custom)?;
    serde_json::from_str::<Strict>(text).map(|strict| strict.0)
}

/// The value as JSON text. `Value::to_string` links a second printer, which indents.
pub(crate) fn text(value: &Value) -> String {
    // A map with names that are no strings would be an error.
    serde_json::to_string(value).unwrap_or_default()
}

/// Deserializes a JSON object. (A derived visitor alone would accept an array of the members too.)
pub(crate) fn from_object<'de, T: Deserialize<'de>>(json: &'de str) -> Option<T> {
    json.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(json).ok())?
}

/// A string within JSON, copied only if it has escapes.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Whether the text is JSON in which no object repeats a name, as [`parse`] says, without keeping the values.
pub(crate) fn is_strict(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut json = serde_json::Deserializer::from_str(text);
    Check::ALL.deserialize(&mut json).and_then(|_| json.end()).is_ok()
}

/// A value in which no object repeats a name.
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// Skips a value, in which no object of at most so many members may repeat a name. Returns whether all objects were checked.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    most_members: usize,
}

impl Check {
    const ALL: Self = Self { most_members: usize::MAX };
    /// Takes time in proportion to the length of the text.
    pub(crate) const QUICK: Self = Self { most_members: 64 };
}

/// The names of an object's members so far.
pub(crate) struct Names<'de>(Vec<Cow<'de, str>>);

impl Default for Names<'_> {
    /// No names yet. Most tokens have fewer claims than there is room for.
    fn default() -> Self {
        Self(Vec::with_capacity(16))
    }
}

impl<'de> Names<'de> {
    /// Adds a name. Returns whether it is known that no name repeats: no more than [`Check::QUICK`] checks are kept.
    ///
    /// # Errors
    /// The name repeats.
    pub(crate) fn add<E: de::Error>(&mut self, name: Cow<'de, str>) -> Result<bool, E> {
        if self.0.contains(&name) {
            return Err(E::custom("a name repeats"));
        }
        let has_room = self.0.len() < Check::QUICK.most_members;
        if has_room {
            self.0.push(name);
        }
        Ok(has_room)
    }
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut is_checked = true;
        while let Some(is_item_checked) = items.next_element_seed(self)? {
            is_checked &= is_item_checked;
        }
        Ok(is_checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let (mut names, mut is_checked) = (Vec::new(), true);
        while let Some(Text(name)) = members.next_key::<Text<'de>>()? {
            is_checked &= members.next_value_seed(self)?;
            if names.len() < self.most_members {
                names.push(name);
            } else {
                is_checked = false;
            }
        }
        names.sort_unstable();
        if names.is_sorted_by(|a, b| a < b) {
            Ok(is_checked)
        } else {
            Err(de::Error::custom("a name repeats"))
        }
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(member))) = members.next_entry::<String, Strict>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!("duplicate field {name:?}")));
            }
            object.insert(name, member);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_agrees_with_the_parser() {
        let deep = |depth| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let good = [
            "{}",
            "[]",
            " 7 ",
            "null",
            r#"{"a":1,"b":{"a":[{"a":true},{"a":null}]}}"#,
            r#""\ud83d\ude00""#,
            "-0.0",
            &deep(60),
        ];
        let bad = [
            "",
            "{",
            "{} x",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"b":{"a":1,"c":2,"a":3}}"#,
            r#"[{"a":1,"\u0061":1}]"#,
            r#""\ud800""#,
            "1e999",
            "NaN",
            "01",
            "[1,]",
            "{'a':1}",
            "\"\u{1}\"",
            &deep(200),
        ];
        for (texts, is_json) in [(&good[..], true), (&bad[..], false)] {
            for text in texts {
                assert_eq!(parse(text.as_bytes()).is_ok(), is_json, "{text}");
                assert_eq!(is_strict(text.as_bytes()), is_json, "{text}");
            }
        }
        assert!(!is_strict(b"\"\xff\""));
    }
}
