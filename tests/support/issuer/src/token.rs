//! The default claims, and the tokens that `POST /token` mints.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{json, Value};

use crate::http::Request;
use crate::keys::{random_id, SigningKey};

const LIFETIME: i64 = 3600;

/// The default claims.
pub(crate) fn claims(issuer: &str, lifetime: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    json!({
        "iss": issuer,
        "sub": "alice",
        "aud": "api",
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(lifetime),
        "jti": random_id::<16>(),
    })
}

/// The claims of [`Issuer::token`](crate::Issuer::token).
pub(crate) fn default_claims(issuer: &str) -> Value {
    claims(issuer, LIFETIME)
}

/// The token that a request describes. The body's claims replace the default claims; null removes a claim. The query
/// can set `expires_in`, `kid` and `alg`. `key` signs, whatever the header says.
pub(crate) fn requested(request: &Request, issuer: &str, key: &SigningKey) -> Result<String, String> {
    let mut header = json!({ "alg": key.alg.name(), "typ": "JWT", "kid": key.kid });
    let mut lifetime = LIFETIME;
    for (name, value) in request.query()? {
        match name.as_str() {
            "kid" | "alg" => header[name] = json!(value),
            "expires_in" => lifetime = value.parse().map_err(|_| format!("not a number of seconds: {value:?}"))?,
            _ => return Err(format!("unknown parameter {name:?}")),
        }
    }
    let mut claims = claims(issuer, lifetime);
    if let Some(claims) = claims.as_object_mut() {
        for (name, value) in claims_in(&request.body)? {
            if value.is_null() {
                claims.remove(&name);
            } else {
                claims.insert(name, value);
            }
        }
    }
    Ok(key.mint_with_header(&header, &claims))
}

fn claims_in(body: &[u8]) -> Result<serde_json::Map<String, Value>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(serde_json::Map::new());
    }
    serde_json::from_slice(body).map_err(|error| format!("the body is not a JSON object of claims: {error}"))
}
