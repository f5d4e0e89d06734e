//! A configuration as a `google.protobuf.Struct` in binary form. The reference is another decoder of protobuf.

use jwks_gate::config;
use prost::Message;
use prost_types::{value::Kind, Struct, Value as ProtoValue};
use serde_json::Value;

use super::config::{check, encode, from_proto, outcome};

pub fn seeds() -> Vec<Vec<u8>> {
    let texts = super::config::seeds();
    let values = texts.iter().filter_map(|text| serde_json::from_slice::<Value>(text).ok());
    values
        .filter(|value| value.as_object().is_some_and(|object| !object.is_empty()))
        .map(|value| encode(&value))
        .collect()
}

pub fn run(data: &[u8]) {
    let plan = config::parse(data);
    check(&plan);
    let is_json = data.trim_ascii_start().starts_with(b"{");
    if is_json || plan.is_err() {
        return;
    }
    // What the filter takes for a configuration is one for the reference too, and is the same.
    let object = Struct::decode(data).expect("a Struct");
    let Some(value) = from_proto(&ProtoValue { kind: Some(Kind::StructValue(object)) }) else { return };
    assert_eq!(outcome(config::parse(value.to_string().as_bytes())), outcome(plan));
}
