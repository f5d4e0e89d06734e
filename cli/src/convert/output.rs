//! The YAML of a converted configuration.

use serde_json::{json, Value};

use super::{Converted, Target};
use crate::Failure;

/// The code that every target loads. Operators replace the name.
const FILE: &str = "dist/jwks-gate.wasm";
const IMAGE: &str = "oci://registry.example.com/jwks-gate:0.1.0";

pub(super) fn yaml(converted: &Converted, notes: &[String], target: Target) -> Result<String, Failure> {
    let config = Value::Object(converted.config.clone());
    let value = match target {
        Target::Config => config,
        Target::Envoy => json!([filter(config)]),
        Target::Ecds => {
            let mut resource = json!({"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"});
            merge(&mut resource, filter(config));
            json!({"version_info": "1", "resources": [resource]})
        }
        Target::Wasmplugin => plugin(converted, config),
        Target::Envoyextensionpolicy => policy(converted, config),
    };
    let yaml = serde_yaml_ng::to_string(&value).map_err(|error| error.to_string())?;
    let comments: String = notes.iter().map(|note| format!("# {note}\n")).collect();
    Ok(format!("{comments}{yaml}"))
}

fn filter(config: Value) -> Value {
    json!({
        "name": "jwks-gate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "jwks-gate",
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "vm_id": "jwks-gate",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": FILE}},
                },
                "configuration": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": config},
            },
        },
    })
}

fn plugin(converted: &Converted, config: Value) -> Value {
    let mut spec = json!({});
    if let Some(selector) = &converted.selector {
        merge(&mut spec, json!({"selector": selector}));
    }
    // Istio takes no route as a target.
    let is_target = |target: &Value| target["kind"].as_str().is_some_and(|kind| !kind.ends_with("Route"));
    let targets = converted.target_refs.as_ref().and_then(Value::as_array);
    if let Some(targets) = targets.filter(|targets| targets.iter().all(is_target)) {
        merge(&mut spec, json!({"targetRefs": targets}));
    }
    merge(
        &mut spec,
        json!({
            "url": IMAGE,
            "phase": "AUTHN",
            "failStrategy": "FAIL_RELOAD",
            "vmConfig": {"env": [{"name": "JWKS_GATE_SHARED_DATA_SECRET", "valueFrom": "HOST"}]},
            "pluginConfig": config,
        }),
    );
    json!({
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": metadata(converted),
        "spec": spec,
    })
}

fn policy(converted: &Converted, config: Value) -> Value {
    let gateway = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg"}]);
    let wasm = json!([{
        "name": "jwks-gate",
        "rootID": "jwks-gate",
        "code": {"type": "Image", "image": {"url": IMAGE.trim_start_matches("oci://")}},
        "env": {"hostKeys": ["JWKS_GATE_SHARED_DATA_SECRET"]},
        "config": config,
    }]);
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": metadata(converted),
        "spec": {"targetRefs": converted.target_refs.as_ref().unwrap_or(&gateway), "wasm": wasm},
    })
}

fn metadata(converted: &Converted) -> Value {
    let name = converted.name.as_ref().map_or_else(|| "jwks-gate".to_owned(), |name| format!("jwks-gate-{name}"));
    let mut metadata = json!({"name": name});
    if let Some(namespace) = &converted.namespace {
        merge(&mut metadata, json!({"namespace": namespace}));
    }
    metadata
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
