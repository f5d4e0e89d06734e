//! Parses a JWKS (RFC 7517 §5) into a [`KeySet`].

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Key, KeyError, KeySet};

/// The bounds of a JWKS. A larger JWKS is rejected whole.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The bytes of the body.
    pub max_document_bytes: usize,
    /// The members of `keys`.
    pub max_keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_document_bytes: 65_536, max_keys: 100 }
    }
}

/// A parsed JWKS.
#[derive(Debug)]
pub struct Document {
    /// The usable keys: at least one.
    pub keys: KeySet,
    /// The skipped keys, by their index in the JWKS, and why.
    pub skipped: Vec<(usize, KeyError)>,
}

/// Why a JWKS is rejected whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// The body is no JSON object with an array `keys`.
    Malformed,
    /// No key can be used.
    NoUsableKey,
    /// The body has more bytes than [`Limits::max_document_bytes`].
    TooLarge,
    /// The JWKS has more keys than [`Limits::max_keys`].
    TooManyKeys,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a JSON Web Key Set",
            Self::NoUsableKey => "no usable key in it",
            Self::TooLarge => "larger than max_document_bytes",
            Self::TooManyKeys => "more keys than max_keys",
        })
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members of a JWKS. (A derived visitor alone would accept an array of the members too.)
fn members(body: &[u8]) -> Option<Members<'_>> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace())?;
    (*first == b'{').then(|| serde_json::from_slice(body).ok())?
}

/// Parses a fetched JWKS. A key that cannot be used is skipped; the other keys are used.
///
/// # Errors
/// The JWKS is rejected whole.
pub fn parse(body: &[u8], limits: Limits) -> Result<Document, DocumentError> {
    read(body, limits, Key::from_json)
}

/// Parses a JWKS that is part of the configuration. It may be of any size and may hold secrets.
///
/// # Errors
/// The JWKS is rejected whole.
pub fn parse_local(body: &[u8]) -> Result<Document, DocumentError> {
    let limits = Limits { max_document_bytes: usize::MAX, ..Limits::default() };
    read(body, limits, Key::from_local_json)
}

fn read(body: &[u8], limits: Limits, key: fn(&str) -> Result<Key, KeyError>) -> Result<Document, DocumentError> {
    if body.len() > limits.max_document_bytes {
        return Err(DocumentError::TooLarge);
    }
    let members = members(body).ok_or(DocumentError::Malformed)?;
    if members.keys.len() > limits.max_keys {
        return Err(DocumentError::TooManyKeys);
    }
    let mut keys: Vec<Key> = Vec::new();
    let mut skipped = Vec::new();
    for (index, json) in members.keys.into_iter().enumerate() {
        match key(json.get()) {
            // A repeated key changes nothing. Another key under the same kid is a key of its own.
            Ok(key) if keys.iter().any(|known| known.is_same(&key)) => {}
            Ok(key) => keys.push(key),
            Err(error) => skipped.push((index, error)),
        }
    }
    if keys.is_empty() {
        return Err(DocumentError::NoUsableKey);
    }
    Ok(Document { keys: KeySet::new(keys), skipped })
}

/// The usable keys of a JWKS, each with its JWK as the issuer wrote it. None if the body is no JWKS.
pub fn entries(body: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let keys = members(body).map_or_else(Vec::new, |members| members.keys);
    keys.into_iter().filter_map(|json| Some((Key::from_json(json.get()).ok()?, json.get().into()))).collect()
}

/// Parses a member of `keys`. `None`: the key cannot be used.
pub fn parse_key(jwk: &[u8]) -> Option<Key> {
    Key::from_json(std::str::from_utf8(jwk).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn set(keys: &[&str]) -> Vec<u8> {
        format!("{{\"keys\":[{}]}}", keys.join(",")).into_bytes()
    }

    #[test]
    fn one_bad_key_does_not_sink_the_set() {
        let document = parse(&set(&["1", EC, r#"{"kty":"oct","k":"AA"}"#]), Limits::default()).unwrap();
        assert_eq!(document.keys.len(), 1);
        assert_eq!(document.skipped, [(0, KeyError::Malformed), (2, KeyError::Private)]);
    }

    #[test]
    fn documents_are_rejected_whole() {
        let rejection = |body: &[u8]| parse(body, Limits { max_document_bytes: 1000, max_keys: 2 }).unwrap_err();
        assert_eq!(rejection(b""), DocumentError::Malformed);
        assert_eq!(rejection(b"<html>"), DocumentError::Malformed);
        assert_eq!(rejection(b"{}"), DocumentError::Malformed);
        assert_eq!(rejection(br#"{"keys":{}}"#), DocumentError::Malformed);
        assert_eq!(rejection(&[b"[".repeat(900), b"]".repeat(90)].concat()), DocumentError::Malformed);
        assert_eq!(rejection(&set(&[])), DocumentError::NoUsableKey);
        assert_eq!(rejection(&set(&["{}"])), DocumentError::NoUsableKey);
        assert_eq!(rejection(&set(&["1", "2", "3"])), DocumentError::TooManyKeys);
        assert_eq!(rejection(&[b' '; 1001]), DocumentError::TooLarge);
        let cut = set(&[EC]);
        assert_eq!(rejection(&cut[..cut.len() - 3]), DocumentError::Malformed);
    }
}
