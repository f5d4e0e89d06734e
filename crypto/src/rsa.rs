//! RSA signatures (RFC 8017 §8), verified only: RSASSA-PKCS1-v1_5 and RSASSA-PSS.

mod lanes;
mod montgomery;
mod roca;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, cell::OnceCell, fmt, ops::RangeInclusive};

use jwt_compact::Algorithm;

use self::montgomery::Modulus;
use super::{Hash, NoKey, RawSignature};

/// RFC 7518 §3.3 wants 2048 bits at least; more than 8192 would cost a request too much.
pub const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// A public key, prepared for many signatures when the first one comes: where the host checks them, none does.
#[derive(Clone)]
pub struct PublicKey {
    modulus: Vec<u8>,
    bits: usize,
    exponent: u32,
    prepared: OnceCell<Option<Modulus>>,
}

impl PublicKey {
    /// A key of these big-endian numbers; leading zeros do not count. `None` if it is weak or not a key: a modulus that is
    /// even, of ROCA's making or not within [`MODULUS_BITS`], an exponent that is even, 1 or longer than 32 bits.
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

    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The exponent.
    pub fn exponent(&self) -> u32 {
        self.exponent
    }

    /// The encoded message that was signed (RFC 8017 §5.2.2), as long as the modulus. `None` if the signature has another
    /// length or is not below the modulus.
    fn encoded_message(&self, signature: &[u8]) -> Option<Vec<u8>> {
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

/// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2): `RS256`, `RS384`, `RS512`.
#[derive(Clone, Copy, Debug)]
pub struct Pkcs1(pub Hash);

impl Algorithm for Pkcs1 {
    type SigningKey = NoKey;
    type VerifyingKey = PublicKey;
    type Signature = RawSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self.0 {
            Hash::Sha256 => "RS256",
            Hash::Sha384 => "RS384",
            Hash::Sha512 => "RS512",
        })
    }

    fn sign(&self, key: &NoKey, _message: &[u8]) -> RawSignature {
        match *key {}
    }

    /// Encodes the message as the signer must have, and compares: nothing of the signature is parsed.
    fn verify_signature(&self, signature: &RawSignature, key: &PublicKey, message: &[u8]) -> bool {
        // DigestInfo up to the hash (RFC 8017 §9.2, note 1).
        let (all, identifier, size) = match self.0 {
            Hash::Sha256 => (49, 1, 32),
            Hash::Sha384 => (65, 2, 48),
            Hash::Sha512 => (81, 3, 64),
        };
        let sha2 = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
        let info = [&[0x30, all, 0x30, 0x0d][..], &sha2, &[identifier, 0x05, 0x00, 0x04, size]].concat();
        let hash = self.0.digest(&[message]);
        let Some(padding) = key.modulus.len().checked_sub(info.len().saturating_add(hash.len()).saturating_add(3))
        else {
            return false;
        };
        let expected = [&[0, 1][..], &vec![0xff; padding], &[0], &info, &hash].concat();
        key.encoded_message(&signature.0).is_some_and(|message| message == expected)
    }
}

/// RSASSA-PSS (RFC 8017 §8.1) with MGF1 over the same hash and a salt as long as its output (RFC 7518 §3.5): `PS256`,
/// `PS384`, `PS512`.
#[derive(Clone, Copy, Debug)]
pub struct Pss(pub Hash);

impl Pss {
    /// EMSA-PSS-VERIFY (RFC 8017 §9.1.2) of a message encoded in `bits` bits.
    fn is_encoding_of(self, message: &[u8], encoded: &[u8], bits: usize) -> Option<bool> {
        let size = self.0.size();
        let (masked, rest) = encoded.split_at_checked(encoded.len().checked_sub(size)?.checked_sub(1)?)?;
        let (hash, trailer) = rest.split_at_checked(size)?;
        let unused = u32::try_from(encoded.len().checked_mul(8)?.checked_sub(bits)?).ok()?;
        let top = 0xff_u8.checked_shr(unused)?;
        if trailer != [0xbc] || masked.first()? & !top != 0 {
            return Some(false);
        }
        let mask = self.mask(hash, masked.len());
        let mut block: Vec<u8> = masked.iter().zip(mask).map(|(masked, mask)| masked ^ mask).collect();
        *block.first_mut()? &= top;
        let (padding, salt) = block.split_at_checked(block.len().checked_sub(size)?)?;
        let (one, zeros) = padding.split_last()?;
        let is_padding = *one == 1 && zeros.iter().all(|byte| *byte == 0);
        Some(is_padding && self.0.digest(&[&[0; 8], &self.0.digest(&[message]), salt]) == hash)
    }

    /// MGF1 (RFC 8017 §B.2.1).
    fn mask(self, seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
        let blocks = (0_u32..).flat_map(move |counter| self.0.digest(&[seed, &counter.to_be_bytes()]));
        blocks.take(length).collect::<Vec<_>>().into_iter()
    }
}

impl Algorithm for Pss {
    type SigningKey = NoKey;
    type VerifyingKey = PublicKey;
    type Signature = RawSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self.0 {
            Hash::Sha256 => "PS256",
            Hash::Sha384 => "PS384",
            Hash::Sha512 => "PS512",
        })
    }

    fn sign(&self, key: &NoKey, _message: &[u8]) -> RawSignature {
        match *key {}
    }

    fn verify_signature(&self, signature: &RawSignature, key: &PublicKey, message: &[u8]) -> bool {
        let verdict = || {
            let recovered = key.encoded_message(&signature.0)?;
            let bits = key.bits.checked_sub(1)?;
            // One byte shorter than the modulus if the modulus has one bit in its first byte.
            let (unused, encoded) = recovered.split_at_checked(recovered.len().checked_sub(bits.div_ceil(8))?)?;
            Some(unused.iter().all(|byte| *byte == 0) && self.is_encoding_of(message, encoded, bits)?)
        };
        verdict().unwrap_or(false)
    }
}
