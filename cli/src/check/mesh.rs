//! Lints on the clusters that istiod and Envoy Gateway make of resources. Only resources in the same file are known.

use super::envoy::{fetches, Fetch};
use crate::{
    configuration::{Configuration, Place},
    finding::Finding,
    tree::Node,
};

pub(super) fn lints(configuration: &Configuration<'_>, documents: &[Node]) -> Vec<Finding> {
    let lint = match configuration.place {
        Place::Istio => istio,
        Place::Gateway => gateway,
        _ => return Vec::new(),
    };
    fetches(configuration).iter().filter_map(|fetch| lint(fetch, documents)).collect()
}

fn of_kind<'a>(documents: &'a [Node], kind: &'static str) -> impl Iterator<Item = &'a Node> {
    documents.iter().filter(move |document| document.text_at(&["kind"]) == Some(kind))
}

fn istio(fetch: &Fetch<'_>, documents: &[Node]) -> Option<Finding> {
    let Some((port, host)) = outbound(fetch.cluster) else {
        let is_patched = of_kind(documents, "EnvoyFilter").next().is_some();
        let help =
            "the cluster of a Service or ServiceEntry is outbound|PORT||HOST, such as outbound|443||issuer.example.com";
        return (!is_patched).then(|| name(fetch, "is no name that istiod gives a cluster", help));
    };
    let mut entries = of_kind(documents, "ServiceEntry").filter_map(|entry| entry.get("spec")).peekable();
    entries.peek()?;
    let has_port = |entry: &Node| {
        let ports = entry.get("ports").map(Node::items).unwrap_or_default();
        ports.iter().any(|entry| entry.get("number").is_some_and(|number| number.to_json() == port))
    };
    let is_meant = |entry: &Node| entry.get("hosts").is_some_and(|hosts| hosts.texts().contains(&host));
    if !entries.any(|entry| is_meant(entry) && has_port(entry)) {
        let help = "PORT and HOST are those of the ServiceEntry; the cluster of another port does not exist";
        return Some(name(fetch, "has no ServiceEntry with this host and port in this file", help));
    }
    let rules = of_kind(documents, "DestinationRule").filter_map(|rule| rule.get("spec"));
    let mut rules = rules.filter(|rule| rule.text_at(&["host"]) == Some(host));
    let weakness = match rules.next().map(|rule| rule.at(&["traffic_policy", "tls"])) {
        None => "for whose host no DestinationRule of this file enables TLS",
        Some(tls) => {
            let mode = tls.and_then(|tls| tls.text_at(&["mode"]));
            let is_lax = tls.and_then(|tls| tls.get("insecure_skip_verify")).and_then(Node::flag) == Some(true);
            match mode {
                Some("SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL") if !is_lax => return None,
                Some("SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL") => "whose DestinationRule verifies no certificate",
                _ => "whose DestinationRule does not enable TLS",
            }
        }
    };
    unverified(fetch, weakness, "set trafficPolicy.tls with mode SIMPLE and subjectAltNames")
}

/// Port and host of the name that istiod gives a cluster.
fn outbound(cluster: &str) -> Option<(u16, &str)> {
    let mut parts = cluster.split('|');
    let (direction, port, _subset, host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_whole = direction == "outbound" && !host.is_empty() && parts.next().is_none();
    Some((port.parse().ok().filter(|_| is_whole)?, host))
}

fn gateway(fetch: &Fetch<'_>, documents: &[Node]) -> Option<Finding> {
    let patches = of_kind(documents, "EnvoyPatchPolicy")
        .flat_map(|policy| policy.at(&["spec", "json_patches"]).map(Node::items).unwrap_or_default());
    let mut patched = patches.filter_map(|patch| patch.text_at(&["operation", "value", "name"]));
    if patched.any(|cluster| cluster == fetch.cluster) {
        return None;
    }
    let help = "the cluster of the rule N of an HTTPRoute is httproute/NAMESPACE/NAME/rule/N; the first rule is 0";
    let parts: Vec<&str> = fetch.cluster.split('/').collect();
    let [kind, namespace, route, "rule", index] = parts[..] else {
        return Some(name(fetch, "is no name that Envoy Gateway gives a cluster", help));
    };
    let mut routes = of_kind(documents, "HTTPRoute").filter(|_| kind == "httproute").peekable();
    routes.peek()?;
    let is_meant = |document: &Node| {
        document.text_at(&["metadata", "name"]) == Some(route)
            && document.text_at(&["metadata", "namespace"]).is_none_or(|known| known == namespace)
    };
    let rules = routes.find(|document| is_meant(document)).and_then(|document| document.at(&["spec", "rules"]));
    let rule = rules.map(Node::items).unwrap_or_default().get(index.parse::<usize>().unwrap_or(usize::MAX));
    let Some(rule) = rule else {
        return Some(name(fetch, "has no HTTPRoute with this rule in this file", help));
    };
    let backends = rule.get("backend_refs").map(Node::items).unwrap_or_default();
    let names: Vec<_> = backends.iter().filter_map(|backend| backend.text_at(&["name"])).collect();
    let mut found = of_kind(documents, "Backend")
        .filter(|backend| backend.text_at(&["metadata", "name"]).is_some_and(|name| names.contains(&name)));
    let tls = found.next()?.at(&["spec", "tls"]);
    let skips = tls.and_then(|tls| tls.get("insecure_skip_verify")).and_then(Node::flag) == Some(true);
    let has_ca =
        tls.is_some_and(|tls| tls.get("wellKnownCACertificates").is_some() || tls.get("ca_certificate_refs").is_some());
    let weakness = match tls {
        None => "whose Backend does not use TLS",
        Some(_) if skips || !has_ca => "whose Backend verifies no certificate",
        Some(_) => return None,
    };
    unverified(fetch, weakness, "set tls of the Backend, with wellKnownCACertificates: System and sni")
}

fn name(fetch: &Fetch<'_>, what: &str, help: &str) -> Finding {
    let message = format!("provider {:?}: cluster {:?} {what}", fetch.provider, fetch.cluster);
    Finding::warning("cluster_name", fetch.span.clone(), message).help(help)
}

fn unverified(fetch: &Fetch<'_>, weakness: &str, help: &str) -> Option<Finding> {
    let Fetch { provider, uri, cluster, span } = fetch;
    let message = format!("provider {provider:?}: {uri} is fetched through cluster {cluster:?}, {weakness}");
    let is_https = super::envoy::is_https(uri);
    let help = format!("who controls the network then controls the keys: {help}");
    is_https.then(|| Finding::warning("unverified_issuer", span.clone(), message).help(help))
}
