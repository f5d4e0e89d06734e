//! Lints on providers: whose tokens are accepted, under which keys, and for how long.

use std::{collections::BTreeMap, time::Duration};

use super::place;
use crate::{configuration::Configuration, finding::Finding, tree::Node};

/// Issuers from which anybody can get a token, and the claims that say whose token it is.
const PUBLIC_ISSUERS: [(&str, &str); 4] = [
    ("https://token.actions.githubusercontent.com", "`repository` or `repository_owner`"),
    ("https://gitlab.com", "`project_path` or `namespace_path`"),
    ("https://accounts.google.com", "`hd`, `email` or `azp`"),
    ("accounts.google.com", "`hd`, `email` or `azp`"),
];

pub(super) fn lints(configuration: &Configuration<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut by_issuer: BTreeMap<&str, &str> = BTreeMap::new();
    if let Some(secret) = configuration.node.member("shared_data_secret") {
        let message = "shared_data_secret stands in the configuration in the clear, and in Envoy's config dump";
        let help = "set the variable JWKS_GATE_SHARED_DATA_SECRET of the VM's environment instead (SECURITY.md)";
        findings.push(Finding::warning("secret_in_clear", secret.span.clone(), message).help(help));
    }
    for (name, span, provider) in configuration.providers() {
        // A text is a list of one.
        if provider.get("audiences").is_none_or(|audiences| audiences.texts().is_empty()) {
            let message = format!("provider {name:?} accepts tokens that were issued for any audience");
            let help = "set `audiences`, or a token that the issuer made for another service is good here";
            findings.push(Finding::warning("no_audiences", span.clone(), message).help(help));
        }
        for issuer in issuers(provider) {
            let other = by_issuer.insert(issuer, name);
            if let Some(other) = other.filter(|other| !are_alternatives(&configuration.node, other, name)) {
                let message = format!("providers {other:?} and {name:?} have the same issuer {issuer:?}");
                let help = "a requirement that names one of them accepts no token under keys of the other; name both under requires_any";
                findings
                    .push(Finding::warning("same_issuer", place(provider, "issuer", span.clone()), message).help(help));
            }
            findings.extend(pinned(name, issuer, provider));
        }
        findings.extend(secret_keys(name, provider));
        findings.extend(too_long(name, provider));
    }
    findings
}

/// Whether some requirement accepts a token of either provider.
fn are_alternatives(node: &Node, one: &str, other: &str) -> bool {
    let children = node.at(&["requires_any", "requirements"]).map(Node::items).unwrap_or_default();
    let names = |name: &str| {
        let of = |child: &Node| {
            child
                .text_at(&["provider_name"])
                .or(child.text_at(&["provider_and_audiences", "provider_name"]))
                .map(str::to_owned)
        };
        children.iter().filter_map(of).any(|known| known == name)
    };
    (names(one) && names(other))
        || node.items().iter().any(|item| are_alternatives(item, one, other))
        || node.members().iter().any(|member| are_alternatives(&member.node, one, other))
}

fn issuers(provider: &Node) -> Vec<&str> {
    let one = provider.text_at(&["issuer"]).into_iter();
    one.chain(provider.get("issuers").map(Node::texts).unwrap_or_default())
        .filter(|issuer| !issuer.is_empty())
        .collect()
}

fn pinned(name: &str, issuer: &str, provider: &Node) -> Option<Finding> {
    let (_, claims) = PUBLIC_ISSUERS.into_iter().find(|(public, _)| *public == issuer.trim_end_matches('/'))?;
    let is_pinned = ["required_claims", "subjects"].into_iter().any(|field| provider.get(field).is_some());
    let message = format!("anybody can get a token of {issuer}; provider {name:?} accepts all of them");
    let help = format!("require {claims} by `required_claims`, or `subjects`");
    (!is_pinned).then(|| Finding::warning("public_issuer", provider.locate("issuer"), message).help(help))
}

/// A key of HS256 in the configuration is a secret.
fn secret_keys(name: &str, provider: &Node) -> Option<Finding> {
    let local = provider.get("local_jwks")?;
    let jwks: serde_json::Value = serde_json::from_str(local.text_at(&["inline_string"])?).ok()?;
    let is_secret = |key: &serde_json::Value| key["kty"] == "oct";
    let has_secret = jwks["keys"].as_array().is_some_and(|keys| keys.iter().any(is_secret));
    let message = format!("the secret of provider {name:?} stands in the configuration in the clear");
    let help = "use an asymmetric algorithm: who reads the configuration can sign tokens";
    has_secret.then(|| Finding::warning("secret_in_clear", local.locate("inline_string"), message).help(help))
}

/// Keys that verify longer than tokens live protect nobody.
fn too_long(name: &str, provider: &Node) -> Vec<Finding> {
    let Some(lifetime) = provider.text_at(&["max_lifetime"]).and_then(duration) else { return Vec::new() };
    let mut findings = Vec::new();
    for field in ["retired_key_grace", "max_stale"] {
        let Some(node) = provider.at(&["remote_jwks", "rotation", field]) else { continue };
        let is_longer = match node.text() {
            Some("unbounded") => true,
            text => text.and_then(duration).is_some_and(|time| time > lifetime),
        };
        if is_longer {
            let message = format!("provider {name:?}: {field} is longer than max_lifetime");
            let help = "no good token is that old; a shorter time bounds what a stolen key can do";
            findings.push(Finding::warning("longer_than_tokens", node.span.clone(), message).help(help));
        }
    }
    findings
}

/// A duration in proto3-JSON: seconds with an `s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}
