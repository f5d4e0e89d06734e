//! Decodes a `google.protobuf.Struct` from its binary form, in which Envoy passes on a plugin configuration of that type.
//!
//! JSON text never decodes as a `Struct`: each entry of a `Struct` contains the byte 0x12, which JSON must escape.

use serde_json::{Map, Number, Value};

/// Nesting limit of values.
const MAX_DEPTH: u8 = 32;

/// Decodes a complete, non-empty `Struct` without duplicate names; `None` for anything else.
pub(super) fn decode_struct(bytes: &[u8]) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    object(bytes, MAX_DEPTH)
}

/// The value of a field, by wire type.
enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

fn object(bytes: &[u8], depth: u8) -> Option<Value> {
    let mut members = Map::new();
    for_each_field(bytes, |number, field| {
        let (1, Field::Bytes(entry)) = (number, field) else { return None };
        let (name, member) = member(entry, depth)?;
        members.insert(name, member).is_none().then_some(())
    })?;
    Some(Value::Object(members))
}

fn member(entry: &[u8], depth: u8) -> Option<(String, Value)> {
    // Proto3 omits an empty name.
    let (mut name, mut member) = (String::new(), None);
    for_each_field(entry, |number, field| {
        match (number, field) {
            (1, Field::Bytes(text)) => name = string(text)?,
            (2, Field::Bytes(bytes)) => member = Some(value(bytes, depth)?),
            _ => return None,
        }
        Some(())
    })?;
    Some((name, member?))
}

fn value(bytes: &[u8], depth: u8) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut value = None;
    for_each_field(bytes, |number, field| {
        value = Some(match (number, field) {
            (1, Field::Varint(_)) => Value::Null,
            (2, Field::Fixed64(bytes)) => Value::Number(integer_or_double(f64::from_le_bytes(bytes))?),
            (3, Field::Bytes(text)) => Value::String(string(text)?),
            (4, Field::Varint(truth)) => Value::Bool(truth != 0),
            (5, Field::Bytes(bytes)) => object(bytes, depth)?,
            (6, Field::Bytes(bytes)) => list(bytes, depth)?,
            _ => return None,
        });
        Some(())
    })?;
    value
}

fn list(bytes: &[u8], depth: u8) -> Option<Value> {
    let mut items = Vec::new();
    for_each_field(bytes, |number, field| {
        let (1, Field::Bytes(item)) = (number, field) else { return None };
        items.push(value(item, depth)?);
        Some(())
    })?;
    Some(Value::Array(items))
}

fn string(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// A `Struct` has doubles only; an integral double is converted back to an integer.
fn integer_or_double(number: f64) -> Option<Number> {
    const MAX_SAFE: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= MAX_SAFE {
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

/// Calls `visit` for each field of a message; `None` if the message is malformed or `visit` rejects a field.
fn for_each_field<'a>(mut rest: &'a [u8], mut visit: impl FnMut(u64, Field<'a>) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut rest)?),
            1 => {
                let (bytes, tail) = rest.split_first_chunk::<8>()?;
                rest = tail;
                Field::Fixed64(*bytes)
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, tail) = rest.split_at_checked(length)?;
                rest = tail;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        visit(tag >> 3, field)?;
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// The binary form of a JSON object, as protoc would write it.
    pub(in crate::config) fn encode(value: &Value) -> Vec<u8> {
        let field = |number: u8, bytes: Vec<u8>| {
            let mut out = vec![number << 3 | 2];
            let mut length = bytes.len();
            while length >= 0x80 {
                out.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
            [out, bytes].concat()
        };
        let item = |value: &Value| match value {
            Value::Null => vec![1 << 3, 0],
            Value::Number(number) => [vec![2 << 3 | 1], number.as_f64().unwrap().to_le_bytes().to_vec()].concat(),
            Value::String(text) => field(3, text.as_bytes().to_vec()),
            Value::Bool(truth) => vec![4 << 3, u8::from(*truth)],
            Value::Object(_) => field(5, encode(value)),
            Value::Array(_) => field(6, encode(value)),
        };
        match value {
            Value::Object(members) => members
                .iter()
                .flat_map(|(name, value)| {
                    field(1, [field(1, name.clone().into_bytes()), field(2, item(value))].concat())
                })
                .collect(),
            Value::Array(items) => items.iter().flat_map(|value| field(1, item(value))).collect(),
            _ => panic!("neither an object nor a list"),
        }
    }

    #[test]
    fn decodes_every_kind_of_value() {
        let object = json!({
            "null": null, "yes": true, "no": false, "text": "é", "whole": 100, "negative": -7, "part": 0.5,
            "list": [1, "a", [], {}], "object": {"": {"deep": [true]}}, "long": "x".repeat(300),
        });
        assert_eq!(decode_struct(&encode(&object)), Some(object));
    }

    #[test]
    fn json_text_and_broken_bytes_are_none() {
        for text in ["", "{}", "\n{\"a\":1}", "\n{\n        }"] {
            assert_eq!(decode_struct(text.as_bytes()), None, "{text:?}");
        }
        let good = encode(&json!({"a": {"b": [1, "c"]}, "d": true}));
        for cut in 1..good.len() {
            let whole = decode_struct(&good[..cut]);
            assert!(whole.is_none() || cut == encode(&json!({"a": {"b": [1, "c"]}})).len(), "cut at {cut}");
        }
        for index in 0..good.len() {
            for bit in 0..8 {
                let mut tampered = good.clone();
                tampered[index] ^= 1 << bit;
                let _ = decode_struct(&tampered); // must not panic
            }
        }
        let twice = [encode(&json!({"a": 1})), encode(&json!({"a": 2}))].concat();
        assert_eq!(decode_struct(&twice), None);
        let nested = (0..100).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert_eq!(decode_struct(&encode(&nested)), None);
        assert_eq!(decode_struct(&[0xff; 20]), None);
    }
}
