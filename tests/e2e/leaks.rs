//! The search for secrets, which the test bed makes for every Envoy, finds what there is to find.

use std::{
    panic::{catch_unwind, AssertUnwindSafe},
    time::Duration,
};

use jwks_gate_issuer::{Alg, Rotation, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    Envoy, EnvoyOptions,
};
use serde_json::json;

use crate::setup::{tampered, Plan, Site};

fn logged(format: &'static str, site: impl Fn(Plan) -> Plan) -> Site {
    let site = site(Plan::new()).bootstrap(match format {
        "token" => |bootstrap| bootstrap.access_log("LINE %REQ(AUTHORIZATION)%"),
        "part" => |bootstrap| bootstrap.access_log("LINE %REQ(AUTHORIZATION):200%"),
        _ => |bootstrap| bootstrap.access_log("LINE %REQ(:PATH)%"),
    });
    let site = site.start_warm();
    assert_eq!(site.get(&site.issuer.token()).status, 200);
    assert!(eventually(Duration::from_secs(5), || site.envoy.log().contains("LINE ")));
    site
}

#[test]
fn a_token_in_a_log_fails_the_test() {
    for format in ["token", "part"] {
        let Site { envoy, .. } = logged(format, |plan| plan.provider("forward", true));
        assert!(eventually(Duration::from_secs(5), || !envoy.leaks().is_empty()));
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(envoy)));
        assert!(dropped.is_err(), "the end of Envoy does not fail the test");
    }
    assert_eq!(logged("path", |plan| plan).envoy.leaks(), Vec::<String>::new());
}

#[test]
fn a_secret_of_the_configuration_in_a_log_fails_the_test() {
    // A name of a provider is in the log and in names of stats.
    let mut site = logged("path", |mut plan| {
        let config = &mut plan.config;
        config["providers"] =
            json!({ "hunter2-hunter2-and-more-than-the-length-of-two-windows": config["providers"]["p"].take() });
        config["rules"][0]["requires"]["provider_name"] =
            json!("hunter2-hunter2-and-more-than-the-length-of-two-windows");
        config["shared_data_secret"] = json!("hunter2-hunter2-and-more-than-the-length-of-two-windows");
        plan
    });
    let leaks = site.envoy.leaks();
    assert!(leaks.iter().any(|line| line.starts_with("wasmcustom.")), "{leaks:#?}");
    assert!(leaks.iter().any(|line| line.contains("][wasm]")), "{leaks:#?}");
    site.envoy.expect_leaks();
}

/// The trace names each call between the host and the filter. It is long, so the other tests do without.
#[test]
fn no_secret_is_in_the_trace_of_the_filter() {
    let plan = Plan::new().top("shared_data_secret", "a secret that no trace may show");
    let options = EnvoyOptions { component_log_level: "wasm:trace".to_owned(), ..EnvoyOptions::default() };
    let envoy = Envoy::start(&plan.yaml(), options).unwrap();
    let status = |token: &str| http::send(envoy.addr(), &Request::get("/api/x").bearer(token)).unwrap().status;
    let token = plan.issuer.token();
    assert!(eventually(Duration::from_secs(10), || status(&token) == 200));
    plan.issuer.rotate(Rotation::Hard);
    assert_eq!(status(&plan.issuer.token()), 200);
    assert_eq!(status(&SigningKey::generate(Alg::Es256, "nobody").mint(&plan.issuer.claims())), 401);
    assert_eq!(status(&tampered(&plan.issuer.token(), 2)), 401);
    assert!(envoy.log().contains("[host->vm] proxy_on_request_headers"), "no trace");
    assert_eq!(envoy.leaks(), Vec::<String>::new());
}

#[test]
fn a_claim_in_an_answer_fails_the_test() {
    const NAME: &str = "a-name-that-is-long-enough-to-be-searched-in-parts";
    let plan = Plan::new();
    let site = plan.bootstrap(|bootstrap| bootstrap.connection_manager_option("server_name", json!(NAME))).start_warm();
    assert_eq!(site.get("not a token").status, 401);
    let mut claims = site.issuer.claims();
    claims["sub"] = json!(NAME);
    assert_eq!(site.get(&site.issuer.current().mint(&claims)).status, 200);
    let addr = site.envoy.addr();
    let answered = catch_unwind(|| http::send(addr, &Request::get("/api/x").bearer("not a token")));
    assert!(answered.is_err(), "the answer does not fail the test");
}
