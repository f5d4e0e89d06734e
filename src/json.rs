//! A strict JSON parser: a name that occurs twice in an object is an error.
//!
//! Untrusted text must not be deserialized as [`Value`] directly: with the feature `raw_value`, serde_json parses a
//! member of a reserved name a second time, which doubles the permitted depth.

use std::{borrow::Cow, fmt};

use serde::{
    de::{self, Deserializer, MapAccess, SeqAccess, Visitor},
    Deserialize,
};
use serde_json::{Map, Number, Value};

/// Parses JSON text.
///
/// # Errors
/// The text is not JSON, or a name occurs twice in an object.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(text).map(|strict| strict.0)
}

/// Deserializes a JSON object. (A derived visitor alone would accept an array of the members too.)
pub(crate) fn from_object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Option<T> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace())?;
    (*first == b'{').then(|| serde_json::from_slice(json).ok())?
}

/// Deserializes a member that may be absent but not `null`.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A string within JSON, copied only if it has escapes.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Whether the text is JSON in which no object repeats a name, as [`parse`] says, without keeping the values.
pub(crate) fn is_strict(text: &[u8]) -> bool {
    serde_json::from_slice::<Checked>(text).is_ok()
}

/// A value in which no object repeats a name.
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// That a value repeats no name.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = Vec::new();
        while let Some((Text(name), _)) = members.next_entry::<Text<'de>, Self>()? {
            names.push(name);
        }
        names.sort_unstable();
        let number = names.len();
        names.dedup();
        if names.len() < number {
            return Err(de::Error::custom("a name repeats"));
        }
        Ok(self)
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
