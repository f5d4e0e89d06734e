//! The manifests for Envoy Gateway and for waypoints, as far as an Envoy alone can show: the configuration of the filter, the
//! cluster that it names, and the route that matches no request.

use std::process::Command;

use jwks_gate::policy::provider::Source;
use jwks_gate_issuer::{Echo, Issuer, Options};
use jwks_gate_testbed::{
    envoy_path,
    http::{self, Request},
    Bootstrap, Directory, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

use crate::docs::{read, yaml};

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

/// URI and cluster of the only provider.
fn source(config: &Value) -> (String, String) {
    let plan = jwks_gate::config::parse(config.to_string().as_bytes()).unwrap();
    let Source::Uri(uri) = &plan.remotes().next().unwrap().1.source else { panic!("{config}") };
    let provider = &config["providers"]["example"]["remote_jwks"]["http_uri"];
    (provider["uri"].as_str().unwrap().to_owned(), uri.cluster.clone())
}

/// The route that a proxy makes of the rule of an HTTPRoute, with an answer of its own.
fn never(route: &Value) -> Value {
    let header = &route["spec"]["rules"][0]["matches"][0]["headers"][0];
    assert_eq!(header["type"], "RegularExpression");
    json!({
        "match": {"prefix": "/", "headers": [
            {"name": header["name"], "string_match": {"safe_regex": {"regex": header["value"]}}},
        ]},
        "direct_response": {"status": 418},
    })
}

/// Runs the configuration with a cluster of the name that it has, and the route that matches no request.
fn run(config: &Value, cluster: &str, route: &Value) {
    let issuer =
        Issuer::start(Options { issuer: "https://issuer.example.com".to_owned(), ..Options::default() }).unwrap();
    let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let routes = json!([never(route), {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]);
    let table = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]});
    let bootstrap = Bootstrap::new(echo.addr(), config)
        .cluster(cluster, issuer.addr())
        .connection_manager_option("route_config", table);
    let envoy = Envoy::start(&bootstrap.yaml(), EnvoyOptions::default()).unwrap();
    let status = |request: &Request| http::send(envoy.addr(), request).unwrap().status;
    let good = Request::get("/api/x").bearer(&issuer.token());
    assert_eq!((status(&good), status(&Request::get("/api/x"))), (200, 401));
    let name = route["spec"]["rules"][0]["matches"][0]["headers"][0]["name"].as_str().unwrap();
    for value in ["", "a", "a^", "^", "aa", "ba", " "] {
        assert_eq!(status(&good.clone().header(name, value)), 200, "{value:?} matches the route");
    }
}

#[test]
fn envoy_gateways_manifests_fit_together() {
    let documents = yaml(&read("envoy/gateway/envoyextensionpolicy.yaml"));
    let policy = &of_kind(&documents, "EnvoyExtensionPolicy")["spec"];
    let (route, backend) = (of_kind(&documents, "HTTPRoute"), of_kind(&documents, "Backend"));
    let wasm = &policy["wasm"][0];
    assert_ne!(wasm["failOpen"], true);
    let (uri, cluster) = source(&wasm["config"]);
    let metadata = |field: &str| route["metadata"][field].as_str().unwrap();
    assert_eq!(cluster, format!("httproute/{}/{}/rule/0", metadata("namespace"), metadata("name")));
    assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["name"], backend["metadata"]["name"]);
    assert_eq!(route["spec"]["parentRefs"][0]["name"], policy["targetRefs"][0]["name"]);
    let host = backend["spec"]["endpoints"][0]["fqdn"]["hostname"].as_str().unwrap();
    assert_eq!(backend["spec"]["tls"]["sni"], host);
    assert!(uri.starts_with(&format!("https://{host}/")), "{uri}");
    // The variable that the policy names is the variable that the EnvoyProxy sets.
    let proxy = yaml(&read("envoy/gateway/envoyproxy.yaml")).remove(0);
    let container = &proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"];
    assert_eq!(container["env"][0]["name"], wasm["env"]["hostKeys"][0]);
    run(&wasm["config"], &cluster, route);
}

#[test]
fn the_patched_cluster_is_valid() {
    let policy = yaml(&read("envoy/gateway/envoypatchpolicy.yaml")).remove(0);
    let patch = &policy["spec"]["jsonPatches"][0];
    assert_eq!((&patch["operation"]["op"], &patch["operation"]["path"]), (&json!("add"), &json!("")));
    let cluster = &patch["operation"]["value"];
    assert_eq!(patch["name"], cluster["name"]);
    let directory = Directory::create().unwrap();
    let validate = |cluster: &Value| {
        let path = directory.file("bootstrap.json");
        std::fs::write(&path, json!({"static_resources": {"clusters": [cluster]}}).to_string()).unwrap();
        let mut command = Command::new(envoy_path());
        let output = command.args(["--mode", "validate", "-c"]).arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_valid, log) = validate(cluster);
    assert!(is_valid, "{log}");
    let mut bad = cluster.clone();
    bad["transport_socket"]["typed_config"]["common_tls_context"]["validation"] = json!({});
    assert!(!validate(&bad).0);
}

#[test]
fn the_waypoints_manifests_fit_together() {
    let documents = yaml(&read("envoy/istio/waypoint.yaml"));
    let plugin = &of_kind(&documents, "WasmPlugin")["spec"];
    assert!(plugin["selector"].is_null() && plugin["targetRefs"][0]["kind"] == "Gateway");
    let (_, cluster) = source(&plugin["pluginConfig"]);
    let (route, entry) = (of_kind(&documents, "HTTPRoute"), of_kind(&documents, "ServiceEntry"));
    let (host, port) = (entry["spec"]["hosts"][0].as_str().unwrap(), &entry["spec"]["ports"][0]["number"]);
    assert_eq!(cluster, format!("outbound|{port}||{host}"));
    let backend = &route["spec"]["rules"][0]["backendRefs"][0];
    assert_eq!((&backend["kind"], &backend["name"], &backend["port"]), (&json!("Hostname"), &json!(host), port));
    // All other requests go to the Service whose route this is.
    let rest = &route["spec"]["rules"][1];
    assert!(rest["matches"].is_null() && rest["backendRefs"][0]["name"] == route["spec"]["parentRefs"][0]["name"]);
    // The parts that a gateway has too are the same.
    let gateway = yaml(&read("envoy/istio/wasmplugin.yaml")).remove(0);
    assert_eq!(plugin["pluginConfig"], gateway["spec"]["pluginConfig"]);
    let same = yaml(&read("envoy/istio/serviceentry.yaml"));
    for kind in ["ServiceEntry", "DestinationRule"] {
        assert_eq!(of_kind(&documents, kind)["spec"], of_kind(&same, kind)["spec"]);
    }
    run(&plugin["pluginConfig"], &cluster, route);
}
