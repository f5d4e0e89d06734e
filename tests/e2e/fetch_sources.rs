//! Where keys come from: headers of a fetch, mirrors, and the issuer's metadata.

use std::time::{Duration, Instant};

use jwks_gate_issuer::{Alg, Issuer, Rotation};
use jwks_gate_testbed::{eventually, http, http::Request, Envoy, EnvoyOptions};
use serde_json::{json, Value};

use crate::setup::{issuer_with, Plan, Site};

const SECRET: &str = "T0pSecretApiKey";

fn remote_jwks(plan: &mut Plan) -> &mut Value {
    &mut plan.config["providers"]["p"]["remote_jwks"]
}

/// With fields of `rotation` that let the issuer be asked often.
fn with(mut plan: Plan, field: &str, value: Value) -> Plan {
    let remote_jwks = remote_jwks(&mut plan);
    remote_jwks[field] = value;
    remote_jwks["rotation"] = json!({"unknown_kid_min_interval": "0.2s", "second_look": "0s", "min_ttl": "1s"});
    plan
}

fn with_header(plan: Plan, value: &str) -> Plan {
    plan.issuer.demand(&[("x-api-key", SECRET), ("user-agent", "me/1")]);
    with(plan, "request_headers", json!([{"key": "X-Api-Key", "value": value}, {"key": "User-Agent", "value": "me/1"}]))
}

#[test]
fn an_issuer_that_demands_a_header_is_fetched() {
    let site = with_header(Plan::new(), SECRET).start_warm();
    site.issuer.rotate(Rotation::Hard);
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(8, |_| token.clone()), [(200, 8)]);
    site.assert_healthy();
}

/// Envoy itself logs each request's headers at the levels debug and trace, under `router` and `http`; the filter's own lines,
/// and what the host says of the filter, are under `wasm`.
#[test]
fn the_value_of_a_header_is_in_no_line_of_the_filter_and_in_no_answer() {
    for value in [SECRET, "T0pSecretButWrong"] {
        let plan = with_header(Plan::new(), value);
        let options = EnvoyOptions { log_level: "trace".to_owned(), ..EnvoyOptions::default() };
        let envoy = Envoy::start(&plan.yaml(), options).unwrap();
        let expected = if value == SECRET { 200 } else { 503 };
        let request = Request::get("/api/x").bearer(&plan.issuer.token());
        let response = http::send(envoy.addr(), &request).unwrap();
        assert_eq!(response.status, expected);
        let headers: Vec<_> = response.headers.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
        let answer = format!("{headers:?} {}", response.text());
        assert!(!answer.contains("T0pSecret"), "{answer}");
        let end = if value == SECRET { "JWKS accepted" } else { "answered 403" };
        assert!(eventually(Duration::from_secs(5), || envoy.log().contains(end)));
        let log = envoy.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("][wasm]")).collect();
        assert!(lines.iter().any(|line| line.contains(end)), "{lines:#?}");
        assert!(lines.iter().all(|line| !line.contains("T0pSecret")), "{lines:#?}");
        let stats = http::send(envoy.admin(), &Request::get("/stats")).unwrap();
        assert!(!stats.text().contains("T0pSecret"));
    }
}

/// `jwt_authn` fetches once for each provider and worker. Providers of one source share a key set here, with terms of their own.
#[test]
fn providers_of_one_source_share_one_fetch_and_one_refresh() {
    let mut plan = Plan::new().rotation("second_look", "0s");
    let leaked = plan.issuer.current();
    let provider = |iss: &str, terms: Value| {
        let mut provider = plan.config["providers"]["p"].clone();
        provider["issuer"] = json!(iss);
        let rotation = provider["remote_jwks"]["rotation"].as_object_mut().unwrap();
        rotation.extend(terms.as_object().unwrap().clone());
        provider
    };
    let (a, b, revoking) = ("https://a.test", "https://b.test", "https://revoking.test");
    let others = [
        ("a", provider(a, json!({"max_stale": "5s", "unknown_kid_min_interval": "30s"}))),
        ("b", provider(b, json!({"retired_key_grace": "60s"}))),
        ("revoking", provider(revoking, json!({"revoked_keys": [leaked.kid]}))),
    ];
    let mut required = vec![json!({"provider_name": "p"})];
    for (name, provider) in others {
        plan.config["providers"][name] = provider;
        required.push(json!({"provider_name": name}));
    }
    plan.config["rules"][0]["requires"] = json!({"requires_any": {"requirements": required}});
    let site = plan.start_warm();
    let token = |iss: &str| {
        let mut claims = site.issuer.claims();
        claims["iss"] = json!(iss);
        site.issuer.current().mint(&claims)
    };
    let all = [site.issuer.issuer().to_owned(), a.to_owned(), b.to_owned()];
    let each = |tokens: &[String]| site.get_at_once(24, |number| tokens[number % tokens.len()].clone());
    let old = all.clone().map(|iss| token(&iss));
    assert_eq!(each(&old), [(200, 24)]);
    assert_eq!(site.get(&token(revoking)).status, 401);
    assert_eq!(site.gets(), 1, "one fetch for four providers and two workers");

    site.issuer.rotate(Rotation::Hard);
    let new = all.map(|iss| token(&iss));
    // Tokens of all providers wait for one refresh, whichever starts the refresh.
    assert_eq!(each(&new), [(200, 24)]);
    assert_eq!((site.get(&token(revoking)).status, site.gets()), (200, 2));
    // Only one of the providers grants a grace.
    let answers: Vec<_> = old.iter().map(|token| site.get(token).status).collect();
    assert_eq!((answers, site.gets()), (vec![401, 401, 200], 2));
    site.assert_no_vm_restarted();
}

/// A second server with the issuer's present keys.
fn mirror_of(issuer: &Issuer) -> Issuer {
    let mirror = issuer_with(Alg::Es256, Some(600));
    mirror.publish(issuer.jwks());
    mirror
}

fn mirrored(plan: Plan, mirror: &Issuer) -> Plan {
    let uris = json!([{"uri": mirror.jwks_uri(), "cluster": "mirror", "timeout": "2s"}]);
    with(plan, "mirrors", uris).cluster("mirror", mirror.addr())
}

fn fetch_errors(site: &Site, cause: &str) -> u64 {
    site.stat(&format!("provider.p.fetch_errors.{cause}"))
}

#[test]
fn while_the_issuer_is_down_the_first_token_passes_by_the_mirror() {
    let plan = Plan::new();
    let mirror = mirror_of(&plan.issuer);
    plan.issuer.stop();
    let site = mirrored(plan, &mirror).start();
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(8, |_| token.clone()), [(200, 8)]);
    assert_eq!(mirror.stats().jwks_requests, 1);
    assert!(site.envoy.log().contains("by cluster \"mirror\" answered"), "{}", site.envoy.log());
    assert!(eventually(Duration::from_secs(5), || fetch_errors(&site, "connect") >= 1));
    // A new key, of which the mirror hears too.
    site.issuer.rotate(Rotation::Hard);
    mirror.publish(site.issuer.jwks());
    assert_eq!(site.get(&site.issuer.token()).status, 200);
    // The issuer is back: the mirror is asked no more.
    site.issuer.resume();
    let asked = mirror.stats().jwks_requests;
    site.issuer.rotate(Rotation::Hard);
    let token = site.issuer.token();
    assert!(eventually(Duration::from_secs(5), || site.get(&token).status == 200));
    assert_eq!(mirror.stats().jwks_requests, asked);
    site.assert_healthy();
}

/// A mirror is trusted like the issuer; what the configuration revokes stays revoked.
#[test]
fn a_mirror_does_not_bring_back_a_revoked_key() {
    let plan = Plan::new();
    let mirror = mirror_of(&plan.issuer);
    plan.issuer.stop();
    let (kid, token) = (plan.issuer.current().kid.clone(), plan.issuer.token());
    let other = mirror.rotate(Rotation::Hard);
    let both: [Value; 2] = [plan.issuer.jwks(), mirror.jwks()].map(|jwks| serde_json::from_slice(&jwks).unwrap());
    mirror.publish(json!({"keys": [both[0]["keys"][0], both[1]["keys"][0]]}).to_string().into_bytes());
    let site = mirrored(plan, &mirror).rotation("revoked_keys", json!([kid])).start();
    let good = mirror.current().mint(&site.issuer.claims());
    assert_eq!((site.get(&good).status, site.get(&token).status), (200, 401), "{other}");
}

fn discovering(mut plan: Plan, ttl: &str) -> Plan {
    let discovery = json!({"uri": plan.issuer.metadata_uri(), "cluster": "issuer", "timeout": "2s", "ttl": ttl});
    remote_jwks(&mut plan).as_object_mut().unwrap().remove("http_uri");
    with(plan, "discovery", discovery)
}

#[test]
fn keys_are_discovered_and_rotate_within_the_wait_of_a_request() {
    let site = discovering(Plan::new(), "1s").start();
    let token = site.issuer.token();
    assert_eq!(site.get_at_once(8, |_| token.clone()), [(200, 8)]);
    assert_eq!((site.issuer.stats().metadata_requests, site.gets()), (1, 1));
    std::thread::sleep(Duration::from_millis(1100));
    site.issuer.rotate(Rotation::Hard);
    let (token, began) = (site.issuer.token(), Instant::now());
    assert_eq!(site.get_at_once(8, |_| token.clone()), [(200, 8)]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((site.issuer.stats().metadata_requests, site.gets()), (2, 2));
    site.assert_healthy();
}

/// Neither the URI of a document nor its issuer can send a request elsewhere.
#[test]
fn metadata_that_names_another_issuer_or_another_host_is_denied() {
    let evil = issuer_with(Alg::Es256, Some(600));
    for (issuer, jwks_uri, reason) in [
        ("https://issuer.test", evil.jwks_uri(), "the host of jwks_uri is \"127.0.0.1:"),
        (
            "https://issuer.test",
            "http://localhost/jwks".to_owned(),
            "the host of jwks_uri is \"localhost\", not \"127.0.0.1:",
        ),
        ("https://evil.test", evil.jwks_uri(), "issuer is \"https://evil.test\", not \"https://issuer.test\""),
    ] {
        let plan = discovering(Plan::new(), "60s").cluster("evil", evil.addr());
        plan.issuer.set_metadata(Some((200, json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string())));
        let site = plan.start();
        assert_eq!(site.get(&site.issuer.token()).status, 503);
        assert!(eventually(Duration::from_secs(5), || site.envoy.log().contains("metadata rejected: ")));
        assert!(site.envoy.log().contains(reason), "{}", site.envoy.log());
        assert!(eventually(Duration::from_secs(5), || fetch_errors(&site, "metadata") >= 1));
        assert_eq!((site.gets(), evil.stats().connections), (0, 0));
        // The issuer's own document heals that.
        site.issuer.set_metadata(None);
        assert!(eventually(Duration::from_secs(10), || site.get(&site.issuer.token()).status == 200));
    }
}

#[test]
fn a_jwks_that_moves_is_followed_and_metadata_that_fails_drops_no_keys() {
    let plan = discovering(Plan::with(issuer_with(Alg::Es256, Some(1))), "1s");
    let site = plan.start();
    let token = site.issuer.token();
    assert_eq!(site.get(&token).status, 200);
    // Metadata that fails, and metadata that lies.
    let evil = json!({"issuer": "https://evil.test", "jwks_uri": "http://localhost/jwks"}).to_string();
    for answer in [(500, String::new()), (200, evil)] {
        site.issuer.set_metadata(Some(answer));
        let (metadata, gets) = (site.issuer.stats().metadata_requests, site.gets());
        let is_read = || site.issuer.stats().metadata_requests > metadata + 1 && site.gets() > gets + 1;
        assert!(eventually(Duration::from_secs(20), is_read), "{:?}", site.issuer.stats());
        assert_eq!(site.get_at_once(8, |_| token.clone()), [(200, 8)]);
        // Not even a rotation is missed.
        site.issuer.rotate(Rotation::Overlap);
        assert_eq!(site.get(&site.issuer.token()).status, 200);
    }
    site.issuer.set_metadata(None);
    site.issuer.move_jwks("/moved");
    site.issuer.rotate(Rotation::Hard);
    let moved = site.issuer.token();
    assert_eq!(site.get_at_once(8, |_| moved.clone()), [(200, 8)]);
    site.assert_healthy();
}
