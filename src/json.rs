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

/// A value in which no object repeats a name.
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
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
