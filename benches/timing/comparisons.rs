//! The comparisons of secrets, each with a guess that is wrong at its start and one that is wrong at its end.

use jwks_gate::{
    keys::{document, Algorithm, Key, KeySet},
    shared::seal::Seal,
    time::UnixTime,
    token::{
        cache::{Limits, TokenCaches},
        jws::Jws,
        signature::{BadSignature, SignatureCheck, WasmVerifier},
        validation::TokenPolicy,
        verify::verify,
    },
};
use jwks_gate_issuer::{Alg, SigningKey};
use serde_json::json;

/// Whether a guess is right.
type Compare = Box<dyn FnMut(&[u8]) -> bool>;

pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    /// What the two guesses are.
    pub(crate) classes: &'static str,
    /// Whether the comparison is known to stop at the first difference: the measurement has to notice.
    pub(crate) is_control: bool,
    pub(crate) guesses: [Vec<u8>; 2],
    pub(crate) compare: Compare,
}

const CLASSES: &str = "the first byte is wrong; the last byte is wrong";

/// The secret with its byte at `first`, and with its byte at `last`, changed.
fn wrong_at(secret: &[u8], first: usize, last: usize) -> [Vec<u8>; 2] {
    [first, last].map(|index| {
        let mut guess = secret.to_vec();
        guess[index] ^= 1;
        guess
    })
}

pub(crate) fn all() -> Vec<Comparison> {
    vec![control(), hmac(Alg::Hs256, "HS256"), hmac(Alg::Hs512, "HS512"), seal(), cache()]
}

/// `==` of slices stops at the first difference.
fn control() -> Comparison {
    let secret = vec![7; 1000];
    let guesses = wrong_at(&secret, 0, 999);
    let compare = Box::new(move |guess: &[u8]| guess.iter().zip(&secret).all(|(one, other)| one == other));
    Comparison { name: "control: a comparison that stops", classes: CLASSES, is_control: true, guesses, compare }
}

fn hmac(alg: Alg, name: &'static str) -> Comparison {
    let signing_key = SigningKey::generate(alg, "k");
    let jwks = json!({"keys": [signing_key.public_jwk()]}).to_string();
    let key = document::parse_local(jwks.as_bytes()).unwrap().keys.published().next().unwrap().clone();
    let token = signing_key.mint(&json!({"sub": "somebody"}));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let signed = signed.as_bytes().to_vec();
    let jws = Jws::parse(token.as_bytes().into()).unwrap();
    let (tag, algorithm) = (jws.signature.clone(), jws.algorithm);
    assert!(WasmVerifier.check(&key, algorithm, &signed, &tag).is_ok());
    let guesses = wrong_at(&tag, 0, tag.len() - 1);
    let compare = Box::new(move |tag: &[u8]| WasmVerifier.check(&key, algorithm, &signed, tag).is_ok());
    Comparison { name, classes: CLASSES, is_control: false, guesses, compare }
}

fn seal() -> Comparison {
    let seal = Seal::new(b"a secret of some length").unwrap();
    let sealed = seal.seal("key", &[7; 200]);
    let guesses = wrong_at(&sealed, 200, sealed.len() - 1);
    let compare = Box::new(move |sealed: &[u8]| seal.open("key", sealed).is_some());
    Comparison { name: "HMAC of shared data", classes: CLASSES, is_control: false, guesses, compare }
}

/// The end of a signature finds an entry; then the whole token is compared.
fn cache() -> Comparison {
    let mut caches = TokenCaches::default();
    let id = caches.add(Limits { entries: 100, max_token_bytes: 4096 });
    let token: Vec<u8> = (0..900_u32).map(|number| b'a' + (number * 7 % 26) as u8).collect();
    caches.insert(id, &token, verified(), None, UnixTime::default());
    assert!(caches.get(id, &token).is_some());
    let guesses = wrong_at(&token, 0, token.len() - 17);
    let compare = Box::new(move |token: &[u8]| caches.get(id, token).is_some());
    let classes = "the first byte is wrong; the last before the 16 that find the entry";
    Comparison { name: "cache of verified tokens", classes, is_control: false, guesses, compare }
}

struct Unchecked;

impl SignatureCheck for Unchecked {
    fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

fn verified() -> jwks_gate::token::verify::Verified {
    let key = SigningKey::generate(Alg::Es256, "k");
    let keys = KeySet::new(vec![Key::from_json(&key.public_jwk().to_string()).unwrap()]);
    let jws = Jws::parse(key.mint(&json!({})).as_bytes().into()).unwrap();
    verify(&jws, &TokenPolicy::permissive(), Some(&keys), &Unchecked, UnixTime::default()).unwrap()
}
