//! Parses a document of keys into a [`KeySet`]: a JWKS (RFC 7517 §5), or a map of `kid` to PEM as Google and Firebase publish it.

use std::{borrow::Cow, fmt, time::Duration};

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
    /// How long the issuer suggests to keep the document: `spiffe_refresh_hint`.
    pub refresh_hint: Option<Duration>,
}

/// Why a JWKS is rejected whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// The body is neither a JSON object with an array `keys`, nor one whose members all are certificates or public keys.
    Malformed,
    /// The JWKS is well-formed, and its `keys` are an empty list.
    Empty,
    /// No key can be used.
    NoUsableKey,
    /// No key can be used, and a private key is published.
    PrivateKey,
    /// The body has more bytes than [`Limits::max_document_bytes`].
    TooLarge,
    /// The JWKS has more keys than [`Limits::max_keys`].
    TooManyKeys,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a JSON Web Key Set",
            Self::Empty => "an empty JWKS: no key in it",
            Self::NoUsableKey => "no usable key in it",
            Self::PrivateKey => "a PRIVATE key is published, and no other usable key in it",
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

type ReadJwk = fn(&str) -> Result<Key, KeyError>;

impl Entry<'_> {
    /// The key, and the key as a JWK.
    fn read(&self, read_jwk: ReadJwk) -> Result<(Key, Cow<'_, str>), KeyError> {
        match self {
            Self::Jwk(json) => Ok((read_jwk(json)?, Cow::Borrowed(*json))),
            Self::Pem { kid, text } => pem::read(kid, text).map(|(key, jwk)| (key, Cow::Owned(jwk))),
        }
    }

    /// The thumbprint of the public key that belongs to a published private key.
    fn exposed_thumbprint(&self) -> Option<String> {
        match self {
            Self::Jwk(json) => Key::exposed_thumbprint(json),
            Self::Pem { text, .. } => pem::exposed_thumbprint(text),
        }
    }
}

/// The members of a document.
struct Members<'a> {
    keys: Option<&'a RawValue>,
    /// The other members, while each may be a key in PEM.
    others: Option<Vec<(String, &'a RawValue)>>,
    /// The value of [`REFRESH_HINT`], if it is whole seconds. 0 is no hint.
    refresh_hint: Option<Duration>,
}

/// See "The SPIFFE Trust Domain and Bundle" §4.1.2.
const REFRESH_HINT: &str = "spiffe_refresh_hint";
/// Longer hints are read as this long.
const LONGEST_HINT: u64 = 1 << 31;

/// Whole seconds, written as an integer.
fn refresh_hint(value: &RawValue) -> Option<Duration> {
    let is_integer = value.get().bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_integer.then(|| value.get().parse().unwrap_or(LONGEST_HINT).min(LONGEST_HINT))?;
    Some(Duration::from_secs(seconds)).filter(|hint| *hint > Duration::ZERO)
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
                let mut members = Members { keys: None, others: Some(Vec::new()), refresh_hint: None };
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if name == REFRESH_HINT {
                        members.refresh_hint = refresh_hint(value);
                    }
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

/// The keys of a document, and its refresh hint.
fn entries_of(body: &[u8], limits: Limits) -> Result<(Vec<Entry<'_>>, Option<Duration>), DocumentError> {
    if body.len() > limits.max_document_bytes {
        return Err(DocumentError::TooLarge);
    }
    let text = std::str::from_utf8(body).map_err(|_| DocumentError::Malformed)?;
    let Members { keys, others, refresh_hint } = serde_json::from_str(text).map_err(|_| DocumentError::Malformed)?;
    if let Some(keys) = keys {
        let keys: Vec<&RawValue> = serde_json::from_str(keys.get()).map_err(|_| DocumentError::Malformed)?;
        if keys.len() > limits.max_keys {
            return Err(DocumentError::TooManyKeys);
        }
        return Ok((keys.into_iter().map(|jwk| Entry::Jwk(jwk.get())).collect(), refresh_hint));
    }
    let others = others.filter(|others| !others.is_empty()).ok_or(DocumentError::Malformed)?;
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (kid, value) in others {
        let text: String = serde_json::from_str(value.get()).map_err(|_| DocumentError::Malformed)?;
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
    Ok((entries, None))
}

/// Parses a fetched document. A key that cannot be used is skipped; the other keys are used.
///
/// # Errors
/// The document is rejected whole.
pub fn parse(body: &[u8], limits: Limits) -> Result<Document, DocumentError> {
    let document = parse_cached(body, limits)?;
    if document.keys.is_empty() && document.skipped.is_empty() {
        return Err(DocumentError::Empty);
    }
    Ok(document)
}

/// Parses a document that was accepted. An empty JWKS is one: some configuration takes it for the end of all keys.
///
/// # Errors
/// The document was accepted by nobody.
pub fn parse_cached(body: &[u8], limits: Limits) -> Result<Document, DocumentError> {
    let document = read(body, limits, Key::from_json)?;
    if document.keys.is_empty() && !document.skipped.is_empty() {
        let is_private = document.skipped.iter().any(|(_, error)| *error == KeyError::Private);
        return Err(if is_private { DocumentError::PrivateKey } else { DocumentError::NoUsableKey });
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

fn read(body: &[u8], limits: Limits, read_jwk: ReadJwk) -> Result<Document, DocumentError> {
    let (entries, refresh_hint) = entries_of(body, limits)?;
    let Reading { keys, exposed, skipped } = Reading::of(&entries, read_jwk);
    let keys = keys.into_iter().map(|(key, _)| key).collect();
    Ok(Document { keys: KeySet::new(keys).with_exposed(exposed), skipped, refresh_hint })
}

/// The usable keys of a fetched document, each with its JWK. None if the body is no such document.
pub fn entries(body: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let (entries, _) = entries_of(body, UNLIMITED).unwrap_or_default();
    let keys = Reading::of(&entries, Key::from_json).keys.into_iter();
    keys.map(|(key, jwk)| (key, jwk.into_owned().into_bytes())).collect()
}

/// What became of the entries of a document.
struct Reading<'a> {
    /// The usable keys, each with its JWK.
    keys: Vec<(Key, Cow<'a, str>)>,
    /// The thumbprints of published private keys.
    exposed: Vec<String>,
    skipped: Vec<(usize, KeyError)>,
}

impl<'a> Reading<'a> {
    fn of(entries: &'a [Entry<'_>], read_jwk: ReadJwk) -> Self {
        let read: Vec<_> = entries.iter().map(|entry| (entry, entry.read(read_jwk))).collect();
        let private = read.iter().filter(|(_, key)| matches!(key, Err(KeyError::Private)));
        let exposed = private.filter_map(|(entry, _)| entry.exposed_thumbprint()).collect();
        let mut reading = Self { keys: Vec::new(), exposed, skipped: Vec::new() };
        for (index, (_, key)) in read.into_iter().enumerate() {
            match key {
                Ok((key, _)) if reading.exposed.iter().any(|exposed| exposed == key.thumbprint()) => {
                    reading.skipped.push((index, KeyError::Exposed));
                }
                // A repeated key changes nothing. Another key under the same kid is a key of its own.
                Ok((key, _)) if reading.keys.iter().any(|(known, _)| known.is_same_entry(&key)) => {}
                Ok(key) => reading.keys.push(key),
                Err(error) => reading.skipped.push((index, error)),
            }
        }
        reading
    }
}

/// Parses a JWK. `None`: the key cannot be used.
pub fn parse_key(jwk: &[u8]) -> Option<Key> {
    Key::from_json(std::str::from_utf8(jwk).ok()?).ok()
}

#[cfg(test)]
mod tests;
