//! Reads keys in PEM (RFC 7468), as in the maps of `kid` to certificate that Google and Firebase publish.

use super::{
    base64,
    key::{Curve, Prepared},
    Key, KeyError,
};
use crate::crypto::spki::{self, PublicKey};

type Reader = fn(&[u8]) -> Option<PublicKey<'_>>;

/// How each kind of block begins and ends, and how its content is read.
const BLOCKS: [(&str, &str, Reader); 3] = [
    ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", spki::certificate),
    ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----", spki::public_key),
    ("-----BEGIN RSA PUBLIC KEY-----", "-----END RSA PUBLIC KEY-----", spki::rsa_key),
];

/// Whether a text begins and ends as a certificate or a public key does.
pub(super) fn is_pem(text: &str) -> bool {
    block(text).is_some()
}

/// Reads a certificate or a public key. Of a chain, the first certificate counts. Returns the key, and the key as a JWK.
///
/// # Errors
/// See [`KeyError`]; the caller skips the key.
pub(super) fn read(kid: &str, text: &str) -> Result<(Key, String), KeyError> {
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    let prepared = prepare(text)?;
    let jwk = prepared.to_jwk(&serde_json::Value::from(kid).to_string());
    Ok((Key::new(Some(kid.to_owned()), None, prepared)?, jwk))
}

/// The thumbprint of the first certificate or public key, beside which a private key is published.
pub(super) fn exposed_thumbprint(text: &str) -> Option<String> {
    Some(prepare(text).ok()?.thumbprint())
}

fn prepare(text: &str) -> Result<Prepared, KeyError> {
    let (content, read) = block(text).ok_or(KeyError::Malformed)?;
    let der = base64::decode_standard(content).ok_or(KeyError::Malformed)?;
    match read(&der).ok_or(KeyError::Malformed)? {
        PublicKey::Rsa { modulus, exponent } => Prepared::rsa(modulus, exponent),
        PublicKey::Ec { curve, point } => {
            let curve = Curve::from_oid(curve).ok_or(KeyError::Unsupported)?;
            // A compressed point begins with another byte.
            let coordinates = point.strip_prefix(&[4]).ok_or(KeyError::Unsupported)?;
            let (x, y) = coordinates.split_at_checked(curve.size()).ok_or(KeyError::Weak)?;
            Prepared::ec(curve, x, y)
        }
        PublicKey::Ed25519(x) => Prepared::ed25519(x),
        PublicKey::Other => Err(KeyError::Unsupported),
    }
}

/// The base64 of the first block, and what reads the content.
fn block(text: &str) -> Option<(&str, Reader)> {
    let text = text.trim();
    BLOCKS.into_iter().find_map(|(begin, end, read)| {
        let (content, _) = text.strip_prefix(begin)?.split_once(end)?;
        text.ends_with(end).then_some((content, read))
    })
}
