//! The keys of one document, and which of them a token may be checked with.

use super::{Algorithm, Key};

/// The usable keys of one issuer at one generation.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// More candidates than this for one token are not tried: each costs a signature check.
const MAX_CANDIDATES: usize = 8;

impl KeySet {
    /// A set of these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether some key carries this `kid`.
    pub fn names(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// The keys that a token with this `kid` and algorithm may be checked with, at most eight.
    ///
    /// A `kid` selects the keys that carry it; where none does, keys published without a `kid` stand in, as in Envoy's
    /// `jwt_authn`. A token without `kid` may be checked with each key that fits its algorithm.
    pub fn candidates<'a>(&'a self, kid: Option<&'a str>, algorithm: Algorithm) -> impl Iterator<Item = &'a Key> {
        let named = kid.is_some_and(|kid| self.names(kid));
        self.keys
            .iter()
            .filter(move |key| match (kid, named) {
                (Some(kid), true) => key.kid() == Some(kid),
                (Some(_), false) => key.kid().is_none(),
                (None, _) => true,
            })
            .filter(move |key| key.fits(algorithm))
            .take(MAX_CANDIDATES)
    }
}
