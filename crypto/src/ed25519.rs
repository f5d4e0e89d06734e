//! Ed25519 signature verification (RFC 8032 §5.1.7). Only public values enter, so nothing runs in constant time.

mod field;
mod point;
mod scalar;
#[cfg(test)]
mod tests;

use std::{cell::OnceCell, fmt, sync::LazyLock};

use self::{
    point::{sum_of_multiples, Point, Table},
    scalar::Scalar,
};
use super::Hash;

/// The multiples of the base point. The first verification computes them.
static BASE: LazyLock<Option<Table>> = LazyLock::new(|| Point::base().map(Table::new));

/// A public key. The first verification computes multiples of the point, which later ones reuse.
#[derive(Clone)]
pub struct PublicKey {
    encoded: [u8; 32],
    negative: Point,
    multiples: OnceCell<Table>,
}

impl PublicKey {
    /// Decodes a key (RFC 8032 §5.1.3).
    ///
    /// Returns `None` if there is no such point, or if the point has small order: anybody can make signatures that verify
    /// under such a key. Accepts encodings that are not canonical, as most implementations do.
    pub fn new(encoded: &[u8]) -> Option<Self> {
        let encoded = encoded.try_into().ok()?;
        let point = Point::decode(&encoded).filter(|point| !point.has_small_order())?;
        Some(Self { encoded, negative: point.negate(), multiples: OnceCell::new() })
    }

    /// The encoding of `s · B - k · A`, where `A` is the key.
    fn computed_r(&self, k: &Scalar, s: &Scalar) -> Option<[u8; 32]> {
        let multiples = self.multiples.get_or_init(|| Table::new(self.negative));
        Some(sum_of_multiples([(BASE.as_ref()?, &s.digits()), (multiples, &k.digits())]).encode())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(Ed25519)")
    }
}

/// Verifies Ed25519: `EdDSA`.
///
/// The function computes `R` from `S` and the key, and compares encodings: `S` must be below L, `R` canonical, and the
/// equation holds without a cofactor.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let verdict = || {
        let (r, s) = signature.split_first_chunk::<32>()?;
        let s = Scalar::decode(s.try_into().ok()?)?;
        let digest = Hash::Sha512.digest(&[r, &key.encoded, message]);
        let k = Scalar::reduce(digest.as_slice().try_into().ok()?);
        Some(key.computed_r(&k, &s)? == *r)
    };
    verdict().unwrap_or(false)
}
