//! RSA signature verification (RFC 8017 §8): RSASSA-PKCS1-v1_5 and RSASSA-PSS.

mod lanes;
mod montgomery;
mod roca;
#[cfg(test)]
mod tests;

use std::{cell::OnceCell, fmt, ops::RangeInclusive};

use self::montgomery::Modulus;
use super::Hash;

/// Sizes of a modulus in bits. RFC 7518 §3.3 requires at least 2048; the upper bound limits the cost of a request.
pub const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// A public key. The first verification computes values that later ones reuse; a key that only the host uses never
/// computes them.
#[derive(Clone)]
pub struct PublicKey {
    modulus: Vec<u8>,
    bits: usize,
    exponent: u32,
    prepared: OnceCell<Option<Modulus>>,
}

impl PublicKey {
    /// The key with a big-endian modulus and exponent; leading zeros are ignored.
    ///
    /// Returns `None` if the modulus is even, vulnerable to ROCA (CVE-2017-15361) or outside [`MODULUS_BITS`], or if
    /// the exponent is even, 1 or longer than 32 bits.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let modulus: Vec<u8> = modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
        let bits = modulus.len().checked_mul(8)?.checked_sub(modulus.first()?.leading_zeros() as usize)?;
        let exponent = exponent.iter().copied().skip_while(|byte| *byte == 0);
        let exponent =
            exponent.take(5).try_fold(0_u32, |number, byte| Some(number.checked_mul(256)? | u32::from(byte)))?;
        let is_odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
        let is_key = MODULUS_BITS.contains(&bits) && is_odd && exponent & 1 == 1 && exponent != 1;
        if !is_key || roca::is_vulnerable(&modulus) {
            return None;
        }
        Some(Self { modulus, bits, exponent, prepared: OnceCell::new() })
    }

    /// The modulus in big-endian bytes, without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The public exponent.
    pub fn exponent(&self) -> u32 {
        self.exponent
    }

    /// Recovers the encoded message from a signature (RSAVP1, RFC 8017 §5.2.2); the result is as long as the modulus.
    ///
    /// Returns `None` if the signature is not as long as the modulus, or not below the modulus.
    #[doc(hidden)] // Public for the fuzz targets, which compare it with another implementation.
    pub fn encoded_message(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let is_below = signature.len() == self.modulus.len() && signature < self.modulus.as_slice();
        let prepared = self.prepared.get_or_init(|| Modulus::new(&self.modulus, self.bits)).as_ref()?;
        is_below.then(|| prepared.power(signature, self.exponent))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits)", self.bits)
    }
}

/// Verifies RSASSA-PKCS1-v1_5 (RFC 8017 §8.2.2): `RS256`, `RS384`, `RS512`.
///
/// The function builds the encoding that the signer must have used and compares all of it: nothing that the signature
/// contains is parsed.
pub fn verify_pkcs1(key: &PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    let Some(expected) = pkcs1_encoding(hash, message, key.modulus.len()) else { return false };
    key.encoded_message(signature).is_some_and(|encoded| encoded == expected)
}

/// EMSA-PKCS1-v1_5-ENCODE (RFC 8017 §9.2) into `length` bytes; `None` if `length` is too short.
fn pkcs1_encoding(hash: Hash, message: &[u8], length: usize) -> Option<Vec<u8>> {
    // DigestInfo up to the digest (RFC 8017 §9.2, note 1).
    let (total, identifier, size) = match hash {
        Hash::Sha256 => (49, 1, 32),
        Hash::Sha384 => (65, 2, 48),
        Hash::Sha512 => (81, 3, 64),
    };
    let sha2 = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let info = [&[0x30, total, 0x30, 0x0d][..], &sha2, &[identifier, 0x05, 0x00, 0x04, size]].concat();
    let digest = hash.digest(&[message]);
    let padding = length.checked_sub(info.len().saturating_add(digest.len()).saturating_add(3))?;
    Some([&[0, 1][..], &vec![0xff; padding], &[0], &info, &digest].concat())
}

/// Verifies RSASSA-PSS (RFC 8017 §8.1.2) with MGF1 over the same hash and a salt as long as the digest (RFC 7518 §3.5):
/// `PS256`, `PS384`, `PS512`.
pub fn verify_pss(key: &PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    let verdict = || {
        let recovered = key.encoded_message(signature)?;
        let bits = key.bits.checked_sub(1)?;
        // The encoding is one byte shorter than the modulus if the first byte of the modulus is 1.
        let (unused, encoded) = recovered.split_at_checked(recovered.len().checked_sub(bits.div_ceil(8))?)?;
        Some(unused.iter().all(|byte| *byte == 0) && is_pss_encoding(hash, message, encoded, bits)?)
    };
    verdict().unwrap_or(false)
}

/// EMSA-PSS-VERIFY (RFC 8017 §9.1.2) of a message encoded in `bits` bits; `None` stands for `false`.
fn is_pss_encoding(hash: Hash, message: &[u8], encoded: &[u8], bits: usize) -> Option<bool> {
    let size = hash.size();
    let (masked, rest) = encoded.split_at_checked(encoded.len().checked_sub(size)?.checked_sub(1)?)?;
    let (digest, trailer) = rest.split_at_checked(size)?;
    let unused = u32::try_from(encoded.len().checked_mul(8)?.checked_sub(bits)?).ok()?;
    let top = 0xff_u8.checked_shr(unused)?;
    if trailer != [0xbc] || masked.first()? & !top != 0 {
        return Some(false);
    }
    let mask = mgf1(hash, digest, masked.len());
    let mut block: Vec<u8> = masked.iter().zip(mask).map(|(masked, mask)| masked ^ mask).collect();
    *block.first_mut()? &= top;
    let (padding, salt) = block.split_at_checked(block.len().checked_sub(size)?)?;
    let (one, zeros) = padding.split_last()?;
    let is_padding = *one == 1 && zeros.iter().all(|byte| *byte == 0);
    Some(is_padding && hash.digest(&[&[0; 8], &hash.digest(&[message]), salt]) == digest)
}

/// The mask generation function MGF1 (RFC 8017 §B.2.1): `length` bytes from `seed`.
fn mgf1(hash: Hash, seed: &[u8], length: usize) -> Vec<u8> {
    let blocks = (0_u32..).flat_map(|counter| hash.digest(&[seed, &counter.to_be_bytes()]));
    blocks.take(length).collect()
}
