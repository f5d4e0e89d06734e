//! Caches of verified tokens: a token that returns needs no second signature verification.

mod single;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::single::TokenCache;
use super::verify::Verified;
use crate::time::UnixTime;

/// Limits of a cache, per provider and worker: Envoy's `jwt_cache_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of tokens; 0 disables the cache.
    pub entries: usize,
    /// Longer tokens are not cached.
    pub max_token_bytes: usize,
}

/// Largest number of bytes in all caches of an engine together.
pub const MAX_BYTES: usize = 16 << 20;

/// How many expired tokens an insert drops, so that no insert takes long. More than one, so that the expired tokens run out.
const EXPIRED_PER_INSERT: usize = 2;

/// The caches of an engine: one for each provider and token policy. An entry is valid for the keys that verified the token: the
/// owner must [clear](Self::clear) a cache when its keys change.
///
/// All caches share one budget. Each insert drops expired tokens of any cache. If the budget is still exceeded, the largest cache
/// loses the token that was used longest ago. So the tokens of one provider never push out those of a provider whose cache
/// takes no more than its equal share.
#[derive(Debug)]
pub struct TokenCaches {
    caches: Vec<TokenCache>,
    bytes: usize,
    max_bytes: usize,
    /// The caches with tokens, by their bytes.
    by_bytes: BTreeSet<(usize, CacheId)>,
    /// The caches with tokens that expire, by the first end.
    by_end: BTreeSet<(UnixTime, CacheId)>,
}

/// One of the [`TokenCaches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheId(usize);

impl Default for TokenCaches {
    fn default() -> Self {
        Self::with_budget(MAX_BYTES)
    }
}

impl TokenCaches {
    /// No cache yet. All caches together will take at most `max_bytes`.
    pub fn with_budget(max_bytes: usize) -> Self {
        let (caches, by_bytes, by_end) = Default::default();
        Self { caches, bytes: 0, max_bytes, by_bytes, by_end }
    }

    /// Adds an empty cache.
    pub fn add(&mut self, limits: Limits) -> CacheId {
        self.caches.push(TokenCache::new(limits));
        CacheId(self.caches.len().saturating_sub(1))
    }

    /// The proof for `token`, if the token is cached. The token may have expired.
    pub fn get(&mut self, id: CacheId, token: &[u8]) -> Option<Verified> {
        self.caches.get_mut(id.0)?.get(token)
    }

    /// Caches a verified token, unless the limits exclude the token. `end` is when the token expires.
    pub fn insert(&mut self, id: CacheId, token: &[u8], verified: Verified, end: Option<UnixTime>, now: UnixTime) {
        self.change(id, |cache| cache.insert(token, verified, end, now));
        for _ in 0..EXPIRED_PER_INSERT {
            let expired = self.by_end.first().filter(|(end, _)| *end <= now).map(|(_, id)| *id);
            expired.into_iter().for_each(|id| self.evict(id, now));
        }
        while self.bytes > self.max_bytes {
            let expired = self.by_end.first().filter(|(end, _)| *end <= now).map(|(_, id)| *id);
            let largest = || self.by_bytes.last().map(|(_, id)| *id);
            let Some(id) = expired.or_else(largest) else { break };
            self.evict(id, now);
        }
    }

    /// Removes `token`, and any token with the same suffix.
    pub fn remove(&mut self, id: CacheId, token: &[u8]) {
        self.change(id, |cache| cache.remove(token));
    }

    /// Removes all tokens of this cache.
    pub fn clear(&mut self, id: CacheId) {
        self.change(id, TokenCache::clear);
    }

    /// The number of tokens in this cache.
    pub fn len(&self, id: CacheId) -> usize {
        self.caches.get(id.0).map_or(0, TokenCache::len)
    }

    /// What all caches together take, in bytes: the tokens, and what each entry takes beside its token.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self, id: CacheId, now: UnixTime) {
        self.change(id, |cache| {
            cache.evict(now);
        });
    }

    /// Changes a cache, and what is known of all caches with it.
    fn change(&mut self, id: CacheId, change: impl FnOnce(&mut TokenCache)) {
        let Some(cache) = self.caches.get_mut(id.0) else { return };
        let (bytes, end) = (cache.bytes(), cache.first_end());
        change(cache);
        self.bytes = self.bytes.saturating_sub(bytes).saturating_add(cache.bytes());
        if bytes != cache.bytes() {
            self.by_bytes.remove(&(bytes, id));
            if cache.len() > 0 {
                self.by_bytes.insert((cache.bytes(), id));
            }
        }
        if end != cache.first_end() {
            end.map(|end| self.by_end.remove(&(end, id)));
            self.by_end.extend(cache.first_end().map(|end| (end, id)));
        }
    }
}
