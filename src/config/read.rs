//! Reads JSON values into the types of [`super::schema`], by the rules of proto3-JSON: a field may be omitted or `null`, its
//! name is in snake_case or camelCase, and an unknown field is an error. An addition to Envoy's fields must not be `null`.
//!
//! Written by hand because code derived by serde for the same types is several times larger in the wasm.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    duration,
    error::{ConfigError, Result},
    path::Path,
    suggest::did_you_mean,
};
use crate::json;

/// A protobuf map, in the order of its keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Named<T>(pub(super) Vec<(String, T)>);

/// A type that can be read from a JSON value. The default is the value of an omitted field.
pub(super) trait Read {
    /// Reads the value of the field at `path`, in place of the default.
    ///
    /// # Errors
    /// The value is of another type.
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()>;
}

/// Reads the value at `path`.
///
/// # Errors
/// The value is of another type.
pub(super) fn read<T: Read + Default>(value: Value, path: &Path<'_>) -> Result<T> {
    let mut read = T::default();
    read.set(value, path)?;
    Ok(read)
}

/// In a message with one of these fields, a name that is no field may be a secret in the wrong place.
const SECRET_FIELDS: [&str; 2] = ["inline_string", "value"];

/// The error for a value of another type than `expected`.
pub(super) fn unexpected<T>(value: &Value, path: &Path<'_>, expected: &str) -> Result<T> {
    // What stands in the place of a string, an object or a list may be a secret: a number as `shared_data_secret`, or a JWKS with
    // HMAC keys without its `inline_string`.
    let may_be_secret = matches!(expected, "a string" | "an object" | "a list");
    let what = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("boolean `{flag}`"),
        Value::Number(_) if may_be_secret => "a number".to_owned(),
        Value::Number(number) if number.is_f64() => format!("floating point `{number}`"),
        Value::Number(number) => format!("integer `{number}`"),
        Value::String(_) if may_be_secret => "a string".to_owned(),
        Value::String(_) => format!("string {}", json::text(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    Err(path.error(format!("invalid type: {what}, expected {expected}")))
}

fn members(value: Value, path: &Path<'_>) -> Result<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        other => unexpected(&other, path, "an object"),
    }
}

/// What `null` means for a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Null {
    /// The field is omitted, as proto3-JSON has it.
    Omits,
    /// An error: in an addition, `null` is a value that a template left out, and what restricts tokens would be lost.
    IsInvalid,
}

impl Null {
    /// What `null` means for a field, from the documentation of its message and its own.
    pub(super) const fn of(message: &str, field: &str) -> Self {
        if has(message, "Not in Envoy.") || has(field, "Addition.") {
            return Self::IsInvalid;
        }
        Self::Omits
    }
}

/// Whether the text contains the words.
const fn has(text: &str, words: &str) -> bool {
    let (mut text, words) = (text.as_bytes(), words.as_bytes());
    loop {
        let (mut rest, mut expected) = (text, words);
        while let ([first, after @ ..], [word, further @ ..]) = (rest, expected) {
            if *first != *word {
                break;
            }
            (rest, expected) = (after, further);
        }
        if expected.is_empty() {
            return true;
        }
        match text {
            [_, after @ ..] => text = after,
            [] => return false,
        }
    }
}

/// Reads the fields of a message, each given with its name, in either spelling. Not generic: each message would have a copy.
pub(super) fn set_fields(
    value: Value,
    path: &Path<'_>,
    fields: &mut [(&'static str, Null, &mut dyn Read)],
) -> Result<()> {
    let mut members = members(value, path)?;
    for (name, null, field) in fields.iter_mut() {
        *name = name.strip_prefix("r#").or(name.strip_prefix('_')).unwrap_or(name);
        let path = path.field(name);
        match take(&mut members, name, &path)? {
            None => {}
            Some(Value::Null) if *null == Null::Omits => {}
            Some(Value::Null) => return Err(path.error("must not be null; omit the field or set a value")),
            Some(value) => field.set(value, &path)?,
        }
    }
    let known: Vec<_> = fields.iter().map(|(field, ..)| *field).collect();
    let is_known = |name: &str| known.iter().any(|field| *field == name || camel_case(field) == name);
    match members.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(unknown(name, path, &known)),
    }
}

/// Takes the value of a field out of the members.
fn take(members: &mut Map<String, Value>, name: &str, path: &Path<'_>) -> Result<Option<Value>> {
    let camel = camel_case(name);
    if camel != name && members.contains_key(name) && members.contains_key(&camel) {
        return Err(path.error(format!("duplicate field, also given as {camel}")));
    }
    let spelling = if members.contains_key(name) { name } else { &camel };
    Ok(members.get_mut(spelling).map(Value::take))
}

/// The error for a member that is not a field of the message.
fn unknown(name: &str, path: &Path<'_>, fields: &[&str]) -> ConfigError {
    let spellings = fields.iter().flat_map(|field| [(*field, (*field).to_owned()), (*field, camel_case(field))]);
    let hint = did_you_mean(name, spellings);
    if hint.is_empty() && SECRET_FIELDS.iter().any(|secret| fields.contains(secret)) {
        return path.error(format!("unknown field; the fields are {}", fields.join(", ")));
    }
    path.field(name).error(format!("unknown field `{name}`{hint}"))
}

/// The name of a field in lowerCamelCase, the canonical spelling of proto3-JSON.
pub fn camel_case(name: &str) -> String {
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
            fn set(
                &mut self,
                value: serde_json::Value,
                path: &$crate::config::path::Path<'_>,
            ) -> $crate::config::error::Result<()> {
                // A message without fields does not ask.
                #[allow(dead_code)]
                const MESSAGE: &str = concat!($($text),+);
                $crate::config::read::set_fields(value, path, &mut [$((
                    stringify!($field),
                    const { $crate::config::read::Null::of(MESSAGE, concat!($($doc),+)) },
                    &mut self.$field,
                )),*])
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

impl<T: Read + Default> Read for Option<T> {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        self.insert(T::default()).set(value, path)
    }
}

impl<T: Read + Default> Read for Vec<T> {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        let items = match value {
            Value::Array(items) => items,
            // As Envoy reads it: a value alone is a list of one.
            one => {
                self.push(read(one, path)?);
                return Ok(());
            }
        };
        for (index, item) in items.into_iter().enumerate() {
            self.push(read(item, &path.index(index))?);
        }
        Ok(())
    }
}

impl<T: Read + Default> Read for Named<T> {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        for (name, member) in members(value, path)? {
            let member = read(member, &path.field(&name))?;
            self.0.push((name, member));
        }
        Ok(())
    }
}

impl Read for String {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = match value {
            Value::String(text) => text,
            other => return unexpected(&other, path, "a string"),
        };
        Ok(())
    }
}

impl Read for bool {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = match &value {
            Value::Bool(flag) => *flag,
            Value::String(text) if text.eq_ignore_ascii_case("true") => true,
            Value::String(text) if text.eq_ignore_ascii_case("false") => false,
            _ => return unexpected(&value, path, "a boolean"),
        };
        Ok(())
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
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = integer(&value, path, "an integer from 0 to 4294967295")?;
        Ok(())
    }
}

impl Read for i64 {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        *self = integer(&value, path, "a 64-bit integer")?;
        Ok(())
    }
}

/// Any JSON value.
impl Read for Value {
    fn set(&mut self, value: Value, _: &Path<'_>) -> Result<()> {
        *self = value;
        Ok(())
    }
}

/// A `google.protobuf.Duration`: text, or an object with `seconds` and `nanos`.
impl Read for Duration {
    fn set(&mut self, value: Value, path: &Path<'_>) -> Result<()> {
        let duration = match value {
            Value::String(text) => {
                duration::parse(&text).map_err(|reason| path.error(format!("{reason}; found {text:?}")))
            }
            Value::Object(_) => {
                let (mut seconds, mut nanos) = (0_i64, 0_u32);
                set_fields(
                    value,
                    path,
                    &mut [("seconds", Null::IsInvalid, &mut seconds), ("nanos", Null::IsInvalid, &mut nanos)],
                )?;
                duration::of(seconds, nanos).map_err(|reason| path.error(reason.to_owned()))
            }
            other => unexpected(&other, path, "a duration such as \"300s\""),
        };
        *self = duration?;
        Ok(())
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
            /// Addition. Words.
            words: Vec<String>,
        }

        /// For this test. Not in Envoy.
        Own {
            /// A number.
            number: Option<u32>,
        }
    }

    #[test]
    fn both_spellings_are_read_but_not_together() {
        let read = |value| read::<Message>(value, &Path::Root.field("m")).map_err(|error| error.to_string());
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
            (json!({"words": null}), "m.words: must not be null; omit the field or set a value"),
            (json!([]), "m: invalid type: a list, expected an object"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let own = super::read::<Own>(json!({"number": null}), &Path::Root.field("m")).unwrap_err().to_string();
        assert_eq!(own, "m.number: must not be null; omit the field or set a value");
    }
}
