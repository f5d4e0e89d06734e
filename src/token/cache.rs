//! A cache of verified tokens: a token that returns needs no second signature verification.

use std::collections::BTreeMap;

use super::verify::Verified;

/// Limits of a cache, per provider and worker: Envoy's `jwt_cache_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of tokens; 0 disables the cache.
    pub entries: usize,
    /// Longer tokens are not cached.
    pub max_token_bytes: usize,
}

/// Largest sum of all token lengths in one cache, whatever the limits.
const MAX_BYTES: usize = 1 << 20;

/// A bounded cache of verified tokens. An entry is valid for the keys that verified the token: the owner must
/// [clear](Self::clear) the cache when the keys change.
///
/// Entries are keyed by the last 96 bits of the signature, which only the issuer can choose; then the whole token is
/// compared in constant time. The cache has two generations. When the recent generation is full, it replaces the older
/// generation; entries that were not used since the previous replacement are dropped.
#[derive(Debug)]
pub struct TokenCache {
    limits: Limits,
    recent: Generation,
    older: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    tokens: BTreeMap<[u8; SUFFIX_CHARS], Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    verified: Verified,
}

/// Characters of the suffix that keys an entry: 96 bits in base64url.
const SUFFIX_CHARS: usize = 16;

impl TokenCache {
    /// Creates an empty cache.
    pub fn new(limits: Limits) -> Self {
        Self { limits, recent: Generation::default(), older: Generation::default() }
    }

    /// The proof for `token`, if the token is cached.
    pub fn get(&mut self, token: &[u8]) -> Option<Verified> {
        let suffix = token.last_chunk::<SUFFIX_CHARS>()?;
        if let Some(entry) = self.recent.tokens.get(suffix) {
            return entry.matches(token).then_some(entry.verified);
        }
        if !self.older.tokens.get(suffix)?.matches(token) {
            return None;
        }
        let entry = self.older.remove(suffix)?;
        let verified = entry.verified;
        self.insert_entry(*suffix, entry);
        Some(verified)
    }

    /// Caches a verified token, unless the limits exclude it.
    pub fn insert(&mut self, token: &[u8], verified: Verified) {
        let Some(suffix) = token.last_chunk::<SUFFIX_CHARS>() else { return };
        if self.limits.entries > 0 && token.len() <= self.limits.max_token_bytes.min(MAX_BYTES.div_euclid(4)) {
            self.older.remove(suffix);
            self.insert_entry(*suffix, Entry { token: token.into(), verified });
        }
    }

    fn insert_entry(&mut self, suffix: [u8; SUFFIX_CHARS], entry: Entry) {
        let capacity = self.limits.entries.div_euclid(2);
        let bytes = self.recent.bytes.saturating_add(entry.token.len());
        if self.recent.tokens.len() >= capacity.max(1) || bytes > MAX_BYTES.div_euclid(2) {
            let full = std::mem::take(&mut self.recent);
            self.older = if capacity > 0 { full } else { Generation::default() };
        }
        self.recent.remove(&suffix);
        self.recent.bytes = self.recent.bytes.saturating_add(entry.token.len());
        self.recent.tokens.insert(suffix, entry);
    }

    /// Removes `token`, and any token with the same suffix.
    pub fn remove(&mut self, token: &[u8]) {
        if let Some(suffix) = token.last_chunk::<SUFFIX_CHARS>() {
            self.recent.remove(suffix);
            self.older.remove(suffix);
        }
    }

    /// Removes all tokens.
    pub fn clear(&mut self) {
        (self.recent, self.older) = Default::default();
    }

    /// The number of cached tokens.
    pub fn len(&self) -> usize {
        self.recent.tokens.len().saturating_add(self.older.tokens.len())
    }

    /// Whether no token is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of the lengths of all cached tokens, in bytes.
    pub fn bytes(&self) -> usize {
        self.recent.bytes.saturating_add(self.older.bytes)
    }
}

impl Generation {
    fn remove(&mut self, suffix: &[u8; SUFFIX_CHARS]) -> Option<Entry> {
        let entry = self.tokens.remove(suffix)?;
        self.bytes = self.bytes.saturating_sub(entry.token.len());
        Some(entry)
    }
}

impl Entry {
    /// Compares the whole token, in constant time for equal lengths.
    fn matches(&self, token: &[u8]) -> bool {
        self.token.len() == token.len()
            && self.token.iter().zip(token).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{Algorithm, Key, KeySet},
        time::UnixTime,
        token::{
            jws::Jws,
            signature::{BadSignature, SignatureCheck},
            validation::TokenPolicy,
            verify::verify,
        },
    };

    struct AcceptAll;

    impl SignatureCheck for AcceptAll {
        fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
            Ok(())
        }
    }

    fn verified() -> Verified {
        // RFC 7515 A.3.1
        let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let keys = KeySet::new(vec![Key::from_json(key).unwrap()]);
        let jws = Jws::parse(b"eyJhbGciOiJFUzI1NiJ9.e30.AA"[..].into()).unwrap();
        verify(&jws, &TokenPolicy::permissive(), Some(&keys), &AcceptAll, UnixTime::default()).unwrap()
    }

    fn token(number: u32) -> Vec<u8> {
        format!("{number:040}").into_bytes()
    }

    #[test]
    fn entries_are_bounded_and_tokens_in_use_stay() {
        for entries in 1..50 {
            let mut cache = TokenCache::new(Limits { entries, max_token_bytes: 40 });
            let in_use = token(1_000);
            cache.insert(&in_use, verified());
            for number in 0..200 {
                assert!(cache.get(&token(number)).is_none());
                cache.insert(&token(number), verified());
                assert!(cache.get(&token(number)).is_some() && cache.len() <= entries);
                assert!(cache.get(&in_use).is_some() || entries < 4, "{entries} {number}");
                assert_eq!(cache.bytes(), cache.len() * 40);
            }
        }
    }

    #[test]
    fn bytes_are_bounded() {
        let mut cache = TokenCache::new(Limits { entries: 100_000, max_token_bytes: 4096 });
        for number in 0..2_000_u32 {
            cache.insert(&[vec![b'x'; 4_056], token(number)].concat(), verified());
            assert!(cache.bytes() <= MAX_BYTES && cache.bytes() == cache.len() * 4096);
        }
        assert!(cache.len() > 100);
    }

    #[test]
    fn a_hit_requires_the_whole_token_to_match() {
        let mut cache = TokenCache::new(Limits { entries: 9, max_token_bytes: 100 });
        cache.insert(&token(1), verified());
        for index in 0..40 {
            let mut other = token(1);
            other[index] ^= 1;
            assert!(cache.get(&other).is_none());
        }
        assert!(cache.get(&token(1)[1..]).is_none() && cache.get(&[b"0", token(1).as_slice()].concat()).is_none());
        assert!(cache.get(&token(1)).is_some() && cache.get(b"").is_none());
        // Another token with the same suffix replaces the first.
        let mut other = token(1);
        other[0] = b'1';
        cache.insert(&other, verified());
        assert!(cache.get(&other).is_some() && cache.get(&token(1)).is_none() && cache.len() == 1);
    }

    #[test]
    fn tokens_can_be_removed_and_long_ones_are_not_cached() {
        let mut cache = TokenCache::new(Limits { entries: 9, max_token_bytes: 40 });
        cache.insert(&token(1), verified());
        cache.insert(&token(2), verified());
        cache.remove(&token(1));
        assert!(cache.get(&token(1)).is_none() && cache.get(&token(2)).is_some());
        cache.clear();
        assert!(cache.is_empty() && cache.bytes() == 0 && cache.get(&token(2)).is_none());
        cache.insert(&[b'x'; 41], verified());
        assert!(cache.is_empty());
        let mut none = TokenCache::new(Limits { entries: 0, max_token_bytes: 40 });
        none.insert(&token(1), verified());
        assert!(none.is_empty());
    }
}
