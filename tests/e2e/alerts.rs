//! A real Prometheus with the alerts of `envoy/prometheus` scrapes a real Envoy, through clean rotations and failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use jwks_gate::metrics::Gauge;
use jwks_gate_issuer::{Fault, Rotation, Times};
use jwks_gate_testbed::{eventually, free_port, http, http::Request, workspace_root, Bootstrap, Directory, Process};
use serde_json::{json, Value};

use crate::{
    docs::read,
    metrics::with_labels,
    setup::{Plan, Site},
};

fn program(name: &str) -> PathBuf {
    workspace_root().join("target/prometheus/usr/bin").join(name)
}

#[test]
fn the_alerting_rules_pass_their_unit_tests() {
    let checks = [
        ["check", "config", "prometheus.yaml"],
        ["check", "config", "relabel.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ];
    for arguments in checks {
        let output = Command::new(program("promtool"))
            .args(arguments)
            .current_dir(workspace_root().join("envoy/prometheus"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Alerts and dashboard name only series that exist, and name each of them.
#[test]
fn alerts_and_dashboard_use_exactly_the_series_that_exist() {
    let prefix = "jwks_gate_provider_";
    let counters =
        ["requests", "would_deny", "fetches", "fetch_errors", "refreshes", "fetch_ms_bucket", "wait_ms_bucket"];
    let others = ["cache_hits", "rotations"];
    let known: BTreeSet<_> = Gauge::ALL.map(Gauge::name).into_iter().chain(counters).chain(others).collect();
    let mut used = BTreeSet::new();
    for file in ["envoy/prometheus/alerts.yaml", "envoy/prometheus/dashboard.json"] {
        let text = read(file);
        for rest in text.split(prefix).skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(known.contains(name.as_str()), "{file}: {prefix}{name}");
            used.insert(name);
        }
    }
    assert_eq!(used.len(), known.len(), "an alert or the dashboard uses each series");
    // No denial reason ends with a series name, so relabel.yaml can split them.
    for reason in jwks_gate::token::TokenError::ALL.map(jwks_gate::token::TokenError::reason) {
        assert!(!known.iter().any(|name| reason.ends_with(&format!("_{name}"))), "{reason}");
    }
}

/// The alerting rules with seconds instead of minutes, so that the test is short.
fn shortened(rules: &str) -> String {
    rules
        .replace("for: 1m", "for: 1s")
        .replace("for: 2m", "for: 2s")
        .replace("for: 5m", "for: 5s")
        .replace("for: 10m", "for: 10s")
        .replace("[5m]", "[5s]")
        // Gauges are whole seconds.
        .replace("_expires_timestamp_seconds > 0) > 60", "_expires_timestamp_seconds > 0) > 2")
        .replace("time(), 0) < 900", "time(), 0) < 15")
}

fn get(port: u16, path: &str) -> Option<Value> {
    let response = http::send((std::net::Ipv4Addr::LOCALHOST, port).into(), &Request::get(path)).ok()?;
    serde_json::from_slice(&response.body).ok()
}

struct Prometheus {
    _process: Process,
    port: u16,
    _directory: Directory,
}

impl Prometheus {
    /// Starts Prometheus with a configuration of `envoy/prometheus`.
    fn start(config: &str, site: &Site) -> Self {
        let directory = Directory::create().unwrap();
        let config = read(&format!("envoy/prometheus/{config}.yaml"))
            .replace("5s", "500ms")
            .replace("127.0.0.1:9901", &site.envoy.admin().to_string());
        fs::write(directory.file("prometheus.yaml"), config).unwrap();
        fs::write(directory.file("alerts.yaml"), shortened(&read("envoy/prometheus/alerts.yaml"))).unwrap();
        let mut port = free_port();
        let spawn = |port| {
            Process::spawn_in(
                Command::new(program("prometheus"))
                    .arg(format!("--config.file={}", directory.file("prometheus.yaml").display()))
                    .arg(format!("--storage.tsdb.path={}", directory.file("data").display()))
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .arg("--log.level=error"),
                &directory,
            )
            .unwrap()
        };
        let mut process = spawn(port);
        let scrapes = || {
            // Another process took the port first.
            if process.exited().is_some() {
                port = free_port();
                process = spawn(port);
            }
            let up = format!("up{{instance=\"{}\"}} == 1", site.envoy.admin());
            let up = get(port, &format!("/api/v1/query?query={}", up.replace(' ', "%20").replace('=', "%3D")));
            up.is_some_and(|answer| answer["data"]["result"].as_array().is_some_and(|series| series.len() == 1))
        };
        assert!(eventually(Duration::from_secs(20), scrapes));
        Self { _process: process, port, _directory: directory }
    }

    /// Every series of the filter, with all labels except those of the target.
    fn series(&self) -> BTreeSet<BTreeMap<String, String>> {
        let answer = get(self.port, "/api/v1/series?match[]=%7B__name__=~%22jwks_gate.*%22%7D").unwrap_or_default();
        let mut series: Vec<BTreeMap<String, String>> =
            serde_json::from_value(answer["data"].clone()).unwrap_or_default();
        for labels in &mut series {
            labels.retain(|label, _| label != "instance" && label != "job");
        }
        series.into_iter().collect()
    }

    /// The alerts that are firing.
    fn firing(&self) -> BTreeSet<String> {
        let alerts = get(self.port, "/api/v1/alerts").unwrap_or_default();
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

/// Sends requests and records when each alert first fires.
struct Watch<'a> {
    site: &'a Site,
    prometheus: &'a Prometheus,
}

impl Watch<'_> {
    /// Watches until all `wanted` alerts fire, for at most `most`. Returns when each alert first fired.
    fn until(&self, wanted: &[&str], most: Duration, token: impl Fn() -> String) -> BTreeMap<String, Duration> {
        let begin = Instant::now();
        let mut fired = BTreeMap::new();
        while begin.elapsed() < most && !wanted.iter().all(|name| fired.contains_key(*name)) {
            for _ in 0..5 {
                let _ = http::send(self.site.envoy.addr(), &Request::get("/api/x").bearer(&token()));
            }
            let now = begin.elapsed();
            for name in self.prometheus.firing() {
                fired.entry(name).or_insert(now);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        fired
    }
}

#[test]
fn alerts_fire_when_things_go_wrong_and_only_then() {
    let site = Plan::new()
        .bootstrap(with_labels)
        .rotation("min_ttl", "1s")
        .rotation("max_ttl", "4s")
        .rotation("max_stale", "20s")
        .rotation("unknown_kid_min_interval", "1s")
        .rotation("unknown_kid_max_wait", "1s")
        .start_warm();
    let prometheus = Prometheus::start("prometheus", &site);
    let watch = Watch { site: &site, prometheus: &prometheus };

    // Rotations with and without notice. The tokens stay good.
    let begin = Instant::now();
    for rotation in [Rotation::Overlap, Rotation::Hard, Rotation::Overlap] {
        site.issuer.rotate(rotation);
        let fired = watch.until(&["none"], Duration::from_secs(4), || site.issuer.token());
        assert!(fired.is_empty(), "in a clean rotation: {fired:?}");
    }
    let rotations = crate::metrics::scrape(&site.envoy).get("jwks_gate_provider_rotations{provider=\"p\"}").copied();
    assert_eq!(rotations, Some(3.0));
    println!("nothing fired in three rotations within {:.1} s", begin.elapsed().as_secs_f64());

    // A failed rotation: tokens are signed by an unpublished key.
    let fired =
        watch.until(&["JwksGateRefusalsAfterRotation"], Duration::from_secs(30), || site.token_of_unknown_key());
    println!("tokens of an unpublished key: {fired:.1?}");
    assert!(fired.contains_key("JwksGateRefusalsAfterRotation"), "{fired:?}");
    let ends = || !prometheus.firing().contains("JwksGateRefusalsAfterRotation");
    assert!(eventually(Duration::from_secs(20), || {
        let _ = site.get(&site.issuer.token());
        ends()
    }));

    // The issuer goes down.
    site.issuer.stop();
    let wanted = ["JwksGateFetchesFail", "JwksGateKeysStale", "JwksGateKeysNearlyUnusable", "JwksGateNoKeys"];
    let fired = watch.until(&wanted, Duration::from_secs(60), || site.issuer.token());
    println!("the issuer is down: {fired:.1?}");
    assert!(wanted.iter().all(|name| fired.contains_key(*name)), "{fired:?}");
    assert!(fired["JwksGateKeysStale"] <= fired["JwksGateKeysNearlyUnusable"], "{fired:?}");
    assert!(fired["JwksGateKeysNearlyUnusable"] < fired["JwksGateNoKeys"], "warned before it was too late: {fired:?}");

    site.issuer.resume();
    assert!(
        eventually(Duration::from_secs(60), || {
            let _ = site.get(&site.issuer.token());
            prometheus.firing().is_empty()
        }),
        "{:?}",
        prometheus.firing()
    );
}

/// Limits stats to those that Istio's proxies expose by default (pkg/bootstrap/config.go). The pattern `wasm` includes
/// the filter's stats.
fn with_istios_default_stats(bootstrap: Bootstrap) -> Bootstrap {
    let shown = ["reporter=", "cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm", "component"];
    let patterns: Vec<_> = shown.iter().map(|prefix| json!({ "prefix": prefix })).collect();
    bootstrap.top_level("stats_config", json!({"stats_matcher": {"inclusion_list": {"patterns": patterns}}}))
}

#[test]
fn relabelling_gives_the_same_labels_as_envoys_tags() {
    // A provider name that contains words of the series' names.
    const PROVIDER: &str = "keys_of_requests_provider_1";
    for stat_prefix in ["", "edge_gate_1"] {
        let [(_tags, tags), (_relabels, relabels)] =
            [("prometheus", with_labels as fn(_) -> _), ("relabel", with_istios_default_stats)].map(
                |(config, adjust)| {
                    let mut plan = Plan::new().bootstrap(adjust).top("stat_prefix", json!(stat_prefix));
                    let provider = plan.config["providers"]["p"].take();
                    plan.config["providers"] = json!({ PROVIDER: provider });
                    plan.config["rules"][0]["requires"] = json!({ "provider_name": PROVIDER });
                    let site = plan.fault(Fault::Status(500), Times::Next(1)).start();
                    let token = site.issuer.token();
                    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
                    // Both requests share one fetch.
                    let unknown = site.token_of_unknown_key();
                    assert_eq!(site.get_at_once(2, |_| unknown.clone()), [(401, 2)]);
                    assert_eq!(site.get(&unknown).status, 401);
                    let prometheus = Prometheus::start(config, &site);
                    (site, prometheus)
                },
            );
        let of_providers = |prometheus: &Prometheus| -> BTreeSet<_> {
            let series = prometheus.series().into_iter();
            // The first fetch failed. Another may fail by chance, at one of the two sites only.
            let is_failure = |labels: &BTreeMap<String, String>| {
                labels["__name__"] == "jwks_gate_provider_fetch_errors" && labels["outcome"] != "status"
            };
            let series = series.filter(|labels| !is_failure(labels));
            series.filter(|labels| labels["__name__"].starts_with("jwks_gate_provider_")).collect()
        };
        let is_there = |name: &str, series: &BTreeSet<BTreeMap<String, String>>| {
            series.iter().any(|labels| labels["__name__"] == format!("jwks_gate_provider_{name}"))
        };
        let last = [
            "cache_hits",
            "rotations",
            "in_configuration",
            "wait_ms_bucket",
            "fetch_ms_bucket",
            "keys_rotated_timestamp_seconds",
            "refreshes",
            "fetch_errors",
        ];
        let are_the_same = || {
            let [tags, relabels] = [&tags, &relabels].map(of_providers);
            tags == relabels && last.iter().all(|name| is_there(name, &tags))
        };
        assert!(
            eventually(Duration::from_secs(20), are_the_same),
            "{stat_prefix:?}: {:#?}\n{:#?}",
            of_providers(&tags),
            of_providers(&relabels)
        );
        let is_right = |labels: &BTreeMap<String, String>| {
            labels["provider"] == PROVIDER && labels.get("stat_prefix").map_or("", String::as_str) == stat_prefix
        };
        assert!(of_providers(&tags).iter().all(is_right));
    }
}
