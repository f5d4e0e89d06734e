//! Configurations that come and go while Envoy runs, and plugins that share its data. As under Istio, the `vm_id` is
//! empty and the plugins have names of their own.

use std::{fs, path::PathBuf, time::Duration};

use jwks_gate_issuer::{Alg, Fault, Issuer, Options, Rotation, Times};
use jwks_gate_testbed::{eventually, http::Request, wasm_filter};
use serde_json::{json, Value};

use crate::setup::{remote, Plan, Site};

/// A file that Envoy watches for the filter's configuration (ECDS).
struct Discovery {
    directory: PathBuf,
}

impl Discovery {
    fn new(name: &str, config: &Value) -> Self {
        let directory = std::env::temp_dir().join(format!("jwks-gate-ecds-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let discovery = Self { directory };
        discovery.publish(config);
        discovery
    }

    fn file(&self) -> PathBuf {
        self.directory.join("ecds.json")
    }

    fn publish(&self, config: &Value) {
        let mut resource = wasm_filter(config);
        resource["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
        let response = json!({ "resources": [resource] });
        // Envoy takes notice of what is moved into place.
        let new = self.directory.join("new.json");
        fs::write(&new, response.to_string()).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn filter(&self) -> Value {
        json!({
            "name": "jwks-gate",
            "config_discovery": {
                "config_source": {"path_config_source": {"path": self.file()}, "resource_api_version": "V3"},
                "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
            },
        })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn updates(site: &Site, outcome: &str) -> u64 {
    site.envoy.stat(&format!("extension_config_discovery.http_filter.jwks-gate.{outcome}"))
}

#[test]
fn a_new_configuration_takes_the_keys_over_and_a_bad_one_changes_nothing() {
    let plan = Plan::new();
    let mut config = plan.config.clone();
    let discovery = Discovery::new("take-over", &config);
    let site = plan.filters(vec![discovery.filter()]).start_with_vms(None);
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(5), || site.get(&token).status == 200));
    assert_eq!((site.gets(), updates(&site, "config_reload")), (1, 1));

    config["providers"]["p"]["forward"] = json!(true);
    config["providers"]["p"]["remote_jwks"]["rotation"]["retired_key_grace"] = json!("30s");
    discovery.publish(&config);
    let forwarded = || site.get(&token).json()["headers"]["authorization"].is_array();
    assert!(eventually(Duration::from_secs(5), forwarded));
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert_eq!(site.gets(), 1, "the keys are there already");

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

    // Another address of the keys is another record.
    let mut elsewhere = good;
    let uri = format!("{}?elsewhere", site.issuer.jwks_uri());
    elsewhere["providers"]["p"]["remote_jwks"]["http_uri"]["uri"] = json!(uri);
    discovery.publish(&elsewhere);
    assert!(eventually(Duration::from_secs(5), || site.gets() == 3));
    assert!(eventually(Duration::from_secs(5), || site.get(&new).status == 200));
    assert!(!site.envoy.log().contains("panicked"));
}

#[test]
fn a_configuration_that_goes_while_it_fetches_leaves_nobody_waiting_for_it() {
    let plan = Plan::new().timeout("20s").fault(Fault::Delay(Duration::from_millis(1000)), Times::Always);
    let mut config = plan.config.clone();
    let discovery = Discovery::new("abandon", &config);
    let site = plan.filters(vec![discovery.filter()]).start_with_vms(None);
    assert!(eventually(Duration::from_secs(5), || site.gets() == 1));
    config["max_parked_requests"] = json!(100);
    discovery.publish(&config);
    assert!(eventually(Duration::from_secs(5), || updates(&site, "config_reload") == 2));
    // The lease of the cancelled fetch would last for twenty seconds more.
    let token = site.issuer.token();
    let began = std::time::Instant::now();
    assert_eq!(site.get_at_once(20, |_| token.clone()), [(200, 20)]);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(site.gets(), 2, "one was cancelled");
    assert!(!site.envoy.log().contains("panicked"));
}

#[test]
fn two_plugins_that_share_the_namespace_never_read_each_others_keys() {
    let other = Issuer::start(Options { alg: Alg::Es256, ..Options::default() }).unwrap();
    let plan = Plan::new();
    // The same issuer by name, so that only the plugins' names and addresses tell them apart.
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
