//! `jwks-gate convert`: a configuration of the filter from what verifies tokens today, with a comment for everything that is not
//! carried over.

mod gateway;
mod istio;
mod output;

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use jwks_gate::config;
use serde_json::{json, Map, Value};

use crate::{
    configuration::{self, Place},
    finding::{self, Finding},
    read,
    tree::Node,
    write, Failure,
};

#[derive(Args)]
pub(crate) struct Options {
    /// File to convert; `-` is the standard input.
    file: PathBuf,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Target::Config)]
    to: Target,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The configuration alone.
    Config,
    /// An entry of Envoy's `http_filters`.
    Envoy,
    /// A resource of Envoy's extension configuration discovery (ECDS).
    Ecds,
    /// Istio's WasmPlugin.
    Wasmplugin,
    /// Envoy Gateway's EnvoyExtensionPolicy.
    Envoyextensionpolicy,
}

/// A configuration that was converted.
#[derive(Default)]
pub(crate) struct Converted {
    pub(crate) config: Map<String, Value>,
    /// What the operator has to know: what was not carried over, and why.
    pub(crate) notes: Vec<String>,
    /// The `selector` of an Istio resource.
    pub(crate) selector: Option<Value>,
    /// The `targetRefs` of a resource.
    pub(crate) target_refs: Option<Value>,
    /// The name of the resource.
    pub(crate) name: Option<String>,
    /// The namespace of the resource.
    pub(crate) namespace: Option<String>,
    /// The configuration as it stands in the file, if the fields are those of the file.
    pub(crate) original: Option<Node>,
}

impl Converted {
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// Returns whether everything was carried over.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<bool, Failure> {
    let source = read(&options.file)?;
    let documents =
        configuration::documents(&source).map_err(|finding| format!("{}: {}", source.name, finding.message))?;
    let mut all: Vec<Converted> = documents
        .iter()
        .flat_map(|document| {
            let native = configuration::find(&source, document).0.into_iter();
            let is_per_route = source.text.contains("jwt_authn.v3.PerRouteConfig");
            native.filter(|found| found.place == Place::JwtAuthn).map(move |found| Converted {
                original: Some(found.node.clone()),
                ..jwt_authn(&found.json(), is_per_route)
            })
        })
        .collect();
    all.extend(documents.iter().filter_map(gateway::convert));
    all.extend(istio::convert(&documents));
    if all.is_empty() {
        return Err(format!(
            "{}: no jwt_authn filter, RequestAuthentication or SecurityPolicy with jwt found",
            source.name
        ));
    }
    let (mut is_complete, mut separator) = (true, "");
    for converted in &all {
        let json = Value::Object(converted.config.clone()).to_string();
        let plan = match config::parse(json.as_bytes()) {
            Ok(plan) => plan,
            // What the filter would not load is no result.
            Err(error) => {
                let span = converted.original.as_ref().map_or(0..0, |node| node.locate(&error.path));
                let finding = Finding::error("not_converted", span, format!("cannot be converted: {error}"));
                finding::print(&source, &[finding], &mut anstream::stderr()).map_err(|error| error.to_string())?;
                is_complete = false;
                continue;
            }
        };
        let warnings = plan.warnings.iter().filter(|warning| !warning.starts_with("shared_data_secret"));
        let notes: Vec<_> = converted.notes.iter().cloned().chain(warnings.cloned()).collect();
        is_complete &= converted.notes.is_empty();
        write(out, &format!("{separator}{}", output::yaml(converted, &notes, options.to)?))?;
        separator = "---\n";
    }
    Ok(is_complete)
}

/// A `jwt_authn` filter: its configuration is a configuration of jwks-gate.
fn jwt_authn(json: &str, is_per_route: bool) -> Converted {
    let mut converted = Converted::default();
    if is_per_route {
        converted.note(
            "PerRouteConfig is not carried over: a Wasm filter has no settings of a route; write a rule for the paths of each \
             route, before the others",
        );
    }
    let Ok(Value::Object(mut config)) = serde_json::from_str(json) else { return converted };
    for field in ["filter_state_rules", "filterStateRules"] {
        if config.remove(field).is_some() {
            converted.note(format!(
                "{field} is left out: a Wasm filter cannot read the filter state that selects the requirement"
            ));
        }
    }
    let text = Value::Object(config.clone()).to_string();
    if text.contains("_in_metadata") || text.contains("InMetadata") {
        converted.note(
            "payload_in_metadata and header_in_metadata become filter state wasm.NAME instead of dynamic metadata \
             (docs/jwt_authn.md); change what reads the metadata",
        );
    }
    converted.config = config;
    converted
}

/// The requirement that one of these is met.
pub(crate) fn any_of(requirements: Vec<Value>) -> Value {
    match <[Value; 1]>::try_from(requirements) {
        Ok([only]) => only,
        Err(requirements) => json!({"requires_any": {"requirements": requirements}}),
    }
}

/// `from_headers`, of a list of headers whose prefix is in this field.
pub(crate) fn from_headers(headers: &Node, prefix: &str) -> Value {
    let header = |node: &Node| object([("name", member(node, "name")), ("value_prefix", member(node, prefix))]);
    headers.items().iter().map(header).collect()
}

/// `claim_to_headers`, of a list of headers for claims.
pub(crate) fn claim_to_headers(claims: &Node) -> Value {
    let claim = |node: &Node| json!({"header_name": member(node, "header"), "claim_name": member(node, "claim")});
    claims.items().iter().map(claim).collect()
}

/// Members of a JSON object, without those that are `null`.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The JSON of a member; `null` if there is none.
pub(crate) fn member(node: &Node, name: &str) -> Value {
    node.get(name).map_or(Value::Null, Node::to_json)
}
