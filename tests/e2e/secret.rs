//! The secret of shared data in the environment of the VM.

use std::time::Duration;

use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    wasm_filter, Bootstrap, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::setup::{Plan, Site};

const FIRST: &str = "the first secret of this plugin";
const SECOND: &str = "the second secret of this plugin";
const WARNING: &str = "shared_data_secret: not set";

/// The filter in a VM with this variable. `vm` tells VMs apart: Envoy gives filters with the same code, `vm_id` and VM
/// configuration one VM.
fn filter(config: &Value, vm: &str, variable: Option<&str>) -> Value {
    let mut filter = wasm_filter(config);
    let vm_config = &mut filter["typed_config"]["config"]["vm_config"];
    vm_config["configuration"] = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": vm});
    if let Some(secret) = variable {
        vm_config["environment_variables"] = json!({"key_values": {"JWKS_GATE_SHARED_DATA_SECRET": secret}});
    }
    filter
}

/// A site with two filters of one plugin, each in VMs of its own: one with the secret in its configuration, one with the
/// variable.
fn site(field: &str, variable: Option<&str>) -> Site {
    let plan = Plan::new();
    let mut with_field = plan.config.clone();
    with_field["shared_data_secret"] = json!(field);
    with_field["providers"]["p"]["forward"] = json!(true);
    let filters = vec![filter(&with_field, "a", None), filter(&plan.config, "b", variable)];
    let site = plan.filters(filters).start_with_vms(None);
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200), "{}", site.envoy.log());
    assert_eq!(site.get_at_once(50, |_| token.clone()), [(200, 50)]);
    let log = site.envoy.log();
    assert!(!log.contains(FIRST) && !log.contains(SECOND) && !log.contains("panicked"), "{log}");
    site
}

/// A filter opens what a filter with the same secret sealed, wherever the secret comes from.
#[test]
fn the_variable_is_the_secret() {
    let same = site(FIRST, Some(FIRST));
    assert_eq!(same.gets(), 1, "the filters share keys");
    assert_eq!(same.settled("shared_data_rejected"), 0);
    assert!(!same.envoy.log().contains(WARNING));

    let other = site(FIRST, Some(SECOND));
    assert_eq!(other.gets(), 2, "the filters share no keys");
    assert_eq!(other.settled("shared_data_rejected"), 0);
    assert!(!other.envoy.log().contains(WARNING));

    let without = site(FIRST, None);
    assert_eq!(without.gets(), 2, "a filter without a secret shares no keys with one that has a secret");
    assert!(without.envoy.log().contains(WARNING));
}

/// With `host_env_keys`, as under Istio with `valueFrom: HOST`, the config dump does not show the secret.
#[test]
fn the_variable_can_come_from_envoys_environment() {
    let plan = Plan::new();
    let mut filter = wasm_filter(&plan.config);
    filter["typed_config"]["config"]["vm_config"]["environment_variables"] =
        json!({"host_env_keys": ["JWKS_GATE_SHARED_DATA_SECRET"]});
    let bootstrap = Bootstrap::with_filter(plan.echo.addr(), filter).cluster("issuer", plan.issuer.addr());
    let start = |environment| {
        let options = EnvoyOptions { environment, ..EnvoyOptions::default() };
        Envoy::start(&bootstrap.yaml(), options).unwrap()
    };
    let envoy = start(vec![("JWKS_GATE_SHARED_DATA_SECRET".to_owned(), FIRST.to_owned())]);
    let request = Request::get("/api/x").bearer(&plan.issuer.token());
    assert!(eventually(Duration::from_secs(10), || http::send(envoy.addr(), &request).unwrap().status == 200));
    let dump = http::send(envoy.admin(), &Request::get("/config_dump")).unwrap().text();
    assert!(dump.contains("JWKS_GATE_SHARED_DATA_SECRET") && !dump.contains(FIRST));
    let log = envoy.log();
    assert!(!log.contains(WARNING) && !log.contains(FIRST), "{log}");
    assert!(start(Vec::new()).log().contains(WARNING));
}

#[test]
fn a_variable_that_is_too_short_is_rejected_by_name() {
    for short in ["", "fifteen letters"] {
        let plan = Plan::new();
        let filters = vec![filter(&plan.config, "", Some(short))];
        let log = plan.filters(filters).rejected();
        let line = "jwks-gate: configuration rejected: JWKS_GATE_SHARED_DATA_SECRET: must have at least 16 bytes";
        assert!(log.contains(line), "{log}");
        assert!(short.is_empty() || !log.contains(short), "{log}");
    }
}

/// Envoy gives filters with different environments different VMs, although the code, `vm_id` and VM configuration are the same.
#[test]
fn filters_with_different_variables_share_no_keys() {
    let plan = Plan::new();
    let mut first = plan.config.clone();
    first["providers"]["p"]["forward"] = json!(true);
    let filters = vec![filter(&first, "same", Some(FIRST)), filter(&plan.config, "same", Some(SECOND))];
    let site = plan.filters(filters).start_with_vms(None);
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200), "{}", site.envoy.log());
    assert_eq!(site.get_at_once(50, |_| token.clone()), [(200, 50)]);
    assert_eq!(site.gets(), 2);
}
