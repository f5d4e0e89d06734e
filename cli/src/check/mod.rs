//! `jwks-gate check`: what is wrong with a configuration, and what is likely a mistake.

mod chain;
mod envoy;
mod keys;
mod leftovers;
mod mesh;
mod native;
mod resource;
mod rules;

use std::ops::Range;

use jwks_gate::config;

use crate::{
    configuration::{self, Configuration, Place},
    finding::{line_and_column, Finding, Severity, Source},
    tree::Node,
};

/// Fields by which resources of Kubernetes and of Envoy are known.
const KNOWN: [&str; 3] = ["kind", "static_resources", "resources"];

/// Checks every configuration in a file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let documents = match configuration::documents(source) {
        Ok(documents) => documents,
        Err(finding) => return vec![finding],
    };
    let (mut findings, mut has_configuration) = (Vec::new(), false);
    for document in &documents {
        let (found, unreadable) = configuration::find(source, document);
        has_configuration |= !found.is_empty();
        findings.extend(unreadable);
        findings.extend(native::lints(document));
        findings.extend(resource::lints(document));
        findings.extend(leftovers::lints(document, &found));
        for configuration in &found {
            findings.extend(one(configuration));
            findings.extend(mesh::lints(configuration, &documents));
        }
    }
    if findings.is_empty() && !has_configuration {
        let help = "check reads Envoy bootstraps, listeners and ECDS resources, WasmPlugin, TrafficExtension, \
                    EnvoyExtensionPolicy, RequestAuthentication, SecurityPolicy, and bare configurations";
        let is_known = documents.iter().any(|document| KNOWN.iter().any(|field| document.get(field).is_some()));
        let finding = if is_known { Finding::note } else { Finding::error };
        findings.push(finding("no_configuration", 0..0, "no configuration of jwks-gate found").help(help));
    }
    findings.retain(|finding| !is_allowed(source, finding));
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

/// Whether a comment on the line of the finding, or on the line above, allows the finding: `# jwks-gate: allow CODE`.
fn is_allowed(source: &Source, finding: &Finding) -> bool {
    let (line, _) = line_and_column(&source.text, finding.span.start);
    let allows = |line: &str| {
        let allowed = line.split_once("# jwks-gate: allow ").map(|(_, codes)| codes.trim());
        allowed.is_some_and(|codes| codes.split([',', ' ']).any(|code| code == finding.code))
    };
    finding.severity == Severity::Warning
        && source.text.lines().skip(line.saturating_sub(2)).take(2.min(line)).any(allows)
}

fn one(configuration: &Configuration<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let node = &configuration.node;
    match config::parse(configuration.json().as_bytes()) {
        Ok(plan) => findings.extend(plan.warnings.iter().filter_map(|warning| of_warning(node, warning))),
        Err(error) => {
            let is_field = !error.reason.starts_with("unknown field");
            let help = help_for(if is_field { &error.path } else { "" });
            let message =
                if error.path.is_empty() { error.reason } else { format!("{}: {}", error.path, error.reason) };
            findings.push(Finding::error("rejected", node.locate(&error.path), message).help(help));
        }
    }
    findings.extend(keys::lints(configuration));
    findings.extend(rules::lints(configuration));
    findings.extend(envoy::lints(configuration));
    findings.extend(chain::lints(configuration));
    // Envoy's own filter has neither this field nor its problem.
    let needs_secret = configuration.place != Place::JwtAuthn
        && !configuration.around.is_some_and(has_secret_variable)
        && !envoy::has_vm_of_its_own(configuration);
    if !needs_secret {
        findings.retain(|finding| finding.code != "no_secret");
    }
    findings
}

/// What the filter itself warns about when it reads the configuration.
fn of_warning(node: &Node, warning: &str) -> Option<Finding> {
    let (path, reason) = warning.split_once(": ")?;
    let code = match path {
        "shared_data_secret" => "no_secret",
        "rules" => "nothing_denied",
        _ if path.ends_with(".issuer") => "no_issuer",
        _ if path.ends_with("unknown_kid_max_wait") => "short_wait",
        _ if path.contains("local_jwks") => "skipped_key",
        _ => "likely_mistake",
    };
    Some(Finding::warning(code, node.locate(path), format!("{path}: {reason}")).help(help_for(path)))
}

/// Whether the environment of the VM has the secret.
fn has_secret_variable(around: &Node) -> bool {
    const VARIABLE: &str = "JWKS_GATE_SHARED_DATA_SECRET";
    let istio = around.at(&["vm_config", "env"]).map(Node::items).unwrap_or_default();
    let envoy = around.at(&["vm_config", "environment_variables"]);
    let by_host = envoy.and_then(|variables| variables.get("host_env_keys")).map(Node::texts).unwrap_or_default();
    istio.iter().any(|variable| variable.text_at(&["name"]) == Some(VARIABLE))
        || envoy.is_some_and(|variables| variables.at(&["key_values", VARIABLE]).is_some())
        || around.at(&["env", "host_keys"]).is_some_and(|keys| keys.texts().contains(&VARIABLE))
        || by_host.contains(&VARIABLE)
}

/// Where the field is described.
fn help_for(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or_default();
    match last.split('[').next().unwrap_or_default() {
        "" => "docs/configuration.md has all fields".to_owned(),
        // The last part is the name of a provider or of a requirement.
        _ if path.matches('.').count() == 1
            && ["providers.", "requirement_map."].iter().any(|map| path.starts_with(map)) =>
        {
            "docs/configuration.md has all fields".to_owned()
        }
        "shared_data_secret" => {
            "set a secret, or the variable JWKS_GATE_SHARED_DATA_SECRET of the VM (SECURITY.md)".to_owned()
        }
        field => format!("docs/configuration.md describes `{field}`"),
    }
}

/// The place of a field, or of what would contain the field.
fn place(node: &Node, field: &str, otherwise: Range<usize>) -> Range<usize> {
    node.member(field).map_or(otherwise, |member| member.span.clone())
}

/// Whether any finding counts as such for the exit code.
pub(crate) fn has_findings(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity != Severity::Note)
}
