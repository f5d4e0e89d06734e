//! Generates the reference, docs/configuration.md, and the JSON Schema, docs/configuration.schema.json, from the types that
//! read the configuration. `make reference` writes both files; a test fails if they are outdated.

use std::{fmt::Write as _, time::Duration};

use serde_json::{json, Map, Value};

use crate::rotation::policy::EmptySet;

use super::{
    read::{camel_case, Named},
    schema::{ErrorFormat, JwtAuthentication, Mode, Secret, Staleness, Tenants, Texts, Unsupported},
};

/// The type of a field.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text,
    Flag,
    Number(i64, i64),
    Duration,
    /// A duration or this word.
    DurationOr(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of strings, or a string.
    TextOrList,
    /// A list of strings, or this word.
    ListOr(&'static str),
    /// Any JSON value.
    Any,
    /// No value: setting the field is an error.
    Unsupported,
    List(Box<Kind>),
    Map(Box<Kind>),
    /// The message of this name in [`Messages`].
    Message(&'static str),
}

/// A type that appears in the configuration.
pub(super) trait Described {
    /// The default of a field of this type, unless the comment of the field states another.
    const DEFAULT: Option<&'static str> = None;

    fn kind(messages: &mut Messages) -> Kind;
}

/// A field, as declared in `schema`.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    description: &'static str,
    is_addition: bool,
    is_required: bool,
    default: Option<&'static str>,
}

#[derive(Debug)]
struct Message {
    name: &'static str,
    description: &'static str,
    fields: Vec<Field>,
}

/// The messages, in the order of their first use.
#[derive(Debug, Default)]
pub(super) struct Messages(Vec<Message>);

impl Field {
    pub(super) fn new<T: Described>(name: &'static str, text: &'static str, messages: &mut Messages) -> Self {
        let kind = T::kind(messages);
        let text = text.trim();
        let (is_addition, text) = text.strip_prefix("Addition. ").map_or((false, text), |text| (true, text));
        let (is_required, text) = text.strip_prefix("Required. ").map_or((false, text), |text| (true, text));
        let (description, default) = match text.split_once(" Default: `") {
            Some((description, default)) => (description, Some(default.trim_end_matches("`."))),
            None => (text, T::DEFAULT),
        };
        let name = name.strip_prefix("r#").or(name.strip_prefix('_')).unwrap_or(name);
        Self { name, kind, description, is_addition, is_required, default }
    }

    /// The default in JSON.
    fn default(&self) -> Option<Value> {
        self.default.map(|text| match self.kind {
            Kind::Flag | Kind::Number(..) => serde_json::from_str(text).unwrap(),
            _ => Value::from(text),
        })
    }
}

impl Messages {
    /// Adds a message without fields; returns whether the message is new.
    pub(super) fn declare(&mut self, name: &'static str, description: &'static str) -> bool {
        let is_new = self.get(name).is_none();
        if is_new {
            self.0.push(Message { name, description: description.trim(), fields: Vec::new() });
        }
        is_new
    }

    pub(super) fn add(&mut self, message: &str, field: Field) {
        self.0.iter_mut().find(|known| known.name == message).unwrap().fields.push(field);
    }

    fn get(&self, name: &str) -> Option<&Message> {
        self.0.iter().find(|message| message.name == name)
    }

    fn collect() -> Self {
        let mut messages = Self::default();
        JwtAuthentication::kind(&mut messages);
        messages
    }
}

macro_rules! described {
    ($($type:ty => $kind:expr),* $(,)?) => {$(
        impl Described for $type {
            fn kind(_: &mut Messages) -> Kind {
                $kind
            }
        }
    )*};
}

described! {
    String => Kind::Text,
    Secret => Kind::Text,
    u32 => Kind::Number(0, u32::MAX.into()),
    i64 => Kind::Number(i64::MIN, i64::MAX),
    Duration => Kind::Duration,
    Staleness => Kind::DurationOr("unbounded"),
    Tenants => Kind::ListOr("any"),
    Texts => Kind::TextOrList,
    Mode => Kind::Word(&["enforce", "report"]),
    ErrorFormat => Kind::Word(&["text", "json"]),
    EmptySet => Kind::Word(&["keep", "revoke"]),
    Value => Kind::Any,
    Unsupported => Kind::Unsupported,
}

impl Described for bool {
    const DEFAULT: Option<&'static str> = Some("false");

    fn kind(_: &mut Messages) -> Kind {
        Kind::Flag
    }
}

impl<T: Described> Described for Option<T> {
    fn kind(messages: &mut Messages) -> Kind {
        T::kind(messages)
    }
}

impl<T: Described> Described for Vec<T> {
    fn kind(messages: &mut Messages) -> Kind {
        Kind::List(Box::new(T::kind(messages)))
    }
}

impl<T: Described> Described for Named<T> {
    fn kind(messages: &mut Messages) -> Kind {
        Kind::Map(Box::new(T::kind(messages)))
    }
}

/// The JSON Schema (draft 2020-12) of a type.
fn schema_of(kind: &Kind) -> Value {
    let duration = || {
        json!({"anyOf": [
            {"type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,9})?s$"},
            {
                "type": "object",
                "properties": {
                    "seconds": {"type": "integer", "minimum": 0},
                    "nanos": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
                },
                "additionalProperties": false,
            },
        ]})
    };
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Number(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Duration => duration(),
        Kind::DurationOr(word) => json!({"anyOf": [duration(), {"const": word}]}),
        Kind::Word(words) => json!({"enum": words}),
        Kind::TextOrList => json!({"anyOf": [texts(), {"type": "string"}]}),
        Kind::ListOr(word) => json!({"anyOf": [texts(), {"const": word}]}),
        Kind::Any => json!({}),
        Kind::Unsupported => json!({"not": {}}),
        Kind::List(kind) => json!({"type": "array", "items": schema_of(kind)}),
        Kind::Map(kind) => json!({"type": "object", "additionalProperties": schema_of(kind)}),
        Kind::Message(name) => json!({"$ref": format!("#/$defs/{name}")}),
    }
}

fn json_schema(messages: &Messages) -> Value {
    let mut definitions = Map::new();
    for Message { name, description, fields } in &messages.0 {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in fields {
            let mut schema = schema_of(&field.kind);
            schema["description"] = field.description.into();
            if let Some(default) = field.default() {
                schema["default"] = default;
            }
            properties.insert(field.name.to_owned(), schema);
            let camel = camel_case(field.name);
            if field.is_required {
                let spellings: std::collections::BTreeSet<_> = [field.name, &camel].into();
                required.push(
                    json!({"anyOf": spellings.iter().map(|name| json!({"required": [name]})).collect::<Vec<_>>()}),
                );
            }
            if camel != field.name {
                properties.insert(camel, json!({"$ref": format!("#/$defs/{name}/properties/{}", field.name)}));
            }
        }
        let mut definition = json!({"type": "object", "description": description, "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            definition["allOf"] = required.into();
        }
        definitions.insert((*name).to_owned(), definition);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of jwks-gate",
        "$ref": "#/$defs/JwtAuthentication",
        "$defs": definitions,
    })
}

/// The type as shown in the reference, with a link to the table of a message.
fn type_name(kind: &Kind, messages: &Messages) -> String {
    match kind {
        Kind::Text => "string".to_owned(),
        Kind::Flag => "boolean".to_owned(),
        Kind::Number(..) => "integer".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::DurationOr(word) => format!("duration or `{word}`"),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::TextOrList => "string or list of string".to_owned(),
        Kind::ListOr(word) => format!("list of string or `{word}`"),
        Kind::Any => "any".to_owned(),
        Kind::Unsupported => "**unsupported**".to_owned(),
        Kind::List(kind) => format!("list of {}", type_name(kind, messages)),
        Kind::Map(kind) => format!("{} by name", type_name(kind, messages)),
        Kind::Message(name) if messages.get(name).is_some_and(|message| message.fields.is_empty()) => "`{}`".to_owned(),
        Kind::Message(name) => format!("[{name}](#{})", name.to_ascii_lowercase()),
    }
}

fn reference(messages: &Messages) -> String {
    let mut text = "\
<!-- Written by `make reference` from src/config/schema. -->
# Configuration

The configuration is Envoy's `JwtAuthentication` as JSON, or as YAML in a `google.protobuf.Struct`. Fields marked **addition** do
not exist in Envoy. Field names are in snake_case or camelCase. Durations are in seconds: `300s`, `0.5s`,
or `{ seconds: 300 }`. `null` omits a field of Envoy's. An addition must not be `null`: a template that lost its value would remove
a condition.

A configuration with an unknown field, an unsupported field or an invalid value is rejected as a whole. The log names the field,
and Envoy keeps the configuration that it has. [configuration.schema.json](configuration.schema.json) is the JSON Schema for
editors. [jwt_authn.md](jwt_authn.md) lists the differences from Envoy's `jwt_authn`.
"
    .to_owned();
    for Message { name, description, fields } in messages.0.iter().filter(|message| !message.fields.is_empty()) {
        writeln!(text, "\n## {name}\n\n{description}\n\n| field | type | default | description |\n|---|---|---|---|")
            .unwrap();
        for field in fields {
            let default = match field.default {
                Some(default) => format!("`{default}`"),
                None if field.is_required => "required".to_owned(),
                None => String::new(),
            };
            let addition = if field.is_addition { "**addition**: " } else { "" };
            let kind = type_name(&field.kind, messages);
            writeln!(text, "| `{}` | {kind} | {default} | {addition}{} |", field.name, field.description).unwrap();
        }
    }
    text
}

mod tests;
