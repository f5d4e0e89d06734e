//! Public keys and self-signed certificates in PEM, as Google and Firebase publish them.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

const SEQUENCE: u8 = 0x30;

/// The public key under this label, such as `PUBLIC KEY`.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An X.509 certificate for a SubjectPublicKeyInfo. It expired in 2020, and its signature is void: readers of key documents
/// judge neither.
pub(crate) fn certificate(public_key: &[u8]) -> Vec<u8> {
    let common_name = value(SEQUENCE, &[&[0x06, 3, 0x55, 4, 3], &value(0x0c, &[b"issuer.test"])]);
    let name = value(SEQUENCE, &[&value(0x31, &[&common_name])]);
    let validity = value(SEQUENCE, &[&value(0x17, &[b"200101000000Z"]), &value(0x17, &[b"200102000000Z"])]);
    // sha256WithRSAEncryption
    let algorithm = value(SEQUENCE, &[&[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0]]);
    let version = value(0xa0, &[&[2, 1, 2]]);
    let signed = value(SEQUENCE, &[&version, &[2, 1, 1], &algorithm, &name, &validity, &name, public_key]);
    value(SEQUENCE, &[&signed, &algorithm, &value(3, &[&[0; 257]])])
}

fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("a short value").to_be_bytes();
    let length = match length {
        [0, short @ 0..=0x7f] => vec![short],
        [high, low] => vec![0x82, high, low],
    };
    // DER wants the shortest form.
    let length = if let [0x82, 0, low] = length[..] { vec![0x81, low] } else { length };
    [&[tag], &length[..], &content].concat()
}
