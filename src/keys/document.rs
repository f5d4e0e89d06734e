//! Parses a document of keys into a [`KeySet`]: a JWKS (RFC 7517 §5), or a map of `kid` to PEM as Google and Firebase publish it.

use std::fmt;

use serde::{
    de::{self, MapAccess, Visitor},
    Deserialize, Deserializer,
};
use serde_json::value::RawValue;

use super::{pem, Key, KeyError, KeySet};

/// The bounds of a JWKS. A larger JWKS is rejected whole.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The bytes of the body.
    pub max_document_bytes: usize,
    /// The keys, usable or not.
    pub max_keys: usize,
}

impl Default for Limits {
    /// What a worker bears without a noticeable pause, and more than issuers publish.
    fn default() -> Self {
        Self { max_document_bytes: 1 << 20, max_keys: 1000 }
    }
}

/// A parsed JWKS.
#[derive(Debug)]
pub struct Document {
    /// The usable keys.
    pub keys: KeySet,
    /// The skipped keys, by their index in the document, and why.
    pub skipped: Vec<(usize, KeyError)>,
}

/// Why a JWKS is rejected whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// The body is neither a JSON object with an array `keys`, nor one whose members all are certificates or public keys.
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

const UNLIMITED: Limits = Limits { max_document_bytes: usize::MAX, max_keys: usize::MAX };

/// A key of a document, as its issuer wrote the key.
enum Entry<'a> {
    Jwk(&'a str),
    Pem { kid: String, text: String },
}

/// The members of a document.
struct Members<'a> {
    keys: Option<&'a RawValue>,
    /// The other members, while each may be a key in PEM.
    others: Option<Vec<(String, &'a RawValue)>>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members { keys: None, others: Some(Vec::new()) };
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if name != "keys" {
                        members.others = members.others.filter(|_| value.get().starts_with('"'));
                        members.others.iter_mut().for_each(|others| others.push((name.clone(), value)));
                    } else if members.keys.replace(value).is_some() {
                        return Err(de::Error::duplicate_field("keys"));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Any)
    }
}

/// The keys of a document.
fn entries_of(body: &[u8], limits: Limits) -> Result<Vec<Entry<'_>>, DocumentError> {
    if body.len() > limits.max_document_bytes {
        return Err(DocumentError::TooLarge);
    }
    let Members { keys, others } = serde_json::from_slice(body).map_err(|_| DocumentError::Malformed)?;
    if let Some(keys) = keys {
        let keys: Vec<&RawValue> =
            serde_json::from_slice(keys.get().as_bytes()).map_err(|_| DocumentError::Malformed)?;
        if keys.len() > limits.max_keys {
            return Err(DocumentError::TooManyKeys);
        }
        return Ok(keys.into_iter().map(|jwk| Entry::Jwk(jwk.get())).collect());
    }
    let others = others.filter(|others| !others.is_empty()).ok_or(DocumentError::Malformed)?;
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (kid, value) in others {
        let text: String = serde_json::from_slice(value.get().as_bytes()).map_err(|_| DocumentError::Malformed)?;
        let is_known = entries.iter().any(|entry| matches!(entry, Entry::Pem { kid: known, .. } if *known == kid));
        // Any object of strings could pass for keys, were not each member one.
        if kid.is_empty() || is_known || !pem::is_pem(&text) {
            return Err(DocumentError::Malformed);
        }
        if entries.len() >= limits.max_keys {
            return Err(DocumentError::TooManyKeys);
        }
        entries.push(Entry::Pem { kid, text });
    }
    Ok(entries)
}

/// Parses a fetched document. A key that cannot be used is skipped; the other keys are used.
///
/// # Errors
/// The document is rejected whole.
pub fn parse(body: &[u8], limits: Limits) -> Result<Document, DocumentError> {
    let document = read(body, limits, Key::from_json)?;
    if document.keys.is_empty() {
        return Err(DocumentError::NoUsableKey);
    }
    Ok(document)
}

/// Parses a document that is part of the configuration. It may be of any size, may hold secrets, and may have no usable key.
///
/// # Errors
/// [`DocumentError::Malformed`].
pub fn parse_local(body: &[u8]) -> Result<Document, DocumentError> {
    read(body, UNLIMITED, Key::from_local_json)
}

fn read(body: &[u8], limits: Limits, read_jwk: fn(&str) -> Result<Key, KeyError>) -> Result<Document, DocumentError> {
    let mut keys: Vec<Key> = Vec::new();
    let mut skipped = Vec::new();
    for (index, entry) in entries_of(body, limits)?.into_iter().enumerate() {
        let key = match &entry {
            Entry::Jwk(json) => read_jwk(json),
            Entry::Pem { kid, text } => pem::read(kid, text).map(|(key, _)| key),
        };
        match key {
            // A repeated key changes nothing. Another key under the same kid is a key of its own.
            Ok(key) if keys.iter().any(|known| known.is_same(&key)) => {}
            Ok(key) => keys.push(key),
            Err(error) => skipped.push((index, error)),
        }
    }
    Ok(Document { keys: KeySet::new(keys), skipped })
}

/// The usable keys of a document, each with its JWK. None if the body is no such document.
pub fn entries(body: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let entries = entries_of(body, UNLIMITED).unwrap_or_default().into_iter();
    let read = |entry| match entry {
        Entry::Jwk(json) => Some((Key::from_json(json).ok()?, json.into())),
        Entry::Pem { kid, text } => pem::read(&kid, &text).ok().map(|(key, jwk)| (key, jwk.into_bytes())),
    };
    entries.filter_map(read).collect()
}

/// Parses a JWK. `None`: the key cannot be used.
pub fn parse_key(jwk: &[u8]) -> Option<Key> {
    Key::from_json(std::str::from_utf8(jwk).ok()?).ok()
}

#[cfg(test)]
mod tests;
