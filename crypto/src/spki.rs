//! Reads public keys out of DER (X.690): of a certificate, a SubjectPublicKeyInfo (RFC 5280 §4.1), or an RSAPublicKey (RFC 8017
//! §A.1.1).
//!
//! Nothing of a certificate is judged: neither its signature nor its validity nor its issuer.

use crate::der;

/// A public key as encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// An RSA key. Both numbers are big-endian and positive, and may begin with a zero.
    Rsa {
        /// The modulus.
        modulus: &'a [u8],
        /// The public exponent.
        exponent: &'a [u8],
    },
    /// An EC key on a named curve.
    Ec {
        /// The curve as an object identifier with tag and length, such as [`der::P256`].
        curve: &'a [u8],
        /// The point (SEC 1 §2.3.3).
        point: &'a [u8],
    },
    /// An Ed25519 key (RFC 8410 §4).
    Ed25519(&'a [u8]),
    /// A key of another type.
    Other,
}

/// `[0]`, which holds the version of a certificate.
const VERSION: u8 = 0xa0;

/// The key that a certificate certifies. Returns `None` if the certificate is malformed.
pub fn certificate(encoded: &[u8]) -> Option<PublicKey<'_>> {
    let mut certificate = Reader(Reader(encoded).element(der::SEQUENCE)?);
    let mut fields = Reader(certificate.element(der::SEQUENCE)?);
    // A certificate of version 1 does not state the version.
    let _version = fields.element(VERSION);
    let _serial_number = fields.element(der::INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        fields.element(der::SEQUENCE)?;
    }
    key_of(fields.element(der::SEQUENCE)?)
}

/// The key of a SubjectPublicKeyInfo. Returns `None` if the encoding is malformed.
pub fn public_key(encoded: &[u8]) -> Option<PublicKey<'_>> {
    key_of(Reader(encoded).element(der::SEQUENCE)?)
}

/// The key of an RSAPublicKey. Returns `None` if the encoding is malformed.
pub fn rsa_key(encoded: &[u8]) -> Option<PublicKey<'_>> {
    let mut numbers = Reader(Reader(encoded).element(der::SEQUENCE)?);
    let mut positive =
        || numbers.element(der::INTEGER).filter(|number| number.first().is_some_and(|byte| *byte < 0x80));
    Some(PublicKey::Rsa { modulus: positive()?, exponent: positive()? })
}

fn key_of(info: &[u8]) -> Option<PublicKey<'_>> {
    let mut info = Reader(info);
    let algorithm = info.element(der::SEQUENCE)?;
    // The first byte counts unused bits.
    let key = info.element(der::BIT_STRING)?.strip_prefix(&[0])?;
    if algorithm.starts_with(der::RSA) {
        return rsa_key(key);
    }
    if algorithm == der::ED25519 {
        return Some(PublicKey::Ed25519(key));
    }
    Some(algorithm.strip_prefix(der::EC).map_or(PublicKey::Other, |curve| PublicKey::Ec { curve, point: key }))
}

/// Reads elements one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element. Returns `None`, and stays, if the next element has another tag or is not complete.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let append = |number: usize, digit: &u8| number.checked_mul(256)?.checked_add(usize::from(*digit));
                (digits.iter().try_fold(0, append)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read() {
        let (n, e) = ([0xc3; 256], [1, 0, 1]);
        let encoded = der::rsa_key(&n, &e);
        let Some(PublicKey::Rsa { modulus, exponent }) = public_key(&encoded) else { panic!("no RSA key") };
        assert_eq!((modulus.strip_prefix(&[0]).unwrap(), exponent), (&n[..], &e[..]));
        let encoded = der::ec_key(der::P384, &[1; 48], &[2; 48]);
        let point = [&[4][..], &[1; 48], &[2; 48]].concat();
        assert_eq!(public_key(&encoded), Some(PublicKey::Ec { curve: der::P384, point: &point }));
        for length in 0..encoded.len() {
            assert_eq!(public_key(&encoded[..length]), None, "{length}");
        }
    }

    #[test]
    fn lengths_are_bounded_by_what_is_there() {
        let read = |bytes: &[u8]| Reader(bytes).element(der::SEQUENCE).map(<[u8]>::to_vec);
        assert_eq!(read(&[0x30, 0x82, 0, 1, 7, 8]), Some(vec![7]));
        for bad in [&[0x30][..], &[0x30, 1], &[0x30, 0x80, 0, 0], &[0x30, 0x82, 1], &[0x31, 0]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1]), None);
        assert_eq!(read(&[0x30, 0x88, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn numbers_are_positive() {
        assert!(rsa_key(&[0x30, 6, 2, 1, 0x7f, 2, 1, 3]).is_some());
        assert_eq!(rsa_key(&[0x30, 6, 2, 1, 0x80, 2, 1, 3]), None);
        assert_eq!(rsa_key(&[0x30, 5, 2, 0, 2, 1, 3]), None);
    }
}
