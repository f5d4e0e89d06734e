//! The metadata document of an issuer, and the URI of its JWKS. The input is a document, and also a URI.

use std::time::Duration;

use jwks_gate::{
    engine::Endpoint,
    policy::discovery::{Discovery, MetadataError},
};

use super::texts;

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"issuer":"https://issuer.test","jwks_uri":"https://issuer.test/jwks.json"}"#,
        r#"{"issuer":"https://issuer.test","jwks_uri":"HTTPS://Issuer.Test:443?x=1","other":[{"a":1}]}"#,
        r#"{"issuer":"https://other.test","jwks_uri":"https://issuer.test/"}"#,
        r#"{"issuer":"https://issuer.test"}"#,
        "https://issuer.test/jwks.json",
        "http://issuer.test:80/a/../b?c=%2e",
        "https://issuer.test:443@evil.test/",
        "https://issuer.test#@evil.test/",
    ])
}

fn discovery(scheme: &'static str) -> Discovery {
    let metadata = Endpoint {
        cluster: "metadata".into(),
        scheme,
        authority: "issuer.test".into(),
        path: "/.well-known/openid-configuration".into(),
        timeout: Duration::from_secs(1),
    };
    let (issuer, jwks_cluster, jwks_host) = ("https://issuer.test".into(), "jwks".into(), "issuer.test".into());
    Discovery { metadata, issuer, jwks_cluster, jwks_host, ttl: Duration::from_secs(3600) }
}

pub fn run(data: &[u8]) {
    for scheme in ["https", "http"] {
        let discovery = discovery(scheme);
        check(&discovery, discovery.jwks(data));
        if let Ok(uri) = std::str::from_utf8(data) {
            check(&discovery, discovery.jwks_at(uri));
            let document = serde_json::json!({ "issuer": discovery.issuer, "jwks_uri": uri }).to_string();
            if document.len() < 4096 {
                assert_eq!(discovery.jwks(document.as_bytes()), discovery.jwks_at(uri));
            }
        }
    }
}

fn check(discovery: &Discovery, found: Result<Endpoint, MetadataError>) {
    match found {
        Ok(endpoint) => {
            // Where the document may not lead to: another host, another cluster, no TLS.
            assert_eq!((endpoint.cluster.as_str(), endpoint.authority.as_str()), ("jwks", "issuer.test"));
            assert!(endpoint.scheme == "https" || discovery.metadata.scheme == "http");
            let path = &endpoint.path;
            assert!(path.starts_with('/') && path.len() <= 2049 && path.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!path.contains('#'));
            assert_eq!(discovery.jwks_at(&endpoint.uri()), Ok(endpoint));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 600 && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{text}");
        }
    }
}
