//! Documents of keys that are part of the configuration.

use crate::{
    config::{error::Result, path::Path, schema::SeedJwks, timestamp},
    keys::{
        document::{self, Document, Limits},
        KeyError, KeySet,
    },
    rotation::seed::Seed,
};

/// The skipped keys of one document that an error or the log names.
const MAX_REASONS: usize = 16;

/// The usable keys of a document. Why others are skipped is added to `warnings`; a private key is an error.
pub(super) fn usable_keys(path: &Path<'_>, document: Document, warnings: &mut Vec<String>) -> Result<KeySet> {
    let Document { keys, skipped, .. } = document;
    if let Some((index, error)) = skipped.iter().find(|(_, error)| *error == KeyError::Private) {
        return Err(path.error(format!("keys[{index}] is not usable: {error}")));
    }
    let mut reasons = Vec::new();
    for (index, error) in skipped.iter().take(MAX_REASONS) {
        reasons.push(format!("keys[{index}] is skipped: {error}"));
    }
    let omitted = skipped.len().saturating_sub(MAX_REASONS);
    if omitted > 0 {
        reasons.push(format!("and {omitted} more keys are skipped"));
    }
    if keys.is_empty() {
        reasons.insert(0, "no usable key in it".to_owned());
        return Err(path.error(reasons.join("; ")));
    }
    if let Some(told) = keys.too_many_to_try() {
        reasons.push(told.to_string());
    }
    for reason in reasons {
        warnings.push(path.error(reason).to_string());
    }
    Ok(keys)
}

/// The keys that verify until the first JWKS: a document as the issuer may publish it, within the same limits.
pub(super) fn seed(path: &Path<'_>, wire: &SeedJwks, limits: Limits, warnings: &mut Vec<String>) -> Result<Seed> {
    let not_after = timestamp::parse(&wire.not_after)
        .ok_or_else(|| path.field("not_after").error("must be a time in UTC such as \"2026-12-31T00:00:00Z\""))?;
    let path = path.field("inline_string");
    if wire.inline_string.is_empty() {
        return Err(path.error("must be set"));
    }
    let document =
        document::parse(wire.inline_string.as_bytes(), limits).map_err(|error| path.error(error.to_string()))?;
    let keys = usable_keys(&path, document, warnings)?.into();
    Ok(Seed { keys, not_after, until: wire.not_after.clone() })
}
