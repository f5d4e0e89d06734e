//! The two spellings of a field.

use super::*;

#[test]
fn both_spellings_mean_the_same() {
    let snake = json!({
        "providers": {"p": {
            "remote_jwks": {
                "http_uri": {"uri": "http://h:8080", "cluster": "c", "timeout": "0.5s"},
                "cache_duration": "60s",
                "rotation": {
                    "unknown_kid_min_interval": "3s", "unknown_kid_max_wait": "2s", "honor_cache_headers": false,
                    "min_ttl": "7s", "max_ttl": "70s", "refresh_ahead": "4s", "max_stale": "unbounded",
                    "retired_key_grace": "9s", "revoked_keys": ["k"], "max_document_bytes": 1000, "max_keys": 8
                }
            },
            "from_headers": [{"name": "X-JWT", "value_prefix": "T "}], "forward": true
        }},
        "rules": [{"match": {"path": "/x"}, "requires": {"provider_name": "p"}}],
        "max_parked_requests": 5
    });
    let camel = snake
        .to_string()
        .replace("honor_cache_headers", "honorCacheHeaders")
        .replace("min_ttl", "minTtl")
        .replace("max_ttl", "maxTtl")
        .replace("refresh_ahead", "refreshAhead")
        .replace("max_stale", "maxStale")
        .replace("retired_key_grace", "retiredKeyGrace")
        .replace("revoked_keys", "revokedKeys")
        .replace("max_document_bytes", "maxDocumentBytes")
        .replace("max_keys", "maxKeys")
        .replace("max_parked_requests", "maxParkedRequests")
        .replace("remote_jwks", "remoteJwks")
        .replace("http_uri", "httpUri")
        .replace("cache_duration", "cacheDuration")
        .replace("unknown_kid_min_interval", "unknownKidMinInterval")
        .replace("unknown_kid_max_wait", "unknownKidMaxWait")
        .replace("from_headers", "fromHeaders")
        .replace("value_prefix", "valuePrefix")
        .replace("provider_name", "providerName");
    let plans = [snake.to_string(), camel].map(|json| parse(json.as_bytes()).unwrap());
    assert_eq!(format!("{:?}", plans[0]), format!("{:?}", plans[1]));

    let provider = &plans[0].providers[ProviderId::new(0)];
    let KeySource::Remote(remote) = &provider.keys else { panic!("not remote") };
    assert!(matches!(&remote.source, Source::Uri(uri) if uri.to_string() == "http://h:8080/ by cluster \"c\""));
    assert_eq!(remote.rotation.fetch_timeout, Duration::from_millis(500));
    assert_eq!(remote.rotation.cache_duration, Duration::from_secs(60));
    assert_eq!(remote.rotation.unknown_kid_min_interval, Duration::from_secs(3));
    assert_eq!(remote.rotation.unknown_kid_max_wait, Duration::from_secs(2));
    assert_eq!((remote.rotation.min_ttl, remote.rotation.max_ttl), (Duration::from_secs(7), Duration::from_secs(70)));
    assert_eq!(remote.rotation.refresh_ahead, Some(Duration::from_secs(4)));
    assert_eq!((remote.rotation.max_stale, remote.rotation.honor_cache_headers), (MaxStale::Unbounded, false));
    assert_eq!(remote.rotation.retired_key_grace, Duration::from_secs(9));
    assert_eq!((remote.rotation.limits.max_document_bytes, remote.rotation.limits.max_keys), (1000, 8));
    assert!(remote.revoked.contains_name("k") && plans[0].max_parked_requests == 5);
    assert!(provider.forward.token && provider.issuers().is_any());
}
