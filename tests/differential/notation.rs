//! One configuration in the notations that Envoy reads besides the canonical one.

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::Request;
use serde_json::{json, Value};

use crate::{document_server::serve, pair::Pair};

#[test]
fn a_configuration_may_be_written_in_all_notations_of_proto3_json() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let jwks = json!({"keys": [key.public_jwk()]}).to_string();
    let address = serve(vec![jwks.clone()]);
    let block = json!({
        "providers": {"p": {
            "issuer": "i",
            "audiences": "api",
            "forward": "True",
            "requireExpiration": "false",
            "clockSkewSeconds": "60",
            "jwt_cache_config": {"jwt_cache_size": 100.0},
            "fromHeaders": {"name": "x-token"},
            "claim_to_headers": {"header_name": "x-sub", "claimName": "sub"},
            "remote_jwks": {
                "http_uri": {"uri": "HTTP://documents/0", "cluster": "documents", "timeout": {"seconds": 2}},
                "cacheDuration": {"seconds": "300", "nanos": 5},
                "async_fetch": {"fast_listener": null, "failed_refetch_duration": {"nanos": 500_000_000}},
                "retry_policy": {"num_retries": "1", "retry_back_off": {"base_interval": {"seconds": 1}}},
            },
        }},
        "rules": {"match": {"prefix": "/"}, "requires": {"provider_name": "p"}},
    });
    let pair = Pair::start_with(&block, &[("documents", address)], |bootstrap| bootstrap);
    pair.publish(jwks.into_bytes());
    for (audience, status) in [("api", 200), ("other", 403)] {
        let claims: Value = json!({"iss": "i", "sub": "alice", "aud": audience});
        let request = Request::get("/").header("x-token", key.mint(&claims));
        assert_eq!(pair.compare(&request).unwrap().status, status);
    }
    assert_eq!(pair.compare(&Request::get("/")).unwrap().status, 401);
}
