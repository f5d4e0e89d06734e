//! A payload as a `google.protobuf.Value` in base64, which Envoy's `header_to_metadata` filter turns into dynamic metadata.

use base64::{engine::general_purpose::STANDARD, Engine as _};
use serde_json::{Map, Value};

use crate::{bytes, json};

/// The longest value in base64: `header_to_metadata` ignores values of 8192 bytes and more.
const MAX_BYTES: usize = 8191 / 4 * 3;
/// How many objects and lists may be within one another. Envoy's protobuf parser descends 100 levels, and an object takes three.
const MAX_DEPTH: u8 = 32;

/// The claims of a payload. Those of `lists` that are words separated by spaces become lists, as `normalize_payload_in_metadata`
/// says. `None`: the payload is no object, or repeats a name.
pub(crate) fn claims(payload: &[u8], lists: &[String]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut members)) = json::parse(payload) else { return None };
    for claim in lists {
        let Some(value) = members.get_mut(claim) else { continue };
        let words = value.as_str().unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        let words: Vec<Value> = words.map(Value::from).collect();
        // As in `jwt_authn`, a string without words stays a string.
        if !words.is_empty() {
            *value = Value::Array(words);
        }
    }
    Some(members)
}

/// The payload as the value of a header. `None`: the payload is no object, is too large, or is nested too deep.
pub(crate) fn encode(payload: &[u8], lists: &[String]) -> Option<String> {
    let members = claims(payload, lists)?;
    Some(STANDARD.encode(value(&Value::Object(members), MAX_DEPTH)?))
}

/// A `Value`. Each kind is written even if empty, since an absent kind is no value.
fn value(value: &Value, depth: u8) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    match value {
        Value::Null => message.extend_from_slice(&[0x08, 0]),
        Value::Number(number) => {
            message.push(0x11);
            message.extend_from_slice(&number.as_f64()?.to_le_bytes());
        }
        Value::String(text) => bytes::push_field(&mut message, 0x1a, text.as_bytes()),
        Value::Bool(truth) => message.extend_from_slice(&[0x20, u8::from(*truth)]),
        Value::Object(members) => bytes::push_field(&mut message, 0x2a, &object(members, depth.checked_sub(1)?)?),
        Value::Array(items) => bytes::push_field(&mut message, 0x32, &list(items, depth.checked_sub(1)?)?),
    }
    bounded(message)
}

/// A `Struct`.
fn object(members: &Map<String, Value>, depth: u8) -> Option<Vec<u8>> {
    members.iter().try_fold(Vec::new(), |mut message, (name, member)| {
        let mut entry = Vec::new();
        bytes::push_field(&mut entry, 0x0a, name.as_bytes());
        bytes::push_field(&mut entry, 0x12, &value(member, depth)?);
        bytes::push_field(&mut message, 0x0a, &entry);
        bounded(message)
    })
}

/// A `ListValue`.
fn list(items: &[Value], depth: u8) -> Option<Vec<u8>> {
    items.iter().try_fold(Vec::new(), |mut message, item| {
        bytes::push_field(&mut message, 0x0a, &value(item, depth)?);
        bounded(message)
    })
}

fn bounded(message: Vec<u8>) -> Option<Vec<u8>> {
    (message.len() <= MAX_BYTES).then_some(message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(payload: &Value, lists: &[&str]) -> Option<Vec<u8>> {
        let lists: Vec<String> = lists.iter().map(|claim| (*claim).to_owned()).collect();
        Some(STANDARD.decode(encode(payload.to_string().as_bytes(), &lists)?).unwrap())
    }

    /// Each kind, as `protoc --encode=google.protobuf.Value` writes the kind.
    #[test]
    fn every_kind_is_written_even_if_empty() {
        let member = |value: Value| encoded(&json!({"a": value}), &[]).unwrap();
        let expect = |value: &[u8]| {
            let (value_length, entry_length) = (value.len() as u8, value.len() as u8 + 5);
            let head = [0x2a, entry_length + 2, 0x0a, entry_length, 0x0a, 1, b'a', 0x12, value_length];
            [&head, value].concat()
        };
        assert_eq!(member(json!(null)), expect(&[0x08, 0]));
        assert_eq!(member(json!(1)), expect(&[0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]));
        assert_eq!(member(json!(-0.5)), expect(&[0x11, 0, 0, 0, 0, 0, 0, 0xe0, 0xbf]));
        assert_eq!(member(json!(18_446_744_073_709_551_615_u64)), member(json!(1.844_674_407_370_955_2e19)));
        assert_eq!(member(json!("")), expect(&[0x1a, 0]));
        assert_eq!(member(json!("é\0")), expect(&[0x1a, 3, 0xc3, 0xa9, 0]));
        assert_eq!(member(json!(false)), expect(&[0x20, 0]));
        assert_eq!(member(json!({})), expect(&[0x2a, 0]));
        assert_eq!(member(json!([])), expect(&[0x32, 0]));
        assert_eq!(member(json!([true, "b"])), expect(&[0x32, 9, 0x0a, 2, 0x20, 1, 0x0a, 3, 0x1a, 1, b'b']));
        assert_eq!(encoded(&json!({}), &[]), Some(vec![0x2a, 0]));
        let long = encoded(&json!({"a": "x".repeat(300)}), &[]).unwrap();
        assert_eq!(long[..13], [0x2a, 0xb8, 0x02, 0x0a, 0xb5, 0x02, 0x0a, 1, b'a', 0x12, 0xaf, 0x02, 0x1a]);
    }

    #[test]
    fn words_become_lists_where_the_provider_says_so() {
        let list = |words: &[&str]| encoded(&json!({"scope": words}), &[]);
        let of = |scope: Value| encoded(&json!({ "scope": scope }), &["scope", "permission"]);
        assert_eq!(of(json!("read  write ")), list(&["read", "write"]));
        assert_eq!(of(json!("read\twrite")), list(&["read\twrite"]), "a scope ends at a space only");
        for same in [json!(""), json!("  "), json!(["read write"]), json!(7), json!(null)] {
            assert_eq!(of(same.clone()), encoded(&json!({ "scope": same }), &[]));
        }
        assert_eq!(encoded(&json!({"scope": "a b"}), &[]), encoded(&json!({"scope": "a b"}), &["scp"]));
    }

    #[test]
    fn what_does_not_fit_has_no_value() {
        let length = |text: usize| encode(json!({"a": "x".repeat(text)}).to_string().as_bytes(), &[]).map(|v| v.len());
        let most = (1..9000).rev().find(|text| length(*text).is_some()).unwrap();
        assert_eq!((length(most), length(most + 1)), (Some(8188), None));
        let deep = |depth: usize| {
            let objects = (1..depth).fold(json!({}), |inner, _| json!({ "a": inner }));
            let lists = (2..depth).fold(json!([]), |inner, _| json!([inner]));
            [encoded(&objects, &[]).is_some(), encoded(&json!({ "a": lists }), &[]).is_some()]
        };
        assert_eq!((deep(32), deep(33)), ([true; 2], [false; 2]));
        // Ends early, however much there is.
        assert_eq!(encoded(&json!({"a": vec![json!([1]); 100_000]}), &[]), None);
        for bad in [&b"[]"[..], b"{\"a\":1,\"a\":2}", b"{", b"7", b"\xff"] {
            assert_eq!(encode(bad, &[]), None);
        }
    }
}
