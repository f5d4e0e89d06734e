//! `remote_jwks`: headers, mirrors and discovery.

use serde_json::{json, Value};

use super::{encode, minimal, parse, rejection, rejection_with};
use crate::{
    ids::ProviderId,
    policy::{
        discovery::Discovery,
        provider::{Remote, Source},
    },
};

fn remote(remote_jwks: Value) -> Remote {
    let mut config = minimal();
    config["providers"]["p"]["remote_jwks"] = remote_jwks;
    parse(config.to_string().as_bytes()).unwrap().remote(ProviderId::new(0)).unwrap().clone()
}

fn uri(uri: &str, timeout: &str) -> Value {
    json!({"uri": uri, "cluster": "c", "timeout": timeout})
}

fn discovered(fields: Value) -> Discovery {
    let mut discovery = uri("https://i:8443/meta", "2s");
    discovery.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    match remote(json!({ "discovery": discovery })).source {
        Source::Discovery(discovery) => *discovery,
        Source::Uri(uri) => panic!("{uri}"),
    }
}

#[test]
fn a_bad_source_is_rejected_with_the_field() {
    let http_uri = || uri("https://i/jwks", "1s");
    let header = |key: &str, value: &str| json!([{"key": "x", "value": "x"}, {"key": key, "value": value}]);
    let with = |name: &str, value: Value| json!({"http_uri": http_uri(), name: value});
    let long = "x".repeat(8193);
    let mut cases = vec![
        (json!({}), "http_uri.cluster: must name an Envoy cluster"),
        (with("mirrors", json!([http_uri(), uri("ftp://i", "1s")])), "mirrors[1].uri: must begin with"),
        (with("mirrors", json!([{"uri": "http://m", "cluster": "c"}])), "mirrors[0].timeout: must be set"),
        (
            with("mirrors", json!([http_uri(), http_uri(), http_uri(), http_uri(), http_uri()])),
            "mirrors: must be at most 4",
        ),
        (json!({"http_uri": uri("http://i", "3600s"), "mirrors": [http_uri()]}), "the timeouts of all requests"),
        (json!({"discovery": uri("http://i", "1801s")}), "the timeouts of all requests"),
        (json!({"discovery": {"uri": "http://i", "timeout": "1s"}}), "discovery.cluster: must name an Envoy cluster"),
        (json!({"discovery": uri("i", "1s")}), "discovery.uri: must begin with"),
        (with("discovery", uri("i", "1s")), "discovery.uri: must begin with"),
        (
            with("request_headers", json!(vec![json!({"key": "x", "value": "x"}); 17])),
            "request_headers: must be at most 16",
        ),
        (with("request_headers", header("X", "y")), "request_headers[1].key: must not repeat"),
        (with("request_headers", header("host", "y")), "request_headers[1].key: host cannot be set"),
        (with("request_headers", header("If-None-Match", "y")), "request_headers[1].key: if-none-match cannot be set"),
        (with("request_headers", header("k", "")), "request_headers[1].value: must have"),
        (with("request_headers", header("k", "a\r\nhost: b")), "request_headers[1].value: must have"),
        (with("request_headers", header("k", "a\0")), "request_headers[1].value: must have"),
        (with("request_headers", header("k", " a")), "request_headers[1].value: must have"),
        (with("request_headers", header("k", &long)), "request_headers[1].value: must have"),
    ];
    for name in ["", ":path", "a b", "a\n", "ü", &long] {
        cases.push((with("request_headers", header(name, "y")), "request_headers[1].key: must be the name"));
    }
    for fixed in ["connection", "content-length", "transfer-encoding", "if-modified-since", "range", "accept-encoding"]
    {
        cases.push((with("request_headers", header(fixed, "y")), "request_headers[1].key: "));
    }
    for (value, expected) in cases {
        let error = rejection_with("/providers/p/remote_jwks", value);
        let at = if expected.starts_with("the ") { ": " } else { "." };
        assert!(error.starts_with(&format!("providers.p.remote_jwks{at}{expected}")), "{error}");
    }
    for (field, value, expected) in [
        ("ttl", "0s", "must be from 1s to 86400s"),
        ("ttl", "86401s", "must be from 1s to 86400s"),
        ("jwks_host", "https://i", "must be a host"),
        ("jwks_host", "a@i", "must be a host"),
        ("jwks_host", "i/", "must be a host"),
        ("jwks_host", "i#", "must be a host"),
        ("jwks_host", "i j", "must be a host"),
    ] {
        let mut discovery = uri("https://i/meta", "1s");
        discovery[field] = json!(value);
        let error = rejection_with("/providers/p/remote_jwks", json!({ "discovery": discovery }));
        assert!(error.starts_with(&format!("providers.p.remote_jwks.discovery.{field}: {expected}")), "{error}");
    }
}

#[test]
fn discovery_needs_an_issuer_and_gives_way_to_http_uri() {
    let mut config = minimal();
    config["providers"]["p"]["remote_jwks"]["discovery"] = uri("https://i/meta", "2s");
    let plan = parse(config.to_string().as_bytes()).unwrap();
    let warning = "providers.p.remote_jwks.discovery: not used, since http_uri is set";
    assert!(plan.warnings.iter().any(|known| known == warning), "{:?}", plan.warnings);
    assert!(matches!(&plan.remote(ProviderId::new(0)).unwrap().source, Source::Uri(_)));
    config["providers"]["p"].as_object_mut().unwrap().remove("issuer");
    let error = rejection(&config);
    assert!(error.starts_with("providers.p.remote_jwks.discovery: requires the issuer"), "{error}");
}

#[test]
fn the_defaults_of_discovery_are_those_of_its_uri() {
    let Discovery { metadata, issuer, jwks_cluster, jwks_host, ttl } = discovered(json!({}));
    assert_eq!(
        (metadata.to_string().as_str(), issuer.as_str()),
        ("https://i:8443/meta by cluster \"c\"", "https://issuer.test")
    );
    assert_eq!((jwks_cluster.as_str(), jwks_host.as_str(), ttl.as_secs()), ("c", "i:8443", 3600));
    let other = discovered(json!({"jwksCluster": "k", "jwksHost": "[::1]:80", "ttl": "1s"}));
    assert_eq!((other.jwks_cluster.as_str(), other.jwks_host.as_str(), other.ttl.as_secs()), ("k", "[::1]:80", 1));
}

#[test]
fn the_time_of_a_fetch_is_that_of_all_its_requests() {
    for (remote_jwks, seconds) in [
        (json!({"http_uri": uri("http://i", "2s")}), 2),
        (json!({"http_uri": uri("http://i", "2s"), "mirrors": [uri("http://m", "3s"), uri("http://n", "4s")]}), 9),
        (json!({"discovery": uri("http://i", "2s"), "mirrors": [uri("http://m", "3s")]}), 7),
    ] {
        assert_eq!(remote(remote_jwks).rotation.fetch_timeout.as_secs(), seconds);
    }
}

/// Two configurations that may get other keys, or that ask with other credentials, share nothing.
#[test]
fn each_source_has_a_key_set_of_its_own() {
    let http_uri = || uri("http://i", "2s");
    let header = |key: &str, value: &str| json!([{"key": key, "value": value}]);
    let discovery = |fields: Value| {
        let mut discovery = uri("http://i", "2s");
        discovery.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "discovery": discovery })
    };
    let sources = [
        json!({"http_uri": http_uri()}),
        json!({"http_uri": http_uri(), "request_headers": header("a", "b")}),
        json!({"http_uri": http_uri(), "request_headers": header("a", "c")}),
        json!({"http_uri": http_uri(), "request_headers": header("ab", "c")}),
        json!({"http_uri": http_uri(), "mirrors": [uri("http://m", "2s")]}),
        json!({"http_uri": http_uri(), "mirrors": [uri("http://n", "2s")]}),
        json!({"http_uri": http_uri(), "mirrors": [uri("http://n", "2s"), uri("http://m", "2s")]}),
        json!({"http_uri": http_uri(), "mirrors": [uri("http://m", "2s"), uri("http://n", "2s")]}),
        discovery(json!({})),
        discovery(json!({"jwks_host": "j"})),
        discovery(json!({"jwks_cluster": "d"})),
        json!({"http_uri": http_uri(), "rotation": {"empty_set": "revoke"}}),
        json!({"http_uri": http_uri(), "rotation": {"max_keys": 7}}),
        json!({"http_uri": http_uri(), "rotation": {"max_document_bytes": 5000}}),
    ];
    let identities: std::collections::BTreeSet<_> =
        sources.iter().cloned().map(|wire| remote(wire).identity()).collect();
    assert_eq!(identities.len(), sources.len());
    let longer = json!({"http_uri": uri("http://i", "3s"), "mirrors": [uri("http://m", "9s")]});
    assert!(identities.contains(&remote(longer).identity()), "timeouts make no difference");
    let terms =
        json!({"http_uri": http_uri(), "rotation": {"max_stale": "5s", "revoked_keys": ["k"], "empty_set": "keep"}});
    assert!(identities.contains(&remote(terms).identity()), "terms of the provider make no difference");
    assert!(identities.contains(&remote(discovery(json!({"ttl": "5s"}))).identity()));
}

/// Whatever is given for a header, and in whatever form: no error and no debug form repeats the value.
#[test]
fn no_error_repeats_the_value_of_a_header() {
    let (secret, number) = ("T0pSecretApiKey", 7_261_538_490_u64);
    let mut seen = 0;
    for headers in [
        json!(secret),
        json!([secret]),
        json!({"x-api-key": secret}),
        json!({secret: secret}),
        json!([{secret: null}]),
        json!([{"key": secret}]),
        json!([{"key": format!("x: {secret}"), "value": "y"}]),
        json!([{"key": "x", "value": [secret]}]),
        json!([{"key": "x", "value": number}]),
        json!([{"key": "x", "value": {"inline_string": secret}}]),
        json!([{"key": "x", "value": format!("{secret}\n")}]),
        json!([{"key": "host", "value": secret}]),
        json!([{"key": "x", "value": secret, secret: 1}]),
        json!([{"key": "x", "value": secret}, {"key": "X", "value": secret}]),
    ] {
        let mut config = minimal();
        config["providers"]["p"]["remote_jwks"]["request_headers"] = headers.clone();
        for form in [config.to_string().into_bytes(), encode(&config)] {
            let text = match parse(&form) {
                Ok(plan) => format!("{plan:?}"),
                Err(error) => error.to_string(),
            };
            assert!(!text.contains(secret) && !text.contains(&number.to_string()), "{headers}: {text}");
            seen += 1;
        }
    }
    let mut good = minimal();
    good["providers"]["p"]["remote_jwks"]["request_headers"] = json!({"key": "Authorization", "value": secret});
    let plan = parse(good.to_string().as_bytes()).unwrap();
    assert!(!format!("{plan:?} {:?}", plan.warnings).contains(secret) && seen == 28);
}
