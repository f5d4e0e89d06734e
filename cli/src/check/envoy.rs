//! Lints on what stands around the configuration: clusters, the connection manager, the failure policy.

use std::{ops::Range, time::Duration};

use jwks_gate::rotation::policy::DEFAULT_UNKNOWN_KID_MAX_WAIT;

use super::{keys::duration, place};
use crate::{
    configuration::{Configuration, Place},
    finding::Finding,
    tree::Node,
};

pub(super) fn lints(configuration: &Configuration<'_>) -> Vec<Finding> {
    let mut findings = clusters(configuration);
    let longest = longest_wait(configuration);
    findings
        .extend(configuration.connection_manager.into_iter().flat_map(|manager| connection_manager(manager, longest)));
    findings.extend(configuration.around.and_then(|around| failure(configuration.place, around)));
    findings
}

/// Whether no other plugin of this file shares the filter's `vm_id`.
pub(super) fn has_vm_of_its_own(configuration: &Configuration<'_>) -> bool {
    let vm_id = |config: &Node| config.text_at(&["vm_config", "vm_id"]).unwrap_or_default().to_owned();
    let Some(this) = configuration.around.filter(|_| configuration.place == Place::Envoy) else { return false };
    let id = vm_id(this);
    let others = configuration.other_plugins();
    !id.is_empty() && others.into_iter().all(|other| vm_id(other) != id)
}

/// A URI that a provider fetches, and the cluster for it.
pub(super) struct Fetch<'a> {
    pub(super) provider: &'a str,
    pub(super) uri: &'a str,
    pub(super) cluster: &'a str,
    /// The place of the cluster's name.
    pub(super) span: Range<usize>,
}

/// What the providers fetch.
pub(super) fn fetches<'a>(configuration: &'a Configuration<'_>) -> Vec<Fetch<'a>> {
    let mut fetches = Vec::new();
    for (name, span, provider) in configuration.providers() {
        let Some(remote) = provider.get("remote_jwks") else { continue };
        let mirrors = remote.get("mirrors").map(Node::items).unwrap_or_default();
        let sources = remote.get("http_uri").into_iter().chain(remote.get("discovery")).chain(mirrors);
        for source in sources {
            let Some(uri) = source.text_at(&["uri"]) else { continue };
            for cluster in ["cluster", "jwks_cluster"].iter().filter_map(|field| source.get(field)) {
                let at = if cluster.span.is_empty() { span.clone() } else { cluster.span.clone() };
                fetches.extend(cluster.text().map(|cluster| Fetch { provider: name, uri, cluster, span: at }));
            }
        }
    }
    fetches
}

/// The clusters that the providers name.
fn clusters(configuration: &Configuration<'_>) -> Vec<Finding> {
    let Some(clusters) = configuration.clusters() else { return Vec::new() };
    fetches(configuration).iter().filter_map(|fetch| of_cluster(clusters, fetch)).collect()
}

/// What is wrong with the cluster through which this URI is fetched.
fn of_cluster(clusters: &[Node], fetch: &Fetch<'_>) -> Option<Finding> {
    let Fetch { provider: name, uri, cluster, span } = fetch;
    let Some(defined) = clusters.iter().find(|node| node.text_at(&["name"]) == Some(cluster)) else {
        let message = format!("provider {name:?}: cluster {cluster:?} is not defined in static_resources.clusters");
        let help = "every fetch through this cluster fails; without keys, the provider's tokens get a 503";
        return Some(Finding::error("unknown_cluster", span.clone(), message).help(help));
    };
    let what = weakness(uri, defined)?;
    let message = format!("provider {name:?}: {uri} is fetched through cluster {cluster:?}, {what}");
    let help = "who controls the network then controls the keys: set transport_socket with UpstreamTlsContext, \
                validation_context.trusted_ca and match_typed_subject_alt_names";
    Some(Finding::warning("unverified_issuer", span.clone(), message).help(help))
}

pub(super) fn is_https(uri: &str) -> bool {
    uri.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// What lets somebody on the way stand in for the issuer.
fn weakness(uri: &str, cluster: &Node) -> Option<&'static str> {
    if !is_https(uri) {
        return None;
    }
    let sockets = cluster.get("transport_socket").into_iter();
    let sockets = sockets.chain(
        cluster
            .get("transport_socket_matches")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .filter_map(|m| m.get("transport_socket")),
    );
    let contexts: Vec<_> = sockets.filter_map(|socket| tls_context(socket)).collect();
    let Some(context) = contexts.first() else { return Some("which does not use TLS") };
    let validation = ["validation_context", "combined_validation_context", "validation_context_sds_secret_config"];
    let Some(validation) = validation.iter().find_map(|field| context.at(&["common_tls_context", field])) else {
        return Some("whose TLS verifies no certificate");
    };
    let inner = validation.get("default_validation_context").unwrap_or(validation);
    let names = [
        "match_typed_subject_alt_names",
        "match_subject_alt_names",
        "verify_certificate_spki",
        "verify_certificate_hash",
    ];
    let is_automatic = context.get("auto_sni_san_validation").and_then(Node::flag) == Some(true);
    let is_named =
        is_automatic || names.iter().any(|field| inner.get(field).is_some()) || validation.get("sds_config").is_some();
    (!is_named).then_some("whose TLS accepts a certificate of any name")
}

/// The TLS settings of a transport socket, also within another socket.
fn tls_context(socket: &Node) -> Option<&Node> {
    let config = socket.get("typed_config")?;
    match config.get("common_tls_context") {
        Some(_) => Some(config),
        None if config.get("sni").is_some() => Some(config),
        None => config.get("transport_socket").and_then(tls_context),
    }
}

/// The longest time for which a request can wait for keys: `unknown_kid_max_wait` and the timeout of a fetch.
fn longest_wait(configuration: &Configuration<'_>) -> Duration {
    let remotes = configuration.providers().filter_map(|(_, _, provider)| provider.get("remote_jwks"));
    let of = |remote: &Node| {
        let time = |path: &[&str]| remote.text_at(path).and_then(duration);
        let wait = time(&["rotation", "unknown_kid_max_wait"]).unwrap_or(DEFAULT_UNKNOWN_KID_MAX_WAIT);
        let timeout = time(&["http_uri", "timeout"]).or_else(|| time(&["discovery", "timeout"]));
        wait.saturating_add(timeout.unwrap_or_default())
    };
    remotes.map(of).max().unwrap_or_default()
}

fn connection_manager(manager: &Node, longest_wait: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    let at = place(manager, "stat_prefix", manager.span.start..manager.span.start);
    let missing: Vec<_> = ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"]
        .into_iter()
        .filter(|field| manager.get(field).is_none_or(|node| node.flag() == Some(false) || is_unchanged(node)))
        .collect();
    if !missing.is_empty() {
        let message =
            format!("the connection manager does not normalize paths: {} not set, or off", missing.join(", "));
        let help = "rules match paths; an upstream may read `//api` or `/x/../api` as `/api`";
        findings.push(Finding::warning("paths_not_normalized", at.clone(), message).help(help));
    }
    if manager.get("stream_idle_timeout").is_none() {
        let message = "the connection manager does not set stream_idle_timeout; Envoy's default is five minutes";
        let help = "the timeout is the last resort for a request that waits for keys; set more than unknown_kid_max_wait plus the fetch's timeout";
        findings.push(Finding::warning("no_stream_idle_timeout", at, message).help(help));
    }
    let timeout = manager.get("stream_idle_timeout").and_then(|node| Some((node, duration(node.text()?)?)));
    if let Some((node, _)) = timeout.filter(|(_, timeout)| *timeout == Duration::ZERO) {
        let message = "stream_idle_timeout is off: nothing ends a request that waits in a VM that failed";
        let help = "set more than unknown_kid_max_wait plus the fetch's timeout";
        findings.push(Finding::warning("no_stream_idle_timeout", node.span.clone(), message).help(help));
    } else if let Some((node, _)) = timeout.filter(|(_, timeout)| *timeout <= longest_wait) {
        let message = format!(
            "stream_idle_timeout is over before a request has waited for keys: up to {} s",
            longest_wait.as_secs_f64()
        );
        let help = "Envoy then answers 504, also to a good token after a rotation; set more than unknown_kid_max_wait plus the \
                    fetch's timeout";
        findings.push(Finding::warning("short_stream_idle_timeout", node.span.clone(), message).help(help));
    }
    findings
}

/// A value of `path_with_escaped_slashes_action` that leaves slashes as they are.
fn is_unchanged(node: &Node) -> bool {
    matches!(node.text(), Some("KEEP_UNCHANGED" | "IMPLEMENTATION_SPECIFIC_DEFAULT"))
}

/// What happens to requests when the VM is gone.
fn failure(place: Place, around: &Node) -> Option<Finding> {
    let (field, is_open) = match place {
        Place::Istio => ("fail_strategy", around.text_at(&["fail_strategy"]) == Some("FAIL_OPEN")),
        Place::Envoy | Place::Gateway => {
            let is_open = around.get("fail_open").and_then(Node::flag) == Some(true);
            if is_open {
                ("fail_open", true)
            } else {
                ("failure_policy", around.text_at(&["failure_policy"]) == Some("FAIL_OPEN"))
            }
        }
        Place::Bare | Place::JwtAuthn | Place::Native => return None,
    };
    let message = "requests pass unverified when the filter fails";
    let help = "set FAIL_RELOAD: requests are denied until the VM runs again";
    is_open.then(|| Finding::error("fails_open", super::place(around, field, around.span.clone()), message).help(help))
}
