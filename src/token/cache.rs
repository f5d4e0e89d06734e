//! Tokens that were verified under the present keys, so that one which comes again costs a hash and a look.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::verify::Verified;

/// How much is remembered: Envoy's `jwt_cache_config`, per provider and worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens; 0 remembers none.
    pub entries: usize,
    /// Longer tokens are not remembered.
    pub max_token_bytes: usize,
}

/// A bounded memory of verified tokens. The present keys are part of what was verified: whoever changes them
/// [clears](Self::clear) it.
///
/// A token stands under its hash, which nobody can choose, and of which nothing can be learnt by measuring how long a look
/// takes. The less recently used half is forgotten when the other half is full.
#[derive(Debug)]
pub struct TokenCache {
    limits: Limits,
    recent: BTreeMap<Digested, Verified>,
    older: BTreeMap<Digested, Verified>,
}

/// A token's place in the cache.
pub type Digested = [u8; 32];

impl TokenCache {
    /// One that remembers nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, recent: BTreeMap::new(), older: BTreeMap::new() }
    }

    /// The place of this token; `None` if it is not to be remembered.
    pub fn place(&self, token: &[u8]) -> Option<Digested> {
        let fits = self.limits.entries > 0 && token.len() <= self.limits.max_token_bytes;
        fits.then(|| Sha256::digest(token).into())
    }

    /// What is remembered there.
    pub fn get(&mut self, place: &Digested) -> Option<Verified> {
        if let Some(verified) = self.recent.get(place) {
            return Some(*verified);
        }
        let verified = self.older.remove(place)?;
        self.insert(*place, verified);
        Some(verified)
    }

    /// Remembers a verified token there.
    pub fn insert(&mut self, place: Digested, verified: Verified) {
        let half = self.limits.entries.div_euclid(2);
        if self.recent.len() >= half.max(1) {
            let full = std::mem::take(&mut self.recent);
            self.older = if half > 0 { full } else { BTreeMap::new() };
        }
        self.recent.insert(place, verified);
    }

    /// Forgets one.
    pub fn remove(&mut self, place: &Digested) {
        self.recent.remove(place);
        self.older.remove(place);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.recent.clear();
        self.older.clear();
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.recent.len().saturating_add(self.older.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{Algorithm, Key, KeySet},
        time::UnixTime,
        token::{
            rules::Rules,
            signature::{BadSignature, SignatureCheck},
            verify::verify,
        },
    };

    struct Anything;

    impl SignatureCheck for Anything {
        fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
            Ok(())
        }
    }

    fn verified() -> Verified {
        // RFC 7515 A.3.1
        let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let keys = KeySet::new(vec![Key::from_json(key).unwrap()]);
        verify(b"eyJhbGciOiJFUzI1NiJ9.e30.AA", &Rules::lax(), Some(&keys), &Anything, UnixTime::default()).unwrap()
    }

    fn cache(entries: usize) -> TokenCache {
        TokenCache::new(Limits { entries, max_token_bytes: 8 })
    }

    #[test]
    fn holds_no_more_than_it_may_and_the_ones_in_use_longest() {
        for entries in 1..50 {
            let mut cache = cache(entries);
            let favourite = cache.place(b"f").unwrap();
            cache.insert(favourite, verified());
            for number in 0..200_u32 {
                let place = cache.place(&number.to_le_bytes()).unwrap();
                assert!(cache.get(&place).is_none());
                cache.insert(place, verified());
                assert!(cache.get(&place).is_some() && cache.len() <= entries);
                assert!(cache.get(&favourite).is_some() || entries < 4, "{entries} {number}");
            }
        }
    }

    #[test]
    fn forgets_on_demand_and_takes_no_long_tokens() {
        let mut cache = cache(9);
        let [a, b] = [b"a", b"b"].map(|token| cache.place(token).unwrap());
        cache.insert(a, verified());
        cache.insert(b, verified());
        cache.remove(&a);
        assert!(cache.get(&a).is_none() && cache.get(&b).is_some());
        cache.clear();
        assert!(cache.is_empty() && cache.get(&b).is_none());
        assert!(
            cache.place(b"123456789").is_none()
                && TokenCache::new(Limits { entries: 0, max_token_bytes: 8 }).place(b"a").is_none()
        );
    }
}
