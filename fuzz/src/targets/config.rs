//! A configuration as JSON text, and the same configuration as Envoy passes it on as a `google.protobuf.Struct`.

use jwks_gate::{
    config::{self, ConfigError},
    engine::{ClientId, Decision, Engine, Headers, Plan, StreamId},
    time::UnixTime,
    token::signature::WasmVerifier,
};
use prost::Message;
use prost_types::{value::Kind, ListValue, Struct, Value as ProtoValue};
use serde_json::{Number, Value};

use crate::json;

/// Doubles represent every integer up to this one.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;
/// The filter reads a `Struct` up to this depth.
const MAX_STRUCT_DEPTH: usize = 30;

pub fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        r#"{"providers":{"p":{"issuer":"https://issuer.test","audiences":["a"],"remote_jwks":{"http_uri":{"uri":"https://issuer.test/jwks.json","cluster":"issuer","timeout":"2s"},"cache_duration":{"seconds":300},"rotation":{"max_stale":"unbounded","retired_key_grace":"60s","revoked_keys":["k"]}},"from_headers":[{"name":"x-jwt","value_prefix":"jwt="}],"from_params":["t"],"from_cookies":["c"],"forward_payload_header":"x-payload","claim_to_headers":[{"header_name":"x-sub","claim_name":"sub"}]}},"rules":[{"match":{"prefix":"/healthz"}},{"match":{"prefix":"/"},"requires":{"provider_name":"p"}}]}"#,
        r#"{"providers":{"a":{"issuer":"i","local_jwks":{"inline_string":"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T\"}]}"},"algorithms":["HS256"],"required_claims":[{"claim":"a.b","one_of":[1,"x",true]},{"path":["r"],"matches":{"safe_regex":{"regex":"a+"}}}]}},"requirement_map":{"r":{"requires_any":{"requirements":[{"provider_and_audiences":{"provider_name":"a","audiences":["b"]}},{"allow_missing":{}}]}}},"rules":[{"match":{"path_separated_prefix":"/a","headers":[{"name":"x","string_match":{"exact":"v","ignore_case":true},"invert_match":true}],"query_parameters":[{"name":"q","present_match":true}]},"requirement_name":"r"},{"match":{"safe_regex":{"regex":"/[a-z]+"},"case_sensitive":false},"requires":{"allow_missing_or_failed":{}}}],"bypass_cors_preflight":true,"mode":"report","error_format":"json"}"#,
        r#"{"providers":{"t":{"issuer_template":"https://login.test/{tid}/v2.0","tenants":["a","b"],"bind_key_issuer":true,"remote_jwks":{"discovery":{"uri":"https://login.test/.well-known/openid-configuration","cluster":"c","timeout":"1s","ttl":"60s"},"mirrors":[{"uri":"http://m/","cluster":"m","timeout":"1.5s"}],"request_headers":[{"key":"x-key","value":"v"}],"async_fetch":{"failed_refetch_duration":"5s"},"retry_policy":{"num_retries":2,"retry_back_off":{"base_interval":"0.1s","max_interval":"1s"}}}}},"rules":[{"match":{"connect_matcher":{}},"requires":{"requires_all":{"requirements":[{"provider_name":"t","scopes":["s"]},{"extract_only_without_validation":{}}]}}}],"max_parked_requests":10,"shared_data_secret":"a secret of more than thirty-two bytes"}"#,
        r#"{"providers":{"p":{"isuer":"https://issuer.test"}}}"#,
        r#"{"rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"none"}}]}"#,
        r#"{}"#,
    ])
}

pub fn run(data: &[u8]) {
    let plan = config::parse(data);
    check(&plan);
    let Some(value) = std::str::from_utf8(data).ok().and_then(json::value) else { return };
    if is_object(&value) && is_same_in_protobuf(&value, MAX_STRUCT_DEPTH) {
        let bytes = encode(&value);
        assert_eq!(outcome(config::parse(&bytes)), outcome(plan), "JSON, and the same as a Struct");
    }
}

/// What a configuration promises: an error names its place, a plan decides requests.
pub(super) fn check(plan: &Result<Plan, ConfigError>) {
    match plan {
        Ok(plan) => decide(plan.clone()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn decide(plan: Plan) {
    let now = UnixTime::from_millis(1_700_000_000_000);
    let mut engine = Engine::new(plan, WasmVerifier);
    let token: &[u8] = b"Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJpIn0.c2ln";
    let list = [(":method", &b"GET"[..]), (":path", b"/a?t=a.b.c&q"), ("authorization", token), ("cookie", b"c=a.b.c")];
    for headers in [&list[..], &list[..2], &[]] {
        let headers = Headers::new(headers);
        let resolved = engine.resolve(headers);
        // Whatever the configuration says, an empty key set and a made-up token open no way that needs a token.
        match engine.on_request(StreamId(1), resolved, headers, ClientId::default, now) {
            Decision::Reply(reply) => assert!((200..600).contains(&reply.status)),
            Decision::Continue(..) | Decision::ContinueAndWake(..) | Decision::Park => {}
        }
        engine.on_stream_end(StreamId(1));
    }
    let _ = engine.on_wake(now);
    let _ = engine.take_gauges();
}

/// The outcome in a form that can be compared.
pub(super) fn outcome(plan: Result<Plan, ConfigError>) -> Result<String, String> {
    plan.map(|plan| format!("{plan:?}")).map_err(|error| error.to_string())
}

fn is_object(value: &Value) -> bool {
    // An empty Struct has no bytes.
    value.as_object().is_some_and(|object| !object.is_empty())
}

/// Whether a `Struct` can express the value: all its numbers are doubles.
fn is_same_in_protobuf(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_f64().is_some_and(|double| {
            let is_integral = double.fract() == 0.0;
            // 1.0 becomes 1 on the way, and -0.0 becomes 0.
            if number.is_f64() {
                !is_integral
            } else {
                double.abs() < MAX_SAFE
            }
        }),
        Value::Array(items) => items.iter().all(|item| is_same_in_protobuf(item, depth)),
        Value::Object(members) => members.values().all(|member| is_same_in_protobuf(member, depth)),
    }
}

/// The binary form, as Envoy passes it on.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    match to_proto(value).kind {
        Some(Kind::StructValue(object)) => object.encode_to_vec(),
        other => panic!("{other:?} is no object"),
    }
}

fn to_proto(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(to_proto).collect() }),
        Value::Object(members) => Kind::StructValue(Struct {
            fields: members.iter().map(|(name, member)| (name.clone(), to_proto(member))).collect(),
        }),
    };
    ProtoValue { kind: Some(kind) }
}

/// The JSON that a `Struct` stands for. `None`: the `Struct` has a number that serde_json does not read as the double that it is.
pub(super) fn from_proto(value: &ProtoValue) -> Option<Value> {
    Some(match value.kind.as_ref()? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(truth) => Value::Bool(*truth),
        Kind::NumberValue(double) if double.fract() == 0.0 && double.abs() <= MAX_SAFE => (*double as i64).into(),
        Kind::NumberValue(double) => {
            let number = Number::from_f64(*double)?;
            let read: f64 = serde_json::from_str(&number.to_string()).ok()?;
            (read == *double).then_some(Value::Number(number))?
        }
        Kind::StringValue(text) => Value::String(text.clone()),
        Kind::ListValue(list) => Value::Array(list.values.iter().map(from_proto).collect::<Option<_>>()?),
        Kind::StructValue(object) => {
            let members = object.fields.iter().map(|(name, member)| Some((name.clone(), from_proto(member)?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
    })
}
