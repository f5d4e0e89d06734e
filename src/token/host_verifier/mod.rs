//! Signature verification by the host. Envoy's foreign function `verify_signature`
//! (`source/extensions/common/wasm/foreign.cc`) runs BoringSSL, several times as fast as code in the VM.
//!
//! The function takes a protobuf message (hash name, key as SubjectPublicKeyInfo, signature, text). It supports
//! RSASSA-PKCS1-v1_5 and ECDSA with DER signatures. An algorithm is left to the host only after the self-test: the host
//! must accept a good signature and deny bad ones.

mod self_test;

use std::fmt;

use self::self_test::KnownSignature;
use super::signature::{BadSignature, SignatureCheck, WasmVerifier};
use crate::{
    bytes,
    crypto::{der, Hash},
    keys::{Algorithm, Key, Material},
};

/// The name of Envoy's foreign function.
pub const FUNCTION: &str = "verify_signature";

/// Verifies on the host the algorithms that passed the self-test, and all others in the VM.
pub struct HostVerifier<H> {
    host: H,
    trusted: Vec<Algorithm>,
}

impl<H> fmt::Debug for HostVerifier<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostVerifier").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

impl<H: Fn(&[u8]) -> Option<Vec<u8>>> HostVerifier<H> {
    /// Creates a verifier that never calls the host.
    pub fn disabled(host: H) -> Self {
        Self { host, trusted: Vec::new() }
    }

    /// Creates a verifier and runs the self-test. `host` calls the foreign function with an argument; `None` means that
    /// the call failed.
    pub fn new(host: H) -> Self {
        let mut verifier = Self::disabled(host);
        verifier.trusted =
            self_test::known_signatures().filter(|known| verifier.passes(known)).map(|known| known.algorithm).collect();
        verifier
    }

    /// The algorithms that the host verifies.
    pub fn trusted(&self) -> &[Algorithm] {
        &self.trusted
    }

    /// The self-test of one algorithm: the host accepts the known signature, and denies another text, a tampered
    /// signature and a signature of zeros.
    fn passes(&self, known: &KnownSignature) -> bool {
        let KnownSignature { algorithm, key, signature } = known;
        let verify = |text: &[u8], signature: &[u8]| self.verify_on_host(key, *algorithm, text, signature);
        let mut tampered = signature.clone();
        if let Some(byte) = tampered.last_mut() {
            *byte ^= 1;
        }
        verify(self_test::TEXT, signature) == Some(true)
            && [
                (&b"another text"[..], signature),
                (self_test::TEXT, &tampered),
                (self_test::TEXT, &vec![0; signature.len()]),
            ]
            .into_iter()
            .all(|(text, signature)| verify(text, signature) == Some(false))
    }

    /// The verdict of the host. Returns `None` if the host does not support the algorithm, or if the call fails. A
    /// signature of the wrong length is denied without a call.
    fn verify_on_host(&self, key: &Key, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> Option<bool> {
        let (hash, signature) = match (algorithm, key.material()) {
            (Algorithm::Rs(hash), Material::Rsa(key)) if signature.len() == key.modulus().len() => {
                (hash, signature.to_vec())
            }
            (Algorithm::Es(hash), _) if signature.len() == ecdsa_signature_len(hash) => {
                (hash, der::ecdsa_signature(signature)?)
            }
            (Algorithm::Rs(_), Material::Rsa(_)) | (Algorithm::Es(_), _) => return Some(false),
            _ => return None,
        };
        let result = (self.host)(&encode_request(hash, key.public_der()?, &signature, text))?;
        // The protobuf message `{1: true}`. A denial omits field 1 and carries an error text.
        Some(result == [0x08, 0x01])
    }
}

impl<H: Fn(&[u8]) -> Option<Vec<u8>>> SignatureCheck for HostVerifier<H> {
    fn check(&self, key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        if !key.fits(algorithm) {
            return Err(BadSignature);
        }
        let host_verdict = if self.trusted.contains(&algorithm) {
            self.verify_on_host(key, algorithm, signed, signature)
        } else {
            None
        };
        match host_verdict {
            Some(good) => good.then_some(()).ok_or(BadSignature),
            None => WasmVerifier.check(key, algorithm, signed, signature),
        }
    }

    fn supports(&self, algorithm: Algorithm) -> bool {
        self.trusted.contains(&algorithm) || WasmVerifier.supports(algorithm)
    }
}

/// Length in bytes of an ECDSA signature in JOSE form, on the curve that belongs to `hash` (RFC 7518 §3.4).
fn ecdsa_signature_len(hash: Hash) -> usize {
    match hash {
        Hash::Sha256 => 64,
        Hash::Sha384 => 96,
        Hash::Sha512 => 132,
    }
}

/// Encodes the protobuf message that the foreign function takes.
fn encode_request(hash: Hash, key: &[u8], signature: &[u8], text: &[u8]) -> Vec<u8> {
    let name: &[u8] = match hash {
        Hash::Sha256 => b"sha256",
        Hash::Sha384 => b"sha384",
        Hash::Sha512 => b"sha512",
    };
    let mut message =
        Vec::with_capacity([name, key, signature, text].map(<[u8]>::len).iter().sum::<usize>().saturating_add(32));
    for (tag, value) in [(0x0a, name), (0x12, key), (0x1a, signature), (0x22, text)] {
        bytes::push_field(&mut message, tag, value);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four fields of a message, decoded as a host does.
    fn fields(mut message: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        while let [tag, rest @ ..] = message {
            assert_eq!(usize::from(*tag), (fields.len() + 1) << 3 | 2);
            let bytes = rest.iter().position(|byte| *byte < 0x80).unwrap() + 1;
            let length = rest[..bytes].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
            fields.push(rest[bytes..][..length].to_vec());
            message = &rest[bytes + length..];
        }
        fields
    }

    type Answer = fn(bool) -> Option<Vec<u8>>;

    /// A host that knows whether a signature is good, and replies with what `answer` makes of the verdict.
    fn host(answer: Answer) -> impl Fn(&[u8]) -> Option<Vec<u8>> {
        move |message| {
            let request = fields(message);
            let good = self_test::known_signatures().any(|known| {
                let signature = match known.algorithm {
                    Algorithm::Es(_) => der::ecdsa_signature(&known.signature).unwrap(),
                    _ => known.signature.clone(),
                };
                let hash = match known.algorithm {
                    Algorithm::Es(hash) | Algorithm::Rs(hash) => format!("{hash:?}").to_lowercase(),
                    _ => unreachable!(),
                };
                request
                    == [
                        hash.into_bytes(),
                        known.key.public_der().unwrap().to_vec(),
                        signature,
                        self_test::TEXT.to_vec(),
                    ]
            });
            answer(good)
        }
    }

    fn honest(good: bool) -> Option<Vec<u8>> {
        Some(if good { vec![0x08, 0x01] } else { b"\x12\x03bad".to_vec() })
    }

    #[test]
    fn known_signatures_verify_and_tampered_ones_do_not() {
        assert_eq!(self_test::known_signatures().count(), 6);
        for known in self_test::known_signatures() {
            let check = |text, signature: &[u8]| WasmVerifier.check(&known.key, known.algorithm, text, signature);
            assert_eq!(check(self_test::TEXT, &known.signature), Ok(()), "{:?}", known.algorithm);
            assert_eq!(check(b"another text", &known.signature), Err(BadSignature));
            assert_eq!(check(self_test::TEXT, &known.signature[1..]), Err(BadSignature));
        }
    }

    #[test]
    fn a_host_is_trusted_only_if_it_tells_good_from_bad_signatures() {
        assert_eq!(HostVerifier::new(host(honest)).trusted().len(), 6);
        let liars: [Answer; 5] =
            [|_| None, |_| honest(true), |_| honest(false), |good| honest(!good), |_| Some(Vec::new())];
        for liar in liars {
            assert!(HostVerifier::new(host(liar)).trusted().is_empty());
        }
    }

    #[test]
    fn the_vm_verifies_when_the_host_cannot_answer() {
        let calls = std::cell::Cell::new(0);
        let host = host(honest);
        let verifier = HostVerifier::new(|message: &[u8]| {
            calls.set(calls.get() + 1);
            // The calls of the self-test succeed; later calls fail.
            if calls.get() <= 24 {
                host(message)
            } else {
                None
            }
        });
        assert_eq!(verifier.trusted().len(), 6);
        for known in self_test::known_signatures() {
            assert_eq!(verifier.check(&known.key, known.algorithm, self_test::TEXT, &known.signature), Ok(()));
            assert_eq!(verifier.check(&known.key, known.algorithm, b"x", &known.signature), Err(BadSignature));
        }
        assert_eq!(calls.get(), 24 + 12);
    }

    #[test]
    fn signatures_of_wrong_length_are_denied_without_a_host_call() {
        let verifier = HostVerifier::new(host(honest));
        let known = self_test::known_signatures().next().unwrap();
        let long = [&[0], known.signature.as_slice()].concat();
        assert_eq!(verifier.verify_on_host(&known.key, known.algorithm, self_test::TEXT, &long), Some(false));
    }
}
