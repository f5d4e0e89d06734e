//! The fetch itself: what a request for the JWKS states, replicas that lag, and why a fetch failed.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Alg, Fault, Issuer, Rotation, Times};
use jwks_gate_testbed::{eventually, workspace_root, Bootstrap};
use serde_json::json;

use crate::{
    metrics::{scrape, with_labels},
    setup::{issuer_with, remote, tls_terminator, Plan, Site, UNKNOWN_KEY},
};

/// A plan whose provider has no field of `rotation`.
fn with_default_terms() -> Plan {
    let mut plan = Plan::new();
    plan.config["providers"]["p"]["remote_jwks"]["rotation"] = json!({});
    plan
}

/// The status of a request with this token, and how long it took.
fn timed(site: &Site, token: &str) -> (u16, Duration) {
    let began = Instant::now();
    (site.get(token).status, began.elapsed())
}

#[test]
fn an_issuer_that_demands_a_user_agent_is_fetched() {
    let plan = Plan::new();
    plan.issuer.demand(&[("user-agent", "jwks-gate/"), ("accept", "*/*"), ("accept-encoding", "identity")]);
    let site = plan.start();
    assert_eq!(site.get(&site.issuer.token()).status, 200);
}

#[test]
fn a_replica_that_lags_costs_a_new_key_one_second() {
    let site = with_default_terms().start_warm();
    site.issuer.rotate(Rotation::Hard);
    site.issuer.fault(Fault::Lag, Times::Next(1));
    let (status, took) = timed(&site, &site.issuer.token());
    assert_eq!((status, site.gets()), (200, 3));
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

/// The budget is two GETs per interval, whatever tokens come.
#[test]
fn invented_kids_cost_two_fetches_per_interval() {
    let site = with_default_terms().start_warm();
    let invented = site.token_of_unknown_key();
    let began = Instant::now();
    assert_eq!(site.get_at_once(50, |_| invented.clone()), [(401, 50)]);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(site.get(&invented).text(), UNKNOWN_KEY);
    let intervals = 1 + began.elapsed().as_secs() / 10;
    assert!(site.gets() <= 1 + 2 * intervals, "{} GETs in {intervals} intervals", site.gets());
}

#[test]
fn a_request_that_waits_for_an_issuer_that_is_down_gets_its_503_soon() {
    let mut plan = with_default_terms();
    plan.config["providers"]["p"]["remote_jwks"]["retry_policy"] = json!({});
    let site = plan.start_warm();
    let unknown = site.token_of_unknown_key();
    site.issuer.stop();
    let (status, took) = timed(&site, &unknown);
    assert_eq!(status, 503);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn nobody_waits_for_a_retry_that_is_far_off() {
    let plan = with_default_terms();
    plan.issuer.stop();
    let site = plan.start();
    // By then the back-off is several seconds.
    thread::sleep(Duration::from_secs(7));
    for _ in 0..4 {
        let (status, took) = timed(&site, &site.issuer.token());
        assert_eq!(status, 503);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    site.issuer.resume();
    assert!(eventually(Duration::from_secs(20), || site.get(&site.issuer.token()).status == 200));
}

/// The cluster `tls` trusts another CA, and the host of the cluster `dns` does not exist.
fn with_broken_clusters(bootstrap: Bootstrap) -> Bootstrap {
    let socket = json!({
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "issuer.test",
            "common_tls_context": {"validation_context": {
                "trusted_ca": {"filename": workspace_root().join("tests/e2e/tls/other-ca.pem")},
            }},
        },
    });
    let nowhere = json!({
        "cluster_name": "dns",
        "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": {"socket_address": {"address": "nowhere.invalid", "port_value": 443}}},
        }]}],
    });
    with_labels(bootstrap)
        .cluster_option("tls", "transport_socket", socket)
        .cluster_option("dns", "type", json!("STRICT_DNS"))
        .cluster_option("dns", "load_assignment", nowhere)
}

/// As above. Envoy's own answers state the reason of a failed connection, which Envoy hides by default.
fn with_reasons(bootstrap: Bootstrap) -> Bootstrap {
    let shown = json!({"envoy.reloadable_features.hide_transport_failure_reason_in_response_body": false});
    with_broken_clusters(bootstrap)
        .top_level("layered_runtime", json!({"layers": [{"name": "static", "static_layer": shown}]}))
}

/// Adds a provider of this name, whose fetches go to this address.
fn with_provider(mut plan: Plan, name: &str, issuer: &Issuer, address: SocketAddr) -> Plan {
    let mut provider = remote(issuer, name);
    provider["remote_jwks"]["http_uri"]["timeout"] = json!("1s");
    plan.config["providers"][name] = provider;
    plan.cluster(name, address)
}

fn fetch_errors(site: &Site, cause: &str, provider: &str) -> f64 {
    let series = format!("jwks_gate_provider_fetch_errors{{outcome=\"{cause}\",provider=\"{provider}\"}}");
    scrape(&site.envoy).get(&series).copied().unwrap_or(0.0)
}

/// The lines in the log about failed fetches of the provider.
fn failures_in_log(site: &Site, provider: &str) -> Vec<String> {
    let (log, start) = (site.envoy.log(), format!("provider \"{provider}\": JWKS fetch of "));
    log.lines().filter(|line| line.contains(&start)).map(str::to_owned).collect()
}

#[test]
fn the_log_and_a_counter_tell_why_a_fetch_failed() {
    let causes = ["connect", "timeout", "status", "document", "tls", "dns"];
    let issuers = causes.map(|_| issuer_with(Alg::Es256, Some(600)));
    let [connect, timeout, status, document, tls, _] = &issuers;
    connect.stop();
    timeout.fault(Fault::Hang, Times::Always);
    status.fault(Fault::Status(503), Times::Always);
    document.fault(Fault::Garbage, Times::Always);
    let terminator = tls_terminator(tls);
    let mut plan = Plan::new().bootstrap(with_reasons);
    for (cause, issuer) in causes.into_iter().zip(&issuers) {
        let address = if cause == "tls" { terminator.addr() } else { issuer.addr() };
        plan = with_provider(plan, cause, issuer, address);
    }
    let site = plan.start();
    let are_counted = || causes.iter().all(|cause| fetch_errors(&site, cause, cause) >= 1.0);
    assert!(eventually(Duration::from_secs(15), are_counted), "{:#?}\n{}", scrape(&site.envoy), site.envoy.log());
    for (cause, provider) in causes.iter().flat_map(|cause| causes.map(|provider| (*cause, provider))) {
        assert!(cause == provider || fetch_errors(&site, cause, provider) == 0.0, "{provider} counts as {cause}");
    }
    for (provider, text) in [
        ("connect", "Envoy answered 503: reset reason: remote connection failure"),
        ("timeout", "Envoy answered 504: upstream request timeout;"),
        ("status", "failed (1 in a row): answered 503;"),
        ("document", "document rejected: "),
        ("tls", "Envoy answered 503: reset reason: remote connection failure, transport failure reason: TLS_error:"),
        ("tls", "CERTIFICATE_VERIFY_FAILED"),
        ("dns", "the cluster has no hosts"),
    ] {
        // The first fetch may come before the cluster is ready.
        let is_told = || failures_in_log(&site, provider).iter().any(|line| line.contains(text));
        assert!(eventually(Duration::from_secs(10), is_told), "{:#?}", failures_in_log(&site, provider));
    }
    assert_eq!(site.get(&site.issuer.token()).status, 200, "the others do not disturb a good provider");
}

#[test]
fn a_tls_failure_whose_reason_envoy_hides_counts_as_a_failed_connection() {
    let issuer = issuer_with(Alg::Es256, Some(600));
    let terminator = tls_terminator(&issuer);
    let plan = Plan::new().cluster("dns", issuer.addr()).bootstrap(with_broken_clusters);
    let site = with_provider(plan, "tls", &issuer, terminator.addr()).start();
    assert!(eventually(Duration::from_secs(5), || fetch_errors(&site, "connect", "tls") >= 1.0));
    let lines = failures_in_log(&site, "tls");
    let is_told = |line: &String| line.contains("reset reason: remote connection failure; next attempt in");
    assert!(lines.iter().any(is_told), "{lines:#?}");
}
