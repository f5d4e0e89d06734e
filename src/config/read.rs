//! Reads JSON values into the types of [`super::schema`], by the rules of proto3-JSON: a field may be omitted or `null`, its
//! name is in snake_case or camelCase, and an unknown field is an error.
//!
//! Written by hand because code derived by serde for the same types is several times larger in the wasm.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{duration, error::Result, path::Path, suggest::did_you_mean};

/// A protobuf map, in the order of its keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Named<T>(pub(super) Vec<(String, T)>);

/// A type that can be read from a JSON value.
pub(super) trait Read: Sized {
    /// Reads the value of the field at `path`.
    ///
    /// # Errors
    /// The value is of another type.
    fn read(value: Value, path: &Path<'_>) -> Result<Self>;

    /// The value of an omitted field.
    fn absent() -> Self;
}

/// In a message with this field, a name that is no field may be a secret in the wrong place.
const SECRET_FIELD: &str = "inline_string";

/// The error for a value of another type than `expected`.
pub(super) fn unexpected<T>(value: &Value, path: &Path<'_>, expected: &str) -> Result<T> {
    // What stands in the place of a string, an object or a list may be a secret: a number as `shared_data_secret`, or a JWKS with
    // HMAC keys without its `inline_string`.
    let may_be_secret = matches!(expected, "a string" | "an object" | "a list");
    let what = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => format!("boolean `{value}`"),
        Value::Number(_) if may_be_secret => "a number".to_owned(),
        Value::Number(number) if number.is_f64() => format!("floating point `{value}`"),
        Value::Number(_) => format!("integer `{value}`"),
        Value::String(_) if may_be_secret => "a string".to_owned(),
        Value::String(_) => format!("string {value}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    Err(path.error(format!("invalid type: {what}, expected {expected}")))
}

/// The members of an object that are not read yet.
pub(super) struct Members<'p> {
    members: Map<String, Value>,
    path: &'p Path<'p>,
    /// The fields of the message so far, for [`did_you_mean`].
    fields: Vec<&'static str>,
}

impl<'p> Members<'p> {
    pub(super) fn of(value: Value, path: &'p Path<'p>) -> Result<Self> {
        match value {
            Value::Object(members) => Ok(Self { members, path, fields: Vec::new() }),
            other => unexpected(&other, path, "an object"),
        }
    }

    /// Reads the field of this name, in either spelling.
    pub(super) fn read<T: Read>(&mut self, name: &'static str) -> Result<T> {
        let name = name.strip_prefix("r#").or(name.strip_prefix('_')).unwrap_or(name);
        self.fields.push(name);
        let path = self.path.field(name);
        match self.remove(name, &path)? {
            Some(value) => T::read(value, &path),
            None => Ok(T::absent()),
        }
    }

    fn remove(&mut self, name: &str, path: &Path<'_>) -> Result<Option<Value>> {
        let camel = camel_case(name);
        let found = match (self.members.remove(name), self.members.remove(&camel)) {
            (Some(_), Some(_)) if camel != name => {
                return Err(path.error(format!("duplicate field, also given as {camel}")));
            }
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) => return Ok(None),
        };
        Ok(Some(found).filter(|value| !value.is_null()))
    }

    /// Rejects a member that is not a field of the message.
    pub(super) fn finish(self) -> Result<()> {
        let Some(name) = self.members.keys().next() else { return Ok(()) };
        let spellings =
            self.fields.iter().flat_map(|field| [(*field, (*field).to_owned()), (*field, camel_case(field))]);
        let hint = did_you_mean(name, spellings);
        if hint.is_empty() && self.fields.contains(&SECRET_FIELD) {
            return Err(self.path.error(format!("unknown field; the fields are {}", self.fields.join(", "))));
        }
        Err(self.path.field(name).error(format!("unknown field `{name}`{hint}")))
    }
}

/// The name of a field in lowerCamelCase, the canonical spelling of proto3-JSON.
pub(super) fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut is_next_upper = false;
    for c in name.chars() {
        if c == '_' {
            is_next_upper = true;
        } else {
            camel.push(if is_next_upper { c.to_ascii_uppercase() } else { c });
            is_next_upper = false;
        }
    }
    camel
}

/// Declares a message: a struct that is read field by field. A leading underscore marks a field that is accepted and has no
/// effect. The doc comments become the reference.
macro_rules! message {
    ($($(#[doc = $text:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $field:ident: $type:ty,)* })*) => {$(
        $(#[doc = $text])+
        #[derive(Clone, Debug, Default)]
        pub(in crate::config) struct $name {
            $($(#[doc = $doc])+ pub(in crate::config) $field: $type,)*
        }

        impl $crate::config::read::Read for $name {
            #[allow(unused_mut)]
            fn read(
                value: serde_json::Value,
                path: &$crate::config::path::Path<'_>,
            ) -> $crate::config::error::Result<Self> {
                let mut members = $crate::config::read::Members::of(value, path)?;
                let message = Self { $($field: members.read(stringify!($field))?,)* };
                members.finish()?;
                Ok(message)
            }

            fn absent() -> Self {
                Self::default()
            }
        }

        #[cfg(test)]
        impl $crate::config::reference::Described for $name {
            fn kind(messages: &mut $crate::config::reference::Messages) -> $crate::config::reference::Kind {
                if messages.declare(stringify!($name), concat!($($text),+)) {
                    $(
                        let field = $crate::config::reference::Field::new::<$type>;
                        let field = field(stringify!($field), concat!($($doc),+), messages);
                        messages.add(stringify!($name), field);
                    )*
                }
                $crate::config::reference::Kind::Message(stringify!($name))
            }
        }
    )*};
}
pub(super) use message;

impl<T: Read> Read for Option<T> {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        T::read(value, path).map(Some)
    }

    fn absent() -> Self {
        None
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        let items = match value {
            Value::Array(items) => items,
            // As Envoy reads it: a value alone is a list of one.
            one => return Ok(vec![T::read(one, path)?]),
        };
        let mut read = Self::new();
        for (index, item) in items.into_iter().enumerate() {
            read.push(T::read(item, &path.index(index))?);
        }
        Ok(read)
    }

    fn absent() -> Self {
        Self::new()
    }
}

impl<T: Read> Read for Named<T> {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        let Members { members, .. } = Members::of(value, path)?;
        let mut read = Vec::new();
        for (name, member) in members {
            let member = T::read(member, &path.field(&name))?;
            read.push((name, member));
        }
        Ok(Self(read))
    }

    fn absent() -> Self {
        Self(Vec::new())
    }
}

impl Read for String {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        match value {
            Value::String(text) => Ok(text),
            other => unexpected(&other, path, "a string"),
        }
    }

    fn absent() -> Self {
        Self::new()
    }
}

impl Read for bool {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        match &value {
            Value::Bool(flag) => Ok(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => unexpected(&value, path, "a boolean"),
        }
    }

    fn absent() -> Self {
        false
    }
}

/// The integer that a double represents, up to 2^53, where doubles represent every integer.
fn integral_double(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// An integer in proto3-JSON, which may be quoted.
fn integer<T: TryFrom<i64>>(value: &Value, path: &Path<'_>, expected: &str) -> Result<T> {
    let number = match value {
        // An integer in a Struct is transported as a double, and may be written as one.
        Value::Number(number) => number.as_i64().or_else(|| integral_double(number.as_f64()?)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(|number| T::try_from(number).ok()).map_or_else(|| unexpected(value, path, expected), Ok)
}

impl Read for u32 {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        integer(&value, path, "an integer from 0 to 4294967295")
    }

    fn absent() -> Self {
        0
    }
}

impl Read for i64 {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        integer(&value, path, "a 64-bit integer")
    }

    fn absent() -> Self {
        0
    }
}

/// Any JSON value.
impl Read for Value {
    fn read(value: Value, _: &Path<'_>) -> Result<Self> {
        Ok(value)
    }

    fn absent() -> Self {
        Self::Null
    }
}

/// A `google.protobuf.Duration`: text, or an object with `seconds` and `nanos`.
impl Read for Duration {
    fn read(value: Value, path: &Path<'_>) -> Result<Self> {
        match value {
            Value::String(text) => {
                duration::parse(&text).map_err(|reason| path.error(format!("{reason}; found {text:?}")))
            }
            Value::Object(_) => {
                let mut members = Members::of(value, path)?;
                let (seconds, nanos): (i64, u32) = (members.read("seconds")?, members.read("nanos")?);
                members.finish()?;
                duration::of(seconds, nanos).map_err(|reason| path.error(reason.to_owned()))
            }
            other => unexpected(&other, path, "a duration such as \"300s\""),
        }
    }

    fn absent() -> Self {
        Self::ZERO
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    message! {
        /// For this test.
        Message {
            /// Numbers.
            a_list_of: Vec<u32>,
            /// A word of the language.
            r#match: Option<bool>,
            /// Numbers by name.
            map: Named<i64>,
            /// A time.
            pause: Duration,
        }
    }

    #[test]
    fn both_spellings_are_read_but_not_together() {
        let read = |value| Message::read(value, &Path::Root.field("m")).map_err(|error| error.to_string());
        for good in [json!({"a_list_of": [1, "2"], "match": true}), json!({"aListOf": [1.0, 2e0], "match": true})] {
            let message = read(good).unwrap();
            assert_eq!((message.a_list_of, message.r#match), (vec![1, 2], Some(true)));
        }
        let message = read(json!({"a_list_of": 1, "match": "True", "pause": {"seconds": "5", "nanos": 1}})).unwrap();
        assert_eq!((message.a_list_of, message.r#match), (vec![1], Some(true)));
        assert_eq!(message.pause, Duration::new(5, 1));
        assert_eq!(read(json!({"aListOf": null, "map": {"x": "-1"}})).unwrap().map.0, [("x".to_owned(), -1)]);
        for (bad, expected) in [
            (json!({"aListOf": [], "a_list_of": []}), "m.a_list_of: duplicate field, also given as aListOf"),
            (
                json!({"a_list_of": [-1]}),
                "m.a_list_of[0]: invalid type: integer `-1`, expected an integer from 0 to 4294967295",
            ),
            (json!({"a_list_of": {}}), "m.a_list_of: invalid type: an object, expected an integer"),
            (json!({"pause": 300}), "m.pause: invalid type: integer `300`, expected a duration such as \"300s\""),
            (json!({"pause": {"seconds": -1}}), "m.pause: must not be negative"),
            (json!({"pause": {"minutes": 1}}), "m.pause.minutes: unknown field `minutes`"),
            (json!({"map": {"x": 1.5}}), "m.map.x: invalid type: floating point `1.5`"),
            (json!({"match": "yes"}), "m.match: invalid type: string \"yes\", expected a boolean"),
            (json!({"match": 1}), "m.match: invalid type: integer `1`, expected a boolean"),
            (json!({"b": 1}), "m.b: unknown field `b`"),
            (json!({"mach": true}), "m.mach: unknown field `mach`; did you mean `match`?"),
            (json!({"aLisstOff": true}), "m.aLisstOff: unknown field `aLisstOff`; did you mean `a_list_of`?"),
            (json!([]), "m: invalid type: a list, expected an object"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
