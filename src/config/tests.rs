mod claim_rules;
mod claims;
mod issuers;
mod secrets;
mod seed;
mod sources;
mod spelling;

use std::time::Duration;

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use serde_json::{json, Value};

use super::{parse, protobuf::tests::encode};
use crate::{
    crypto::Hash,
    ids::ProviderId,
    keys::Algorithm,
    policy::provider::{KeySource, Source},
    rotation::policy::MaxStale,
    token::{claim_rules::ClaimValue, claims::ClaimName},
};

fn minimal() -> Value {
    json!({
        "providers": {"p": {
            "issuer": "https://issuer.test",
            "remote_jwks": {"http_uri": {"uri": "https://issuer.test/jwks?a=b", "cluster": "c", "timeout": "1s"}}
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]
    })
}

fn rejection(config: &Value) -> String {
    parse(config.to_string().as_bytes()).expect_err("accepted").to_string()
}

/// The error for `minimal()` with the member at `pointer`'s parent set to `value`.
fn rejection_with(pointer: &str, value: Value) -> String {
    let mut config = minimal();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[member] = value;
    rejection(&config)
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let plan = parse(minimal().to_string().as_bytes()).unwrap();
    let KeySource::Remote(remote) = &plan.providers[ProviderId::new(0)].keys else { panic!("not remote") };
    assert_eq!(remote.rotation.cache_duration, Duration::from_secs(600));
    assert_eq!(remote.rotation.max_stale, MaxStale::For(Duration::from_secs(3600)));
    assert_eq!(
        (remote.rotation.min_ttl, remote.rotation.max_ttl),
        (Duration::from_secs(30), Duration::from_secs(86_400))
    );
    assert_eq!((remote.rotation.refresh_ahead, remote.rotation.retired_key_grace), (None, Duration::ZERO));
    assert_eq!((remote.rotation.limits.max_document_bytes, remote.rotation.limits.max_keys), (1 << 20, 1000));
    assert!(remote.rotation.honor_cache_headers);
    assert_eq!(remote.rotation.unknown_kid_min_interval, Duration::from_secs(10));
    assert_eq!(remote.rotation.unknown_kid_max_wait, Duration::from_secs(10));
    assert!(matches!(&remote.source, Source::Uri(uri) if uri.path == "/jwks?a=b"));
    assert_eq!(plan.max_parked_requests, 1024);
}

#[test]
fn every_error_names_its_field() {
    let uri = "providers.p.remote_jwks.http_uri";
    let cases = [
        ("/providers/p/remote_jwks/http_uri/clutser", json!("c"), format!("{uri}.clutser: unknown field `clutser`")),
        ("/providers/p/remote_jwks/http_uri/cluster", json!(""), format!("{uri}.cluster: must name")),
        ("/providers/p/remote_jwks/http_uri/cluster", json!(7), format!("{uri}.cluster: invalid type")),
        ("/providers/p/remote_jwks/http_uri/uri", json!("ftp://h/"), format!("{uri}.uri: must begin with")),
        ("/providers/p/remote_jwks/http_uri/uri", json!("http:///jwks"), format!("{uri}.uri: must name a host")),
        ("/providers/p/remote_jwks/http_uri/uri", json!("http://a@h/"), format!("{uri}.uri: must name a host")),
        (
            "/providers/p/remote_jwks/http_uri/uri",
            json!("http://h/\r\nx: y"),
            format!("{uri}.uri: must contain only printable"),
        ),
        ("/providers/p/remote_jwks/http_uri/timeout", json!("5"), format!("{uri}.timeout: must be a duration")),
        (
            "/providers/p/remote_jwks/http_uri/timeout",
            json!(5),
            format!("{uri}.timeout: invalid type: integer `5`, expected a duration"),
        ),
        ("/providers/p/algorithms", json!(["RS256", "none"]), "providers.p.algorithms[1]: \"none\" is not".into()),
        ("/providers/p/algorithms", json!(["HS256"]), "providers.p.algorithms[0]: HS256 requires a secret".into()),
        ("/providers/p/algorithms", json!([]), "providers.p.algorithms: must not be empty".into()),
        ("/providers/p/types", json!([" "]), "providers.p.types[0]: must not be empty".into()),
        ("/providers/p/required_scopes", json!([""]), "providers.p.required_scopes[0]: must not be empty".into()),
        ("/providers/p/required_scopes", json!(["a b"]), "providers.p.required_scopes[0]: must be one scope".into()),
        (
            "/providers/p/required_claims",
            json!([{"claim": "a..b"}]),
            "providers.p.required_claims[0].claim: must be the name of a claim".into(),
        ),
        (
            "/providers/p/required_claims",
            json!([{"claim": "a", "equals": {}}]),
            "providers.p.required_claims[0].equals: must be".into(),
        ),
        (
            "/providers/p/required_claims",
            json!([{"claim": "a", "equals": 1, "contains": 1}]),
            "providers.p.required_claims[0]: expected at most one of equals, contains, one_of, matches, equals_header; found".into(),
        ),
        (
            "/providers/p/subjects",
            json!({"exact": "a", "prefix": "a"}),
            "providers.p.subjects: expected exactly one of exact, prefix, suffix, contains, safe_regex; found exact, prefix".into(),
        ),
        ("/providers/p/subjects", json!({}), "providers.p.subjects: expected exactly one of exact, prefix, suffix, contains, safe_regex; found none".into()),
        (
            "/providers/p/subjects",
            json!({"safe_regex": {"regex": "("}}),
            "providers.p.subjects.safe_regex.regex: ".into(),
        ),
        ("/providers/p/max_lifetime", json!("0s"), "providers.p.max_lifetime: must be from".into()),
        (
            "/providers/p/jwt_cache_config",
            json!({"jwt_cache_size": 100_001}),
            "providers.p.jwt_cache_config.jwt_cache_size: must be at most".into(),
        ),
        ("/providers/p/remote_jwks/http_uri/timeout", json!("0s"), format!("{uri}.timeout: must be from")),
        (
            "/providers/p/remote_jwks/cache_duration",
            json!("-1s"),
            "providers.p.remote_jwks.cache_duration: must not be negative".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"unknown_kid_max_wait": "0s"}),
            "providers.p.remote_jwks.rotation.unknown_kid_max_wait: must be from".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"typo": "1s"}),
            "providers.p.remote_jwks.rotation.typo: unknown field `typo`".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"min_ttl": "2s", "max_ttl": "1s"}),
            "providers.p.remote_jwks.rotation.min_ttl: must not be longer".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"max_stale": "forever"}),
            "providers.p.remote_jwks.rotation.max_stale: must be a duration in seconds such as".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"retired_key_grace": "86401s"}),
            "providers.p.remote_jwks.rotation.retired_key_grace: must be from 0s to 86400s".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"revoked_keys": ["a", ""]}),
            "providers.p.remote_jwks.rotation.revoked_keys[1]: must not be empty".into(),
        ),
        (
            "/providers/p/remote_jwks/rotation",
            json!({"max_keys": 0}),
            "providers.p.remote_jwks.rotation.max_keys: must be from 1 to".into(),
        ),
        ("/max_parked_requests", json!(100_001), "max_parked_requests: must be at most".into()),
        ("/shared_data_secret", json!(1_234_567), "shared_data_secret: invalid type: a number, expected a string".into()),
        ("/shared_data_secret", json!("fifteen bytes!!"), "shared_data_secret: must have at least 16 bytes".into()),
        ("/max_token_bytes", json!(1023), "max_token_bytes: must be from 1024 to 8388608".into()),
        ("/providers/p/remote_jwks", Value::Null, "providers.p: expected exactly one of remote_jwks, local_jwks; found none".into()),
        (
            "/providers/p/local_jwks",
            json!({"inline_string": "{}"}),
            "providers.p: expected exactly one of remote_jwks, local_jwks; found remote_jwks, local_jwks".into(),
        ),
        ("/providers/p/audiences", json!(7), "providers.p.audiences: invalid type".into()),
        ("/providers/p/audiences", json!([""]), "providers.p.audiences[0]: must not be empty".into()),
        (
            "/providers/p/from_headers",
            json!([{"name": "a b"}]),
            "providers.p.from_headers[0].name: \"a b\" is not a header".into(),
        ),
        ("/providers/p/from_headers", json!([{"name": ":path"}]), "providers.p.from_headers[0].name".into()),
        (
            "/rules/0/requires",
            json!({"provider_name": "q"}),
            "rules[0].requires.provider_name: unknown provider \"q\"".into(),
        ),
        ("/rules/0/requires", json!({"provider_name": "p", "allow_missing": {}}), "rules[0].requires: expected at most one of provider_name, provider_and_audiences".into()),
        ("/rules/0/match", json!({}), "rules[0].match: expected exactly one of prefix, path, path_separated_prefix, safe_regex, connect_matcher; found none".into()),
        ("/rules/0/match", json!({"prefix": "/", "path": "/"}), "rules[0].match: expected exactly one of prefix, path, path_separated_prefix, safe_regex, connect_matcher; found prefix, path".into()),
        ("/providers/p/payload_in_metadata", json!("jwks_gate"), "providers.p.payload_in_metadata: ".into()),
        ("/providers/p/payload_in_metadata", json!("jwks_gate.x"), "providers.p.payload_in_metadata: ".into()),
        ("/providers/p/local_jwks", json!({"filename": "x"}), "providers.p: expected exactly one of remote_jwks, local_jwks; found remote_jwks, local_jwks".into()),
        ("/rules/0/match", json!({"prefix": "/", "grpc": {}}), "rules[0].match.grpc: not supported: jwt_authn ignores this field".into()),
        (
            "/rules/0/match",
            json!({"prefix": "/", "headers": [{"name": "a b"}]}),
            "rules[0].match.headers[0].name".into(),
        ),
        (
            "/rules/0/match",
            json!({"path_separated_prefix": "/a/"}),
            "rules[0].match.path_separated_prefix: must not end with a slash".into(),
        ),
        ("/filter_state_rules", json!({}), "filter_state_rules: Wasm filters cannot read".into()),
        ("/mode", json!("shadow"), "mode: invalid type: string \"shadow\", expected \"enforce\"".into()),
        ("/resource_metadata", json!("http://x"), "resource_metadata: must be an https URI".into()),
        ("/stat_prefix", json!("a b"), "stat_prefix: must contain only".into()),
        ("/rules/0/requires", json!({"requires_any": {"requirements": []}}), "rules[0].requires.requires_any.requirements: must contain at least two".into()),
        ("/rulez", json!([]), "rulez: unknown field `rulez`".into()),
    ];
    for (pointer, value, expected) in cases {
        let message = rejection_with(pointer, value);
        assert!(message.starts_with(&expected), "{pointer}: {message}");
    }
}

#[test]
fn a_struct_means_what_its_json_means() {
    let json = minimal();
    let plans = [json.to_string().into_bytes(), encode(&json)].map(|bytes| parse(&bytes).unwrap());
    assert_eq!(format!("{:?}", plans[0]), format!("{:?}", plans[1]));
    let mut wrong = json;
    wrong["providers"]["p"]["remote_jwks"]["http_uri"]["timeout"] = json!("5");
    assert_eq!(parse(&encode(&wrong)).unwrap_err().to_string(), rejection(&wrong));
}

#[test]
fn what_is_not_one_json_object_is_rejected() {
    for bad in ["", "null", "[]", "{", "{} {}", "7"] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let empty = parse(b"").unwrap_err().to_string();
    assert_eq!(empty, "configuration: empty; expected a JSON object or a google.protobuf.Struct");
    // A message of another type, in its binary form.
    let other = parse(b"\n\x0f\n\x01p\x12\x0a\n\x08issuer.x").unwrap_err().to_string();
    assert!(other.starts_with("configuration: neither a JSON object nor a google.protobuf.Struct"), "{other}");
    let twice = r#"{"providers":{"p":{"local_jwks":{"inline_string":""}},"p":{}}}"#;
    assert!(parse(twice.as_bytes()).unwrap_err().to_string().contains("duplicate field \"p\""));
}

#[test]
fn local_keys_that_cannot_be_used_are_skipped() {
    let with = |jwks: &str| json!({"providers": {"p": {"issuer": "i", "local_jwks": {"inline_string": jwks}}}});
    let ec = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let oaep = r#"{"kty":"RSA","use":"enc","alg":"RSA-OAEP","n":"","e":"AQAB"}"#;
    let path = "providers.p.local_jwks.inline_string: ";
    let set = |keys: &[&str]| with(&format!("{{\"keys\":[{}]}}", keys.join(",")));
    let warnings = |json: &Value| parse(json.to_string().as_bytes()).unwrap().warnings;
    let skips = |json: &Value| -> Vec<_> {
        warnings(json).iter().filter_map(|warning| Some(warning.strip_prefix(path)?.to_owned())).collect()
    };
    assert!(skips(&set(&[ec])).is_empty());
    let expected = ["keys[0] is skipped: not for verifying", "keys[2] is skipped: unsupported type"];
    assert_eq!(skips(&set(&[oaep, ec, r#"{"kty":"AKP"}"#])), expected);
    let many = skips(&set(&[&["{}"; 40][..], &[ec]].concat()));
    assert_eq!((many.len(), many[16].as_str()), (17, "and 24 more keys are skipped"));
    let rsa = |n| format!(r#"{{"kty":"RSA","kid":"{n}","e":"AQAB","n":"{}{n:05}w"}}"#, "_".repeat(336));
    let untried = skips(&set(&(0..257).map(rsa).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(matches!(&untried[..], [one] if one.starts_with("257 keys fit ")), "{untried:?}");

    assert_eq!(rejection(&with("nonsense")), format!("{path}not a JSON Web Key Set"));
    let none = "no usable key in it; keys[0] is skipped: malformed; keys[1] is skipped: not for verifying";
    assert_eq!(rejection(&set(&["{}", oaep])), format!("{path}{none}"));
    assert_eq!(rejection(&set(&[])), format!("{path}no usable key in it"));
    let private = r#"{"kty":"EC","crv":"P-256","d":"AA"}"#;
    assert_eq!(rejection(&set(&[ec, private])), format!("{path}keys[1] is not usable: private key published"));
}

#[test]
fn local_keys_may_be_certificates() {
    let certificate = include_str!("../keys/document/pem/rsa-certificate.pem");
    let with =
        |text: Value| json!({"providers": {"p": {"local_jwks": {"inline_string": json!({"k": text}).to_string()}}}});
    let plan = parse(with(json!(certificate)).to_string().as_bytes()).unwrap();
    let KeySource::Local(keys) = &plan.providers[ProviderId::new(0)].keys else { panic!("not local") };
    assert_eq!((keys.len(), keys.published().next().unwrap().kid()), (1, Some("k")));
    let private = certificate.replace("CERTIFICATE", "PRIVATE KEY");
    assert!(rejection(&with(json!(private))).ends_with("not a JSON Web Key Set"));
}

#[test]
fn the_token_policy_is_read() {
    let mut json = minimal();
    let wire = json!({
        "algorithms": ["ES256", "Ed25519"], "types": ["application/AT+JWT"], "require_expiration": true,
        "max_lifetime": "60s", "clock_skew_seconds": 5, "subjects": {"suffix": "@A", "ignore_case": true},
        "required_claims": [{"claim": "a.b", "equals": "x"}, {"claim": "c", "contains": 7}, {"claim": "d"}],
        "required_scopes": ["read"], "jwt_cache_config": {"jwt_cache_size": 7},
    });
    for (field, value) in wire.as_object().unwrap() {
        json["providers"]["p"][field] = value.clone();
    }
    for bytes in [json.to_string().into_bytes(), encode(&json)] {
        let plan = parse(&bytes).unwrap();
        let provider = &plan.providers[ProviderId::new(0)];
        let rules = &provider.policies[0];
        assert_eq!(rules.algorithms, [Algorithm::Es(Hash::Sha256), Algorithm::EdDsa]);
        assert_eq!((&rules.types[..], rules.require_expiration), (&["at+jwt".to_owned()][..], true));
        assert_eq!((rules.max_lifetime, rules.clock_skew), (Some(Duration::from_secs(60)), Duration::from_secs(5)));
        assert_eq!(rules.subjects.as_ref().unwrap().matches("me@a"), Ok(true));
        let values: Vec<_> = rules.claims.iter().map(|rule| (rule.name.clone(), rule.value.clone())).collect();
        let expected = [ClaimValue::Equals(json!("x")), ClaimValue::Contains(json!(7)), ClaimValue::Any];
        let names = ["a.b", "c", "d"].map(|name| ClaimName::Dotted(name.to_owned()));
        assert_eq!(format!("{values:?}"), format!("{:?}", names.into_iter().zip(expected).collect::<Vec<_>>()));
        assert_eq!(rules.scopes, ["read"]);
        assert_eq!((provider.cache.entries, provider.cache.max_token_bytes), (7, 4096));
    }
}

#[test]
fn secret_keys_must_be_local_and_their_algorithms_listed() {
    let key = json!({"keys": [{"kty": "oct", "k": BASE64.encode([7; 32])}]}).to_string();
    let config = |algorithms: Option<Value>| {
        let mut provider = json!({"local_jwks": {"inline_string": key}});
        if let Some(algorithms) = algorithms {
            provider["algorithms"] = algorithms;
        }
        parse(json!({"providers": {"p": provider}}).to_string().as_bytes())
    };
    assert!(config(Some(json!(["HS256"]))).is_ok());
    for algorithms in [None, Some(json!(["RS256"]))] {
        let error = config(algorithms).unwrap_err().to_string();
        assert!(error.starts_with("providers.p.algorithms: must list the HS algorithms"), "{error}");
    }
}

#[test]
fn valid_but_risky_configurations_cause_warnings() {
    let warnings = parse(minimal().to_string().as_bytes()).unwrap().warnings;
    assert!(matches!(&warnings[..], [one] if one.starts_with("shared_data_secret: not set")), "{warnings:?}");
    let with_secret = || {
        let mut json = minimal();
        json["shared_data_secret"] = json!("a secret of some length");
        json
    };
    assert!(parse(with_secret().to_string().as_bytes()).unwrap().warnings.is_empty());
    let mut json = with_secret();
    json["rules"] = json!([]);
    json["providers"]["p"]["issuer"] = json!("");
    let warnings = parse(json.to_string().as_bytes()).unwrap().warnings;
    assert!(warnings[0].contains("providers.p.issuer") && warnings[1].contains("rules"), "{warnings:?}");
    let mut json = with_secret();
    json["providers"]["p"]["remote_jwks"]["rotation"] = json!({"unknown_kid_max_wait": "5s"});
    let warnings = parse(json.to_string().as_bytes()).unwrap().warnings;
    assert!(matches!(&warnings[..], [one] if one.contains("rotation.unknown_kid_max_wait: shorter")), "{warnings:?}");
}
