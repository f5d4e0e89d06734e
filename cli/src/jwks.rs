//! `jwks-gate jwks`: the keys of a key document.

use std::io::Write;

use jwks_gate::keys::{
    document::{self, Limits},
    Algorithm, Key, Material,
};
use serde_json::{json, Value};

use crate::{print_json, write, Failure};

/// Returns whether every key can be used.
pub(crate) fn run(body: &[u8], as_json: bool, out: &mut impl Write) -> Result<bool, Failure> {
    let document = document::parse(body, Limits::default());
    let (keys, skipped) = match &document {
        Ok(document) => (document.keys.published().map(describe).collect(), document.skipped.clone()),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let rejected = document.as_ref().err().map(ToString::to_string);
    let names = names(body);
    let name = |index: usize| names.get(index).cloned().flatten();
    if as_json {
        let skipped: Vec<_> = skipped
            .iter()
            .map(|(index, error)| json!({"index": index, "kid": name(*index), "reason": error.to_string()}))
            .collect();
        print_json(out, &json!({"keys": keys, "skipped": skipped, "rejected": rejected}))?;
    } else {
        for key in &keys {
            let text = |field: &str| key[field].as_str().unwrap_or("-").to_owned();
            let algorithms: Vec<_> =
                key["algorithms"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let line = format!(
                "{}  {}  {}  thumbprint {}\n",
                text("kid"),
                text("type"),
                algorithms.join(" "),
                text("thumbprint")
            );
            write(out, &line)?;
        }
        for (index, error) in &skipped {
            let kid = name(*index).map_or_else(|| format!("keys[{index}]"), |kid| format!("keys[{index}] {kid:?}"));
            write(out, &format!("skipped: {kid}: {error}\n"))?;
        }
        if let Some(reason) = &rejected {
            write(out, &format!("rejected: {reason}\n"))?;
        }
    }
    Ok(rejected.is_none() && skipped.is_empty())
}

/// What a user wants to know of a key.
pub(crate) fn describe(key: &Key) -> Value {
    let algorithms: Vec<_> = Algorithm::ASYMMETRIC.iter().filter(|alg| key.fits(**alg)).map(|alg| alg.name()).collect();
    json!({"kid": key.kid(), "type": kind(key), "algorithms": algorithms, "thumbprint": key.thumbprint()})
}

fn kind(key: &Key) -> &'static str {
    match key.material() {
        Material::Ed25519(_) => "Ed25519",
        Material::Hmac(_) => "secret",
        Material::P256(_) => "P-256",
        Material::P384(_) => "P-384",
        Material::P521(_) => "P-521",
        Material::Rsa(_) => "RSA",
    }
}

/// The `kid` of each key of a JWKS.
fn names(body: &[u8]) -> Vec<Option<String>> {
    let jwks: Value = serde_json::from_slice(body).unwrap_or_default();
    let keys = jwks["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().map(|key| key["kid"].as_str().map(str::to_owned)).collect()
}
