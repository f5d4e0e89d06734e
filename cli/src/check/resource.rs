//! Compares resources of Kubernetes with the schemas of their kinds, strictly: a field that the schema does not list is a finding.

use boon::{Compiler, ErrorKind, InstanceToken, Schemas, ValidationError};
use jwks_gate::config::did_you_mean;
use serde_json::{json, Value};

use crate::{finding::Finding, tree::Node};

/// The schema of each kind: `crds/README.md` says where from.
const SCHEMAS: [(&str, &str); 13] = [
    ("AuthorizationPolicy", include_str!("../../crds/authorizationpolicy.yaml")),
    ("Backend", include_str!("../../crds/backend.yaml")),
    ("DestinationRule", include_str!("../../crds/destinationrule.yaml")),
    ("EnvoyExtensionPolicy", include_str!("../../crds/envoyextensionpolicy.yaml")),
    ("EnvoyFilter", include_str!("../../crds/envoyfilter.yaml")),
    ("EnvoyPatchPolicy", include_str!("../../crds/envoypatchpolicy.yaml")),
    ("EnvoyProxy", include_str!("../../crds/envoyproxy.yaml")),
    ("HTTPRoute", include_str!("../../crds/httproute.yaml")),
    ("RequestAuthentication", include_str!("../../crds/requestauthentication.yaml")),
    ("SecurityPolicy", include_str!("../../crds/securitypolicy.yaml")),
    ("ServiceEntry", include_str!("../../crds/serviceentry.yaml")),
    ("TrafficExtension", include_str!("../../crds/trafficextension.yaml")),
    ("WasmPlugin", include_str!("../../crds/wasmplugin.yaml")),
];

/// What the API server would reject. Nothing, if the document is no resource of a kind with a schema.
pub(super) fn lints(document: &Node) -> Vec<Finding> {
    let Some(schema) = schema_of(document) else { return Vec::new() };
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let location = "http://localhost/schema";
    // A test compiles every schema.
    if compiler.add_resource(location, schema.clone()).is_err() {
        return Vec::new();
    }
    let Ok(index) = compiler.compile(location, &mut schemas) else { return Vec::new() };
    let value = document.to_json();
    let Err(error) = schemas.validate(&value, index) else { return Vec::new() };
    let mut findings = Vec::new();
    collect(&error, document, &schema, &mut findings);
    findings
}

/// The strict schema of the document's kind.
fn schema_of(document: &Node) -> Option<Value> {
    let kind = document.text_at(&["kind"])?;
    let (_, text) = SCHEMAS.iter().find(|(name, _)| *name == kind)?;
    let schema: Value = serde_yaml_ng::from_str(text).ok()?;
    // Other projects have kinds of these names too.
    let group = |version: &str| version.split('/').next().unwrap_or_default().to_owned();
    let known = schema.pointer("/properties/apiVersion/enum/0").and_then(Value::as_str).map(group)?;
    let is_known = document.text_at(&["apiVersion"]).is_none_or(|version| group(version) == known);
    is_known.then(|| strict(schema))
}

/// The schema, without room for fields that are not listed. Only structure is changed: what stands below `oneOf` and its like
/// repeats parts of the structure.
fn strict(mut schema: Value) -> Value {
    let Some(object) = schema.as_object_mut() else { return schema };
    let is_open = object.contains_key("x-kubernetes-preserve-unknown-fields");
    if object.contains_key("properties") && !is_open {
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    if object.get("nullable") == Some(&json!(true)) {
        let types = object.get("type").map(|kind| json!([kind, "null"]));
        object.extend(types.map(|types| ("type".to_owned(), types)));
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(|property| *property = strict(property.take()));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = object.get_mut(inner) {
            *schema = strict(schema.take());
        }
    }
    schema
}

/// One finding for each innermost error.
fn collect(error: &ValidationError<'_, '_>, document: &Node, schema: &Value, findings: &mut Vec<Finding>) {
    let tokens = &error.instance_location.tokens;
    let path = path_of(tokens);
    let mut add = |path: &str, reason: String| {
        let help = "`kubectl apply` refuses the resource, or drops the field";
        let message = if path.is_empty() { reason } else { format!("{path}: {reason}") };
        findings.push(Finding::error("invalid_resource", document.locate(path), message).help(help));
    };
    match &error.kind {
        ErrorKind::AdditionalProperties { got } => {
            let known = schema_at(schema, tokens).and_then(|schema| schema["properties"].as_object());
            let known: Vec<_> = known.into_iter().flat_map(|known| known.keys()).collect();
            for name in got {
                let same = known.iter().find(|field| field.eq_ignore_ascii_case(name));
                let spellings = known.iter().map(|field| (field.as_str(), (*field).clone()));
                let suggestion = match same {
                    Some(field) => format!("; did you mean `{field}`?"),
                    None => did_you_mean(name, spellings),
                };
                let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                add(&path, format!("unknown field `{name}`{suggestion}"));
            }
        }
        ErrorKind::Required { want } => {
            let want: Vec<_> = want.iter().map(|name| format!("`{name}`")).collect();
            add(&path, format!("{} must be set", want.join(", ")));
        }
        ErrorKind::Enum { want } => {
            let want: Vec<_> = want.iter().filter_map(Value::as_str).collect();
            add(&path, format!("must be one of {}", want.join(", ")));
        }
        ErrorKind::Type { want, .. } => {
            let want: Vec<_> = want.iter().map(|kind| kind.to_string()).collect();
            add(&path, format!("must be of type {}", want.join(" or ")));
        }
        ErrorKind::OneOf(_) | ErrorKind::AnyOf | ErrorKind::Not => {
            add(&path, "fields that exclude each other are set".to_owned());
        }
        ErrorKind::Pattern { want, .. } => add(&path, format!("does not match the pattern {want}")),
        kind if error.causes.is_empty() => add(&path, kind.to_string()),
        _ => error.causes.iter().for_each(|cause| collect(cause, document, schema, findings)),
    }
}

fn path_of(tokens: &[InstanceToken<'_>]) -> String {
    tokens.iter().fold(String::new(), |path, token| match token {
        InstanceToken::Item(index) => format!("{path}[{index}]"),
        InstanceToken::Prop(name) if path.is_empty() => name.to_string(),
        InstanceToken::Prop(name) => format!("{path}.{name}"),
    })
}

/// The schema of the value at this place.
fn schema_at<'a>(schema: &'a Value, tokens: &[InstanceToken<'_>]) -> Option<&'a Value> {
    tokens.iter().try_fold(schema, |schema, token| match token {
        InstanceToken::Item(_) => schema.get("items"),
        InstanceToken::Prop(name) => schema.get("properties")?.get(name.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_names_its_kind() {
        for (kind, text) in SCHEMAS {
            let schema = strict(serde_yaml_ng::from_str(text).unwrap());
            assert_eq!(schema["properties"]["kind"]["enum"], json!([kind]));
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource("http://localhost/s", schema).unwrap();
            compiler.compile("http://localhost/s", &mut schemas).unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
    }
}
