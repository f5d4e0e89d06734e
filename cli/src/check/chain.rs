//! Lints on the place of the filter among the other filters.

use crate::{
    configuration::{Configuration, Place},
    finding::Finding,
    tree::{Content, Node},
};

pub(super) fn lints(configuration: &Configuration<'_>) -> Vec<Finding> {
    match configuration.place {
        Place::Envoy => http_filters(configuration),
        Place::Istio => phase(configuration).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn http_filters(configuration: &Configuration<'_>) -> Vec<Finding> {
    let (Some(manager), Some(this)) = (configuration.connection_manager, configuration.around) else {
        return Vec::new();
    };
    let filters = manager.get("http_filters").map(Node::items).unwrap_or_default();
    let Some(index) = filters.iter().position(|filter| filter.span.contains(&this.span.start)) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let (earlier, rest) = filters.split_at(index);
    if let Some(disabled) =
        rest.first().and_then(|filter| filter.get("disabled")).filter(|node| node.flag() == Some(true))
    {
        let message = "the filter is disabled: requests pass unverified";
        let help = "only a route whose typed_per_filter_config enables the filter runs it";
        findings.push(Finding::warning("disabled", disabled.span.clone(), message).help(help));
    }
    let written = written(configuration);
    for filter in earlier {
        if let Some(reader) = find(filter, &|text| written.iter().any(|name| is_name(name, text))) {
            let name = reader.text().unwrap_or_default();
            let message = format!("this filter reads {name:?}, and stands before jwks-gate, which writes it");
            let help = "put the filter behind jwks-gate: here it reads what the client sent, or nothing";
            findings.push(Finding::warning("wrong_order", reader.span.clone(), message).help(help));
        }
    }
    findings
}

/// The headers and the filter states that the configuration writes. A filter state ends in `.`.
fn written(configuration: &Configuration<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (_, _, provider) in configuration.providers() {
        for field in ["forward_payload_header", "payload_value_header"] {
            names.extend(provider.text_at(&[field]).map(str::to_owned));
        }
        let claims = provider.get("claim_to_headers").map(Node::items).unwrap_or_default();
        names.extend(claims.iter().filter_map(|claim| claim.text_at(&["header_name"])).map(str::to_owned));
        for field in ["payload_in_metadata", "header_in_metadata", "failed_status_in_metadata"] {
            names.extend(provider.text_at(&[field]).map(|name| format!("wasm.{name}.")));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn is_name(written: &str, text: &str) -> bool {
    match written.strip_suffix('.') {
        Some(state) => text == state || text.starts_with(written),
        None => text.eq_ignore_ascii_case(written),
    }
}

/// The first text in the node for which this is so.
fn find<'a>(node: &'a Node, is_meant: &impl Fn(&str) -> bool) -> Option<&'a Node> {
    match &node.value {
        Content::Text(text) => is_meant(text).then_some(node),
        Content::List(items) => items.iter().find_map(|item| find(item, is_meant)),
        Content::Map(members) => members.iter().find_map(|member| find(&member.node, is_meant)),
        Content::Plain(_) => None,
    }
}

/// Istio's policies run behind plugins of the phases `AUTHN` and `AUTHZ` only.
fn phase(configuration: &Configuration<'_>) -> Option<Finding> {
    let resource = configuration.document.get("spec")?;
    let phase = resource.text_at(&["phase"]);
    if phase.is_some_and(|phase| ["AUTHN", "AUTHZ"].contains(&phase)) {
        return None;
    }
    let message = match phase {
        Some(phase) => format!("phase {phase}: the plugin runs behind Istio's authorization"),
        None => "without `phase`, the plugin runs behind Istio's authorization".to_owned(),
    };
    let member = configuration.document.member("spec")?;
    let at = super::place(resource, "phase", member.span.clone());
    Some(
        Finding::warning("wrong_phase", at, message).help("set `phase: AUTHN`: policies then see what jwks-gate wrote"),
    )
}
