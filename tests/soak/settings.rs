//! The configuration of the filter under test. The durations are short, so that everything happens often.

use std::time::Duration;

use jwks_gate_issuer::Issuer;
use serde_json::{json, Value};

pub const LIFETIME: Duration = Duration::from_secs(4);
pub const MAX_STALE: Duration = Duration::from_secs(10);
/// The longest of the graces that are configured in turn.
pub const GRACE: Duration = Duration::from_secs(3);
pub const TIMEOUT: Duration = Duration::from_secs(1);
pub const MAX_WAIT: Duration = Duration::from_secs(5);
/// Envoy ends requests that are parked in a VM that trapped after this time.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
pub const NAMES: [&str; 2] = ["chaotic", "steady"];
pub const SECRET: &str = "the secret of the plugin under test";

/// A configuration with one provider per issuer. Each provider protects the paths below its name.
pub fn config(issuers: [&Issuer; 2], grace: Duration, revoked: &[String], number: u64) -> Value {
    let mut config = json!({
        "providers": {},
        "rules": [],
        "error_format": "json",
        "shared_data_secret": SECRET,
        // Differs from configuration to configuration, and never matters.
        "max_parked_requests": 2000 + number % 1000,
    });
    for (name, issuer) in NAMES.iter().zip(issuers) {
        config["providers"][name] = json!({
            "issuer": issuer.issuer(),
            "audiences": ["api"],
            "forward": number.is_multiple_of(2),
            "remote_jwks": {
                "http_uri": {"uri": issuer.jwks_uri(), "cluster": name, "timeout": seconds(TIMEOUT)},
                "rotation": {
                    "min_ttl": "1s",
                    "max_stale": seconds(MAX_STALE),
                    "retired_key_grace": seconds(grace),
                    "unknown_kid_min_interval": "1s",
                    "second_look": "0.3s",
                    "unknown_kid_max_wait": seconds(MAX_WAIT),
                    "revoked_keys": revoked,
                },
            },
        });
        let rule = json!({"match": {"prefix": format!("/{name}/")}, "requires": {"provider_name": name}});
        config["rules"].as_array_mut().unwrap().push(rule);
    }
    config
}

pub fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}
