use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{json, Value};

use super::{json_schema, reference, Kind, Message, Messages};
use crate::config::{parse, read::camel_case};

#[test]
fn the_reference_and_the_schema_are_those_of_the_code() {
    let messages = Messages::collect();
    let schema = serde_json::to_string_pretty(&json_schema(&messages)).unwrap() + "\n";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, text) in [("configuration.md", reference(&messages)), ("configuration.schema.json", schema)] {
        if std::env::var_os("WRITE_REFERENCE").is_some() {
            fs::write(docs.join(name), &text).unwrap();
        }
        assert!(
            fs::read_to_string(docs.join(name)).is_ok_and(|written| written == text),
            "docs/{name}: run `make reference`"
        );
    }
}

/// A configuration with every message and every required field.
fn everything() -> Value {
    let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    json!({
        "providers": {
            "remote": {
                "subjects": {"safe_regex": {"regex": "a"}},
                "remote_jwks": {
                    "http_uri": {"uri": "http://a", "cluster": "a", "timeout": "1s"},
                    "request_headers": [{"key": "a", "value": "a"}],
                    "async_fetch": {},
                    "retry_policy": {"retry_back_off": {"base_interval": "1s"}},
                    "rotation": {},
                    "seed_jwks": {"inline_string": keys, "not_after": "2026-12-31T00:00:00Z"},
                },
                "from_headers": [{"name": "a"}],
                "normalize_payload_in_metadata": {},
                "jwt_cache_config": {},
                "claim_to_headers": [{"header_name": "b", "claim_name": "b"}, {"header_name": "c", "claim_path": [{"key": "c"}]}],
                "required_claims": [{"claim": "a"}],
            },
            "found": {
                "issuer": "a",
                "remote_jwks": {"discovery": {"uri": "http://a", "cluster": "a", "timeout": "1s"}},
            },
            "local": {"local_jwks": {"inline_string": keys}},
        },
        "rules": [
            {
                "match": {
                    "prefix": "/a",
                    "headers": [{"name": "a", "range_match": {}}],
                    "query_parameters": [{"name": "a"}],
                },
                "requires": {"provider_and_audiences": {"provider_name": "remote", "audiences": ["a"]}},
            },
            {
                "match": {"connect_matcher": {}},
                "requires": {"requires_any": {"requirements": [{"provider_name": "remote"}, {"allow_missing": {}}]}},
            },
            {"match": {"prefix": "/b"}, "requires": {"extract_only_without_validation": {}}},
        ],
    })
}

/// Calls `visitor` with the JSON pointer of each message in a value, and the message.
fn visit(messages: &Messages, kind: &Kind, value: &Value, at: &str, visitor: &mut impl FnMut(&str, &Message)) {
    match kind {
        Kind::List(kind) => {
            for (index, item) in value.as_array().unwrap().iter().enumerate() {
                visit(messages, kind, item, &format!("{at}/{index}"), visitor);
            }
        }
        Kind::Map(kind) => {
            for (name, member) in value.as_object().unwrap() {
                visit(messages, kind, member, &format!("{at}/{name}"), visitor);
            }
        }
        Kind::Message(name) => {
            let message = messages.get(name).unwrap();
            visitor(at, message);
            for field in &message.fields {
                if let Some(member) = value.get(field.name) {
                    visit(messages, &field.kind, member, &format!("{at}/{}", field.name), visitor);
                }
            }
        }
        _ => {}
    }
}

/// A stated default is the actual one; required fields are required; unsupported fields are rejected.
#[test]
fn the_reference_states_what_is_read() {
    let messages = Messages::collect();
    let whole = everything();
    let read = |value: &Value| parse(value.to_string().as_bytes()).map(|plan| format!("{plan:?}"));
    let plan = read(&whole).unwrap();
    let mut seen = BTreeSet::new();
    visit(&messages, &Kind::Message("JwtAuthentication"), &whole, "", &mut |at, message| {
        seen.insert(message.name);
        for field in &message.fields {
            let path = format!("{at}/{}", field.name);
            let mut changed = whole.clone();
            let members = changed.pointer_mut(at).unwrap().as_object_mut().unwrap();
            if matches!(field.kind, Kind::Unsupported) {
                members.insert(field.name.to_owned(), json!({}));
                assert!(read(&changed).is_err(), "{path}: accepted");
            } else if field.is_required {
                members.remove(field.name).unwrap();
                assert!(read(&changed).is_err(), "{path}: not required");
            } else if let (Some(default), false) = (field.default(), members.contains_key(field.name)) {
                members.insert(field.name.to_owned(), default);
                assert_eq!(read(&changed).unwrap(), plan, "{path}: the default is another");
            }
        }
    });
    assert!(messages.0.iter().all(|message| seen.contains(message.name)), "{seen:?}");
}

/// By the validator of another project: a readable configuration is valid; a misspelt field and a wrong type are not.
#[test]
fn the_schema_accepts_what_is_read_and_nothing_else() {
    let schema = json_schema(&Messages::collect());
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", schema).unwrap();
    let compiled = compiler.compile("schema.json", &mut schemas).unwrap();
    let is_valid = |value: &Value| schemas.validate(value, compiled).is_ok();
    assert!(is_valid(&everything()));
    let messages = Messages::collect();
    visit(&messages, &Kind::Message("JwtAuthentication"), &everything(), "", &mut |at, message| {
        let with = |name: &str, value: Value| {
            let mut changed = everything();
            changed.pointer_mut(at).unwrap()[name] = value;
            changed
        };
        assert!(!is_valid(&with("clutser", json!("a"))), "{at}");
        for field in &message.fields {
            let changed = with(field.name, json!([[]]));
            let takes_it = matches!(&field.kind, Kind::Any)
                || matches!(&field.kind, Kind::List(item) if matches!(**item, Kind::Any));
            assert!(takes_it || !is_valid(&changed), "{at}/{}", field.name);
            let mut without = everything();
            if field.is_required {
                without.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(field.name);
                assert!(!is_valid(&without), "{at}/{}", field.name);
            }
            let camel = camel_case(field.name);
            if let Some(Value::Object(members)) = everything().pointer(at) {
                let (mut members, mut renamed) = (members.clone(), everything());
                if let Some(value) = members.remove(field.name) {
                    members.insert(camel, value);
                    *renamed.pointer_mut(at).unwrap() = members.into();
                    assert!(is_valid(&renamed), "{at}/{}", field.name);
                }
            }
        }
    });
}
