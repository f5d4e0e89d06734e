//! HMAC (RFC 7518 §3.2).

use hmac::{digest::KeyInit, Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};

use crate::Hash;

/// Verifies the authentication tag of `message`, in constant time.
pub fn verify(hash: Hash, secret: &[u8], message: &[u8], tag: &[u8]) -> bool {
    fn verify_with<M: Mac + KeyInit>(secret: &[u8], message: &[u8], tag: &[u8]) -> bool {
        // HMAC takes a secret of any length.
        <M as Mac>::new_from_slice(secret).is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok())
    }
    match hash {
        Hash::Sha256 => verify_with::<Hmac<Sha256>>(secret, message, tag),
        Hash::Sha384 => verify_with::<Hmac<Sha384>>(secret, message, tag),
        Hash::Sha512 => verify_with::<Hmac<Sha512>>(secret, message, tag),
    }
}
