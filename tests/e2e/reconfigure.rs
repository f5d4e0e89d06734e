//! Configuration changes while Envoy runs, and plugins that share data. As under Istio, the `vm_id` is empty and each
//! plugin has a different name.

use std::{cell::Cell, io::Write, net::TcpStream, time::Duration};

use jwks_gate_issuer::{Alg, Fault, Issuer, Options, Rotation, Times};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    wasm_filter, Watched,
};
use serde_json::{json, Value};

use crate::setup::{remote, Plan, Site};

/// A file that Envoy watches for the filter's configuration (ECDS), with the content that istiod generates for a
/// WasmPlugin: the configuration as a JSON string, no `vm_id`, and the resource's version in the environment. The
/// version makes Envoy create a new VM for each change.
struct Discovery {
    file: Watched,
    failure_policy: &'static str,
    version: Cell<u32>,
    /// Whether each change creates a new VM, as under Istio.
    new_vm_per_change: bool,
}

/// istiod's name: `extensions.istio.io/wasmplugin/<namespace>.<name>`.
const RESOURCE: &str = "extensions.istio.io/wasmplugin/istio-system.jwks-gate";

impl Discovery {
    fn new(failure_policy: &'static str, config: &Value) -> Self {
        let file = Watched::create(&resource(failure_policy, 1, true, config)).unwrap();
        Self { file, failure_policy, version: Cell::new(1), new_vm_per_change: true }
    }

    fn publish(&self, config: &Value) {
        self.version.set(self.version.get() + 1);
        self.file.publish(&resource(self.failure_policy, self.version.get(), self.new_vm_per_change, config)).unwrap();
    }

    fn filter(&self) -> Value {
        self.file.filter(RESOURCE)
    }
}

fn resource(failure_policy: &str, version: u32, new_vm_per_change: bool, config: &Value) -> Value {
    let mut resource = wasm_filter(config);
    resource["name"] = json!(RESOURCE);
    let plugin = &mut resource["typed_config"]["config"];
    plugin["name"] = json!("istio-system.jwks-gate");
    plugin["root_id"] = json!("jwks-gate");
    plugin["failure_policy"] = json!(failure_policy);
    if new_vm_per_change {
        plugin["vm_config"]["environment_variables"] =
            json!({"key_values": {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": version.to_string()}});
    }
    resource["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    resource
}

fn updates(site: &Site, outcome: &str) -> u64 {
    site.envoy.stat(&format!("extension_config_discovery.http_filter.{RESOURCE}.{outcome}"))
}

/// The configuration of the documented plugin, with the test issuer's addresses.
fn documented(plan: &Plan) -> Value {
    let text = crate::docs::read("envoy/istio/wasmplugin.yaml");
    let plugin: Value = serde_yaml_ng::from_str(&text).unwrap();
    let mut config = plugin["spec"]["pluginConfig"].clone();
    let mut provider = config["providers"]["example"].take();
    provider["issuer"] = json!(plan.issuer.issuer());
    provider["remote_jwks"]["http_uri"]["uri"] = json!(plan.issuer.jwks_uri());
    config["providers"] = json!({ "p": provider });
    config["rules"][0]["requires"]["provider_name"] = json!("p");
    config
}

/// An Envoy that discovers a [`documented`] configuration.
fn start(failure_policy: &'static str, plan: Plan, config: &Value) -> (Discovery, Site) {
    let discovery = Discovery::new(failure_policy, config);
    let issuer = plan.issuer.addr();
    let cluster = config["providers"]["p"]["remote_jwks"]["http_uri"]["cluster"].as_str().unwrap().to_owned();
    let site = plan.cluster(&cluster, issuer).filters(vec![discovery.filter()]).start_with_vms(None);
    (discovery, site)
}

#[test]
fn a_new_configuration_keeps_the_keys_and_an_invalid_one_changes_nothing() {
    updates_keep_the_keys_or_are_rejected("FAIL_RELOAD");
}

#[test]
fn a_new_configuration_keeps_the_keys_under_fail_closed_too() {
    updates_keep_the_keys_or_are_rejected("FAIL_CLOSED");
}

fn updates_keep_the_keys_or_are_rejected(failure_policy: &'static str) {
    let plan = Plan::new();
    let mut config = documented(&plan);
    let (discovery, site) = start(failure_policy, plan, &config);
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(5), || site.get(&token).status == 200));
    assert_eq!((site.gets(), updates(&site, "config_reload")), (1, 1));

    config["providers"]["p"]["forward"] = json!(true);
    config["providers"]["p"]["remote_jwks"]["rotation"]["retired_key_grace"] = json!("30s");
    discovery.publish(&config);
    let forwarded = || site.get(&token).json()["headers"]["authorization"].is_array();
    assert!(eventually(Duration::from_secs(5), forwarded));
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert_eq!(site.gets(), 1, "the new configuration keeps the keys");

    let good = config.clone();
    config["providers"]["p"]["remote_jwks"]["rotation"]["max_stale"] = json!("forever");
    discovery.publish(&config);
    assert!(
        eventually(Duration::from_secs(5), || updates(&site, "config_fail") + updates(&site, "update_rejected") > 0)
    );
    assert!(site.envoy.log().contains("providers.p.remote_jwks.rotation.max_stale: must be a duration"));
    assert!(forwarded());
    site.issuer.rotate(Rotation::Hard);
    let new = site.issuer.token();
    assert_eq!(site.get_at_once(20, |i| if i % 2 == 0 { &token } else { &new }.clone()), [(200, 20)]);
    assert_eq!(site.gets(), 2);

    // Another JWKS URI means another record.
    let mut elsewhere = good;
    let uri = format!("{}?elsewhere", site.issuer.jwks_uri());
    elsewhere["providers"]["p"]["remote_jwks"]["http_uri"]["uri"] = json!(uri);
    discovery.publish(&elsewhere);
    assert!(eventually(Duration::from_secs(5), || site.gets() == 3));
    assert!(eventually(Duration::from_secs(5), || site.get(&new).status == 200));
    assert!(!site.envoy.log().contains("panicked"));
}

/// Workers open what other workers sealed, and a configuration with a new secret starts with a record of its own.
#[test]
fn workers_share_keys_under_a_secret_and_a_new_secret_costs_one_fetch() {
    let (first, second) = ("the first secret of this plugin", "the second secret of this plugin");
    let plan = Plan::new();
    let mut config = documented(&plan);
    config["shared_data_secret"] = json!(first);
    let (discovery, site) = start("FAIL_RELOAD", plan, &config);
    let old = site.issuer.token();
    assert!(eventually(Duration::from_secs(5), || site.get(&old).status == 200));
    site.issuer.rotate(Rotation::Hard);
    let new = site.issuer.token();
    assert_eq!(site.get_at_once(50, |_| new.clone()), [(200, 50)]);
    assert_eq!(site.gets(), 2, "one fetch for all workers");

    config["shared_data_secret"] = json!(second);
    discovery.publish(&config);
    assert!(eventually(Duration::from_secs(5), || updates(&site, "config_reload") == 2));
    assert_eq!(site.get_at_once(50, |_| new.clone()), [(200, 50)]);
    assert!(eventually(Duration::from_secs(5), || site.gets() == 3), "one fetch for the new secret");
    assert_eq!(site.get(&old).status, 401);
    assert_eq!(site.settled("shared_data_rejected"), 0);
    let log = site.envoy.log();
    assert!(!log.contains(first) && !log.contains(second) && !log.contains("panicked"));
}

/// Without a secret the log tells what that means.
#[test]
fn a_configuration_without_a_secret_is_warned_of() {
    let warning = "shared_data_secret: not set; any Wasm plugin with the same vm_id can inject keys";
    assert!(Plan::new().start().envoy.log().contains(warning));
    let site = Plan::new().top("shared_data_secret", "a secret of this plugin").start_warm();
    assert!(!site.envoy.log().contains(warning));
    site.assert_healthy();
}

#[test]
fn a_configuration_removed_during_its_fetch_releases_the_lease() {
    let plan = Plan::new().timeout("20s").fault(Fault::Hang, Times::Always);
    let mut config = plan.config.clone();
    let discovery = Discovery::new("FAIL_RELOAD", &config);
    let site = plan.filters(vec![discovery.filter()]).start_with_vms(None);
    assert!(eventually(Duration::from_secs(5), || site.gets() == 1));
    config["max_parked_requests"] = json!(100);
    discovery.publish(&config);
    assert!(eventually(Duration::from_secs(5), || updates(&site, "config_reload") == 2));
    // The lease of the cancelled fetch would last for twenty seconds more.
    assert!(eventually(Duration::from_secs(8), || site.gets() == 2), "the first fetch was cancelled");
    let line = "JWKS fetch abandoned: its configuration ended";
    assert!(eventually(Duration::from_secs(5), || site.envoy.log().contains(line)), "{}", site.envoy.log());
    assert!(!site.envoy.log().contains("JWKS accepted") && !site.envoy.log().contains("in a row"));
    site.issuer.heal();
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert!(!site.envoy.log().contains("panicked"));
}

/// Requests wait for a slow first fetch, and the configuration changes meanwhile. Returns how many fetches ended with the first
/// configuration.
fn fetches_abandoned_while_requests_wait() -> usize {
    let plan = Plan::new().timeout("10s").fault(Fault::Delay(Duration::from_secs(4)), Times::Always);
    let mut config = plan.config.clone();
    let discovery = Discovery::new("FAIL_RELOAD", &config);
    let site = plan.filters(vec![discovery.filter()]).start_with_vms(None);
    assert!(eventually(Duration::from_secs(5), || site.gets() == 1));
    let token = site.issuer.token();
    let answers = std::thread::scope(|scope| {
        let answers = scope.spawn(|| site.get_at_once(20, |_| token.clone()));
        std::thread::sleep(Duration::from_millis(1_500));
        config["max_parked_requests"] = json!(100);
        discovery.publish(&config);
        answers.join().unwrap()
    });
    assert_eq!(answers, [(200, 20)], "{}", site.envoy.log());
    let abandoned = site.envoy.log().matches("JWKS fetch abandoned").count();
    assert_eq!(site.gets(), 1 + abandoned as u64, "{}", site.envoy.log());
    abandoned
}

#[test]
fn a_configuration_removed_during_its_fetch_denies_nobody() {
    // A worker with waiting requests ends when it has answered them. The main thread's worker, which mostly begins the fetch, has
    // none.
    let abandoned = (0..5).map(|_| fetches_abandoned_while_requests_wait()).find(|abandoned| *abandoned > 0);
    assert_eq!(abandoned, Some(1));
}

#[test]
fn plugins_that_share_a_namespace_do_not_read_each_others_keys() {
    let other = Issuer::start(Options { alg: Alg::Es256, ..Options::default() }).unwrap();
    let plan = Plan::new();
    // Both issuers have the same name, so only the plugins' names and addresses differ.
    let config = |issuer: &Issuer, cluster: &str, prefix: &str, header: &str| {
        let mut provider = remote(issuer, cluster);
        provider["from_headers"] = json!([{ "name": header }]);
        let filter = json!({
            "providers": {"p": provider},
            "rules": [{"match": {"prefix": prefix}, "requires": {"provider_name": "p"}}],
        });
        let mut filter = wasm_filter(&filter);
        filter["name"] = json!(header);
        filter["typed_config"]["config"]["name"] = json!(header);
        filter["typed_config"]["config"]["root_id"] = json!(header);
        filter
    };
    let filters = vec![config(&plan.issuer, "issuer", "/one/", "x-one"), config(&other, "other", "/two/", "x-two")];
    let site = plan.cluster("other", other.addr()).filters(filters).start_with_vms(None);
    let (mine, theirs) = (site.issuer.token(), other.token());
    let status = |path: &str, header: &str, token: &str| site.send(&Request::get(path).header(header, token)).status;
    for _ in 0..8 {
        assert_eq!((status("/one/", "x-one", &mine), status("/two/", "x-two", &theirs)), (200, 200));
        assert_eq!((status("/one/", "x-one", &theirs), status("/two/", "x-two", &mine)), (401, 401));
    }
    assert!(!site.envoy.log().contains("panicked"));
}

/// A configuration ends when its last stream has ended or its listener has drained. Until then, both configurations
/// run.
#[test]
fn the_newest_configuration_sets_the_gauges() {
    let plan = Plan::new().bootstrap(crate::metrics::with_labels);
    let old = plan.issuer.current().kid.clone();
    plan.issuer.rotate(Rotation::Overlap);
    let mut config = plan.config.clone();
    let discovery = Discovery::new("FAIL_RELOAD", &config);
    let site = plan.filters(vec![discovery.filter()]).start_with_vms(None);
    let keys = || crate::metrics::scrape(&site.envoy).get("jwks_gate_provider_keys{provider=\"p\"}").copied();
    assert!(eventually(Duration::from_secs(5), || keys() == Some(2.0)));

    // The request's body never ends.
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(site.envoy.addr()).unwrap();
        let token = site.issuer.token();
        write!(stream, "POST /api/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n")
            .unwrap();
        streams.push(stream);
    }
    let is_open = || site.envoy.stat("http.test.downstream_rq_active") >= 8;
    assert!(eventually(Duration::from_secs(5), is_open));
    config["providers"]["p"]["remote_jwks"]["rotation"]["revoked_keys"] = json!([old]);
    discovery.publish(&config);
    assert!(eventually(Duration::from_secs(5), || keys() == Some(1.0)));
    // An old configuration may have been about to set the gauges.
    std::thread::sleep(Duration::from_millis(1200));
    for _ in 0..30 {
        assert_eq!(keys(), Some(1.0));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(is_open());
    assert_eq!(site.envoy.log().matches("is revoked; it verifies nothing").count(), 1, "{}", site.envoy.log());
}

/// Two configurations run at a time where two listeners have the plugin.
#[test]
fn configurations_with_different_providers_each_set_their_gauges() {
    let plan = Plan::new().bootstrap(crate::metrics::with_labels);
    let mut other = plan.config.clone();
    other["providers"] = json!({ "q": other["providers"]["p"].take() });
    other["rules"] = json!([]);
    let filters = vec![wasm_filter(&plan.config), wasm_filter(&other)];
    let site = plan.filters(filters).start_with_vms(None);
    let age = |provider: &str| {
        let series = format!("jwks_gate_provider_keys_fetched_timestamp_seconds{{provider=\"{provider}\"}}");
        let fetched = crate::metrics::scrape(&site.envoy).get(&series).copied().filter(|time| *time > 0.0);
        fetched.map_or(-1.0, |fetched| crate::metrics::unix_seconds() - fetched)
    };
    assert!(eventually(Duration::from_secs(10), || age("p") >= 3.0 && age("q") >= 3.0), "{} {}", age("p"), age("q"));
}

/// Stats stay in Envoy as long as the VM. Without an update, the last value would keep an alert firing.
#[test]
fn a_removed_provider_leaves_no_stale_gauges() {
    for new_vm_per_change in [true, false] {
        let plan = Plan::new().bootstrap(crate::metrics::with_labels).fault(Fault::Status(500), Times::Always);
        let with = plan.config.clone();
        let mut without = with.clone();
        without["providers"] = json!({ "q": without["providers"]["p"].take() });
        without["rules"] = json!([]);
        let discovery = Discovery { new_vm_per_change, ..Discovery::new("FAIL_RELOAD", &with) };
        discovery.publish(&with);
        let site = plan.filters(vec![discovery.filter()]).start_with_vms(None);
        let gauges = |provider: &str| {
            let values = crate::metrics::scrape(&site.envoy);
            ["in_configuration", "fetch_failures_in_a_row"].map(|gauge| {
                values.get(&format!("jwks_gate_provider_{gauge}{{provider=\"{provider}\"}}")).copied().unwrap_or(-1.0)
            })
        };
        let fails =
            |provider| matches!(gauges(provider), [configured, failures] if configured == 1.0 && failures >= 1.0);
        // Envoy removes the stats with their VM.
        let removed = if new_vm_per_change { [-1.0, -1.0] } else { [0.0, 0.0] };
        let within = Duration::from_secs(5);
        assert!(eventually(within, || fails("p")), "{:?}", gauges("p"));
        discovery.publish(&without);
        assert!(eventually(within, || gauges("p") == removed && fails("q")), "{:?} {:?}", gauges("p"), gauges("q"));
        discovery.publish(&with);
        assert!(eventually(within, || fails("p") && gauges("q") == removed), "{:?} {:?}", gauges("p"), gauges("q"));
        // Publishes the same configuration again. The old VM ends, but the provider stays configured.
        discovery.publish(&with);
        for _ in 0..100 {
            assert!(fails("p"), "{:?}", gauges("p"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A new configuration costs neither shared data nor memory for good. Each update revokes another key, so that no two
/// configurations are equal.
/// The turns that the event loops of all threads take in two seconds.
fn turns_while_idle(site: &Site) -> u64 {
    let turns = || {
        let stats = http::send(site.envoy.admin(), &Request::get("/stats/prometheus")).unwrap().text();
        let counts = stats.lines().filter(|line| line.contains("dispatcher_loop_duration_us_count"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    std::thread::sleep(Duration::from_secs(1));
    let before = turns();
    assert!(before > 0);
    std::thread::sleep(Duration::from_secs(2));
    turns() - before
}

#[test]
fn two_hundred_configuration_changes_leave_nothing_behind() {
    let plan = Plan::new();
    let mut config = plan.config.clone();
    let discovery = Discovery { new_vm_per_change: false, ..Discovery::new("FAIL_RELOAD", &config) };
    discovery.publish(&config);
    let plan = plan.filters(vec![discovery.filter()]).bootstrap(|bootstrap| {
        bootstrap.top_level("enable_dispatcher_stats", json!(true)).top_level("stats_flush_interval", json!("0.2s"))
    });
    let site = plan.start_with_vms(None);
    assert!(eventually(Duration::from_secs(5), || site.get(&site.issuer.token()).status == 200));
    let idle_before = turns_while_idle(&site);
    let mut update = |number: usize| {
        config["providers"]["p"]["remote_jwks"]["rotation"]["revoked_keys"] = json!([format!("key-{number}")]);
        let before = updates(&site, "config_reload");
        discovery.publish(&config);
        assert!(eventually(Duration::from_secs(5), || updates(&site, "config_reload") > before), "{number}");
    };
    (0..50).for_each(&mut update);
    let before = site.envoy.rss() / 1024;
    (50..200).for_each(&mut update);
    let after = site.envoy.rss() / 1024;
    println!("resident: {before} KiB after 50 updates, {after} KiB after 200");
    assert!(after < before + 8 * 1024, "{before} KiB, {after} KiB");
    // A timer of each configuration that is gone would be 400 turns.
    let idle_after = turns_while_idle(&site);
    assert!(idle_after < idle_before + 100, "{idle_before} turns of the event loops, {idle_after} after 200 updates");
    assert_eq!((site.gets(), site.get(&site.issuer.token()).status), (1, 200));
    assert!(!site.envoy.log().contains("panicked"));
}
