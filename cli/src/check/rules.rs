//! Lints on rules.

use crate::{configuration::Configuration, finding::Finding, tree::Node};

pub(super) fn lints(configuration: &Configuration<'_>) -> Vec<Finding> {
    let rules = configuration.node.get("rules").map(Node::items).unwrap_or_default();
    let mut findings = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let Some(route) = rule.get("match") else { continue };
        let covers = |earlier: &Node| earlier.get("match").is_some_and(|earlier| covers(earlier, route));
        if let Some(earlier) = rules[..index].iter().position(covers) {
            let message =
                format!("rules[{index}] is never reached: rules[{earlier}] matches every request that it matches");
            let help = "the first rule that matches decides; put the narrower rule first";
            findings.push(Finding::warning("unreachable_rule", route.span.start..route.span.start, message).help(help));
        }
    }
    findings
}

/// Whether `earlier` certainly matches every request that `later` matches.
fn covers(earlier: &Node, later: &Node) -> bool {
    let is_free = ["headers", "query_parameters"].iter().all(|field| earlier.get(field).is_none());
    let is_exact = |node: &Node| node.get("case_sensitive").and_then(Node::flag) != Some(false);
    let Some(prefix) = earlier.text_at(&["prefix"]).filter(|_| is_free && is_exact(earlier)) else { return false };
    if prefix == "/" || prefix.is_empty() {
        return later.get("connect_matcher").is_none();
    }
    let literal = ["prefix", "path", "path_separated_prefix"].iter().find_map(|field| later.text_at(&[field]));
    is_exact(later) && literal.is_some_and(|literal| literal.starts_with(prefix))
}
