//! Names of shared values, and numbers that stand for bytes.

use sha2::{Digest, Sha256};

/// A key that no other plugin, and no other issuer of this plugin, has.
pub fn name(parts: &[&[u8]]) -> String {
    name_of(&digest_of(parts))
}

/// A digest of these parts, in this order.
pub fn digest_of(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

/// The key that stands for this digest.
pub fn name_of(digest: &[u8; 16]) -> String {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("jwks-gate.{hex}")
}

/// A number of eight bytes. `None`: the bytes are no such number.
pub fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Tells byte strings apart.
pub fn digest(bytes: &[u8]) -> u64 {
    Sha256::digest(bytes).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
