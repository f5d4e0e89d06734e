//! Authenticates values in shared data. Every plugin with the same `vm_id` can write there; only this one has the secret.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The authentication tag behind each value: HMAC-SHA256 (RFC 2104), cut to 128 bits.
const TAG_BYTES: usize = 16;
/// Separates this use of the secret from others.
const CONTEXT: &[u8] = b"jwks-gate shared data 1";

/// Seals and opens values under a secret.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// A seal under this secret. `None`: HMAC takes any secret, so this does not occur.
    pub fn new(secret: &[u8]) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(CONTEXT);
        Some(Self(mac))
    }

    /// The value to store under this key: `value` and its tag.
    pub fn seal(&self, key: &str, value: &[u8]) -> Vec<u8> {
        let tag = self.mac(key, value).finalize().into_bytes();
        [value, tag.get(..TAG_BYTES).unwrap_or_default()].concat()
    }

    /// The value that was sealed for this key. `None`: another plugin wrote the value, or moved the value from another key.
    /// The comparison takes constant time.
    pub fn open<'v>(&self, key: &str, sealed: &'v [u8]) -> Option<&'v [u8]> {
        let (value, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        self.mac(key, value).verify_truncated_left(tag).ok().map(|()| value)
    }

    /// The name under which a plugin's values stand in shared data. Two secrets of one plugin, as while a configuration with
    /// a new secret is rolled out, have values apart: none overwrites what the other wrote.
    pub fn name(&self, plugin: &[u8]) -> Vec<u8> {
        self.seal("plugin", plugin)
    }

    fn mac(&self, key: &str, value: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&(key.len() as u64).to_le_bytes());
        mac.update(key.as_bytes());
        mac.update(value);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_a_key_under_the_secret_opens() {
        let seal = Seal::new(b"a secret of some length").unwrap();
        for value in [&b""[..], b"x", &[7; 5_000]] {
            let sealed = seal.seal("key", value);
            assert_eq!(seal.open("key", &sealed), Some(value));
            assert_eq!(seal.open("another key", &sealed), None);
            assert_eq!(Seal::new(b"another secret").unwrap().open("key", &sealed), None);
            for index in 0..sealed.len() {
                let mut tampered = sealed.clone();
                tampered[index] ^= 1;
                assert_eq!(seal.open("key", &tampered), None);
                assert_eq!(seal.open("key", &sealed[..index]), None);
            }
        }
        assert_eq!(seal.open("key", b"a value without a tag, as another plugin writes it"), None);
        assert_ne!(seal.name(b"plugin"), Seal::new(b"another secret").unwrap().name(b"plugin"));
        // The key and the value cannot trade bytes.
        assert_eq!(seal.open("keyx", &seal.seal("key", b"xy")), None);
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Seal::new(b"hidden").unwrap()), "Seal");
    }
}
