//! DER encoding (X.690) of what a host verifies with: public keys as SubjectPublicKeyInfo (RFC 5280 §4.1) and ECDSA
//! signatures as `Ecdsa-Sig-Value` (RFC 3279 §2.2.3).

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;
/// The value NULL.
const NULL: &[u8] = &[0x05, 0];

/// The object identifier `rsaEncryption` (RFC 8017 §A.1).
pub(crate) const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// The object identifier `id-ecPublicKey` (RFC 5480 §2.1.1).
pub(crate) const EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// The object identifier `id-Ed25519` (RFC 8410 §3).
pub(crate) const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
/// The object identifier of P-256, `secp256r1` (RFC 5480 §2.1.1.1).
pub const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// The object identifier of P-384, `secp384r1` (RFC 5480 §2.1.1.1).
pub const P384: &[u8] = &[0x06, 5, 0x2b, 0x81, 0x04, 0, 0x22];
/// The object identifier of P-521, `secp521r1` (RFC 5480 §2.1.1.1).
pub const P521: &[u8] = &[0x06, 5, 0x2b, 0x81, 0x04, 0, 0x23];

/// Encodes an RSA public key. `modulus` and `exponent` are big-endian.
pub fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = value(SEQUENCE, &[&integer(modulus), &integer(exponent)]);
    value(SEQUENCE, &[&value(SEQUENCE, &[RSA, NULL]), &value(BIT_STRING, &[&[0], &key])])
}

/// Encodes an EC public key as an uncompressed point. `curve` is [`P256`], [`P384`] or [`P521`]; `x` and `y` are
/// big-endian and as long as the field.
pub fn ec_key(curve: &[u8], x: &[u8], y: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&value(SEQUENCE, &[EC, curve]), &value(BIT_STRING, &[&[0, 4], x, y])])
}

/// Encodes an ECDSA signature given in JOSE form (RFC 7518 §3.4): `r` followed by `s`, of equal length.
///
/// Returns `None` if the length is odd.
pub fn ecdsa_signature(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(signature.len().checked_div(2)?)?;
    (r.len() == s.len()).then(|| value(SEQUENCE, &[&integer(r), &integer(s)]))
}

fn integer(big_endian: &[u8]) -> Vec<u8> {
    let number: Vec<u8> = big_endian.iter().copied().skip_while(|byte| *byte == 0).collect();
    // A leading zero keeps the number positive; zero itself has one byte.
    let sign: &[u8] = if number.first().is_none_or(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    value(INTEGER, &[sign, &number])
}

fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let length = match significant.as_slice() {
        [] => vec![0],
        [short] if *short < 0x80 => vec![*short],
        long => [&[0x80 | u8::try_from(long.len()).unwrap_or_default()], long].concat(),
    };
    [&[tag], length.as_slice(), &content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_positive_and_minimal() {
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(value(SEQUENCE, &[&[7; 200]])[..4], [0x30, 0x81, 200, 7]);
        assert_eq!(value(SEQUENCE, &[&[7; 300]])[..5], [0x30, 0x82, 1, 44, 7]);
    }

    #[test]
    fn signatures_encode_two_integers() {
        assert_eq!(ecdsa_signature(&[0, 1, 0xff, 2]).unwrap(), [0x30, 8, 2, 1, 1, 2, 3, 0, 0xff, 2]);
        assert_eq!(ecdsa_signature(&[1, 2, 3]), None);
        assert_eq!(ecdsa_signature(&[]).unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }
}
