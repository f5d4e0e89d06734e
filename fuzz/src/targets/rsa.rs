//! RSA against num-bigint: powers under any modulus, and verdicts on encoded messages that are almost right.

use arbitrary::{Result, Unstructured};
use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate_crypto::{
    rsa::{verify_pkcs1, verify_pss, PublicKey, MODULUS_BITS},
    Hash,
};
use num_bigint::BigUint;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::mutation;

/// The key of RFC 7515 §A.2: modulus and private exponent. The public exponent is 65537.
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgN\
                       MsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665\
                       xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyu\
                       XpoQ";
const PRIVATE: &str = "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1\
                       O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt\
                       4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOo\
                       pznQ";
const LENGTH: usize = 256;

struct SigningKey {
    public: PublicKey,
    modulus: BigUint,
    private: BigUint,
}

thread_local! {
    static KEY: SigningKey = signing_key();
}

fn signing_key() -> SigningKey {
    let [modulus, private] = [MODULUS, PRIVATE].map(|text| BASE64.decode(text).expect("base64url"));
    let public = PublicKey::new(&modulus, &[1, 0, 1]).expect("a good key");
    SigningKey { public, modulus: BigUint::from_bytes_be(&modulus), private: BigUint::from_bytes_be(&private) }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = mutation::random(16, 600);
    seeds.extend((0..16).map(|seed| vec![seed; 40]));
    seeds
}

pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let _ = match u.arbitrary() {
        Ok(true) => powers(&mut u),
        _ => KEY.with(|key| verdicts(key, &mut u)),
    };
}

/// Any modulus, any exponent, any base.
fn powers(u: &mut Unstructured<'_>) -> Result<()> {
    let bits = u.int_in_range(MODULUS_BITS.start() - 9..=MODULUS_BITS.end() + 9)?;
    let length = bits.div_ceil(8);
    let fill = u.arbitrary()?;
    let mut number = |zeros: usize| -> Result<Vec<u8>> {
        let mut bytes = vec![fill; length];
        bytes[..zeros].fill(0);
        // Runs of equal bytes, with a few others: carries go far.
        for _ in 0..u.int_in_range(0..=24)? {
            let at = u.choose_index(length)?;
            bytes[at] = u.arbitrary()?;
        }
        Ok(bytes)
    };
    let (mut modulus, base) = (number(0)?, number(1)?);
    let top = 1_u8 << ((bits - 1) % 8);
    modulus[0] = modulus[0] & (top - 1) | top;
    let exponent: u32 = u.arbitrary()?;
    let is_odd = modulus.last().is_some_and(|byte| byte % 2 == 1);
    let exponent_bytes = exponent.to_be_bytes();
    let Some(key) = PublicKey::new(&modulus, &exponent_bytes) else {
        // ROCA is the only other reason, and takes a modulus of a rare form.
        let is_good = MODULUS_BITS.contains(&bits) && is_odd && exponent % 2 == 1 && exponent > 1;
        assert!(!is_good || (bits as u64 / 8).count_ones() < 64);
        return Ok(());
    };
    assert!(MODULUS_BITS.contains(&bits) && is_odd && exponent % 2 == 1 && exponent > 1);
    assert_eq!((key.modulus(), key.exponent()), (modulus.as_slice(), exponent));
    let [n, b] = [&modulus, &base].map(|bytes| BigUint::from_bytes_be(bytes));
    let expected = (b < n).then(|| b.modpow(&BigUint::from(exponent), &n));
    let found = key.encoded_message(&base);
    assert_eq!(found.as_ref().map(|bytes| bytes.len()), expected.as_ref().map(|_| length));
    assert_eq!(found.map(|bytes| BigUint::from_bytes_be(&bytes)), expected, "{modulus:?} {base:?} {exponent}");
    Ok(())
}

/// A signature of an encoded message with at most a few other bytes. The signature verifies if the encoding is right.
fn verdicts(key: &SigningKey, u: &mut Unstructured<'_>) -> Result<()> {
    let hash = *u.choose(&[Hash::Sha256, Hash::Sha384, Hash::Sha512])?;
    let is_pss: bool = u.arbitrary()?;
    let message = u.bytes(8)?.to_vec();
    let salt: Vec<u8> = (0..digest(hash, b"").len()).map(|at| message[at % 8]).collect();
    let mut encoded = if is_pss { pss(hash, &message, &salt) } else { pkcs1(hash, &message) };
    for _ in 0..u.int_in_range(0..=3)? {
        let at = if u.arbitrary()? { u.choose_index(LENGTH)? } else { u.int_in_range(0..=3)? };
        encoded[at] ^= u.arbitrary::<u8>()?;
    }
    let number = BigUint::from_bytes_be(&encoded);
    if number >= key.modulus {
        return Ok(());
    }
    let bytes = number.modpow(&key.private, &key.modulus).to_bytes_be();
    let mut signature = vec![0; LENGTH - bytes.len()];
    signature.extend_from_slice(&bytes);
    let expected = if is_pss { is_pss_encoding(hash, &message, &encoded) } else { encoded == pkcs1(hash, &message) };
    let verify = if is_pss { verify_pss } else { verify_pkcs1 };
    assert_eq!(verify(&key.public, hash, &message, &signature), expected, "{hash:?} {is_pss} {encoded:?}");
    assert!(!verify(&key.public, hash, b"another message", &signature));
    let other = if is_pss { verify_pkcs1 } else { verify_pss };
    assert!(!other(&key.public, hash, &message, &signature));
    Ok(())
}

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(message).to_vec(),
        Hash::Sha384 => Sha384::digest(message).to_vec(),
        Hash::Sha512 => Sha512::digest(message).to_vec(),
    }
}

/// RFC 8017 §9.2, with the prefixes of note 1.
fn pkcs1(hash: Hash, message: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = match hash {
        Hash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        Hash::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        Hash::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
    };
    let info = [prefix, &digest(hash, message)].concat();
    [vec![0, 1], vec![0xff; LENGTH - 3 - info.len()], vec![0], info].concat()
}

/// RFC 8017 §B.2.1.
fn mgf1(hash: Hash, seed: &[u8], length: usize) -> Vec<u8> {
    let blocks =
        (0..=length / seed.len()).map(|counter| digest(hash, &[seed, &(counter as u32).to_be_bytes()].concat()));
    let mut mask: Vec<u8> = blocks.collect::<Vec<_>>().concat();
    mask.truncate(length);
    mask
}

fn salted_digest(hash: Hash, message: &[u8], salt: &[u8]) -> Vec<u8> {
    digest(hash, &[&[0; 8][..], &digest(hash, message), salt].concat())
}

/// RFC 8017 §9.1.1, in 2047 bits: as many bytes as the modulus has, and the first bit is zero.
fn pss(hash: Hash, message: &[u8], salt: &[u8]) -> Vec<u8> {
    let h = salted_digest(hash, message, salt);
    let mut block = vec![0; LENGTH - h.len() - 1 - salt.len() - 1];
    block.push(1);
    block.extend_from_slice(salt);
    let mask = mgf1(hash, &h, block.len());
    let mut encoded: Vec<u8> = block.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    encoded[0] &= 0x7f;
    encoded.extend_from_slice(&h);
    encoded.push(0xbc);
    encoded
}

/// RFC 8017 §9.1.2, step by step.
fn is_pss_encoding(hash: Hash, message: &[u8], encoded: &[u8]) -> bool {
    let size = digest(hash, b"").len();
    if encoded[LENGTH - 1] != 0xbc || encoded[0] & 0x80 != 0 {
        return false;
    }
    let (masked, h) = (&encoded[..LENGTH - size - 1], &encoded[LENGTH - size - 1..LENGTH - 1]);
    let mask = mgf1(hash, h, masked.len());
    let mut block: Vec<u8> = masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    block[0] &= 0x7f;
    let (padding, salt) = block.split_at(block.len() - size);
    let Some((1, zeros)) = padding.split_last() else { return false };
    zeros.iter().all(|byte| *byte == 0) && salted_digest(hash, message, salt) == h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encodings_of_the_reference_verify() {
        let key = signing_key();
        type Verify = fn(&PublicKey, Hash, &[u8], &[u8]) -> bool;
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let salt = vec![7; digest(hash, b"").len()];
            for (encoded, verify) in [(pkcs1(hash, b"m"), verify_pkcs1 as Verify), (pss(hash, b"m", &salt), verify_pss)]
            {
                let bytes = BigUint::from_bytes_be(&encoded).modpow(&key.private, &key.modulus).to_bytes_be();
                let signature = [vec![0; LENGTH - bytes.len()], bytes].concat();
                assert!(verify(&key.public, hash, b"m", &signature), "{hash:?}");
            }
        }
    }
}
