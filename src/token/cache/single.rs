//! The cache of one provider and token policy.

use std::collections::{BTreeMap, BTreeSet};

use super::Limits;
use crate::{time::UnixTime, token::verify::Verified};

/// Largest number of bytes in one cache, whatever the limits.
pub(super) const MAX_CACHE_BYTES: usize = 2 << 20;

/// Characters of the suffix that keys an entry: 96 bits in base64url.
const SUFFIX_CHARS: usize = 16;

type Suffix = [u8; SUFFIX_CHARS];

/// What an entry takes beside its token: a place in each of the three trees, whose nodes are at least five elevenths full, and
/// what trees and allocator add.
pub(super) const ENTRY_BYTES: usize =
    (size_of::<(Suffix, Entry)>() + size_of::<(u64, Suffix)>() + size_of::<(UnixTime, Suffix)>()) * 11 / 5 + 64;

/// Verified tokens, keyed by the last 96 bits of the signature, which only the issuer can choose; then the whole token is
/// compared in constant time.
///
/// The token that was used longest ago is evicted first. A hit renews the place of a token in the older half only: so most hits
/// change nothing, and a token goes only after half of the others have gone or were used since its own last use.
#[derive(Debug)]
pub(super) struct TokenCache {
    limits: Limits,
    tokens: BTreeMap<Suffix, Entry>,
    /// By place. The lowest place is evicted first.
    order: BTreeMap<u64, Suffix>,
    /// The tokens that expire, by their end.
    ends: BTreeSet<(UnixTime, Suffix)>,
    next_place: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    verified: Verified,
    end: Option<UnixTime>,
    place: u64,
}

impl TokenCache {
    pub(super) fn new(limits: Limits) -> Self {
        let (tokens, order, ends) = Default::default();
        Self { limits, tokens, order, ends, next_place: 0, bytes: 0 }
    }

    /// The proof for `token`, if the token is cached.
    pub(super) fn get(&mut self, token: &[u8]) -> Option<Verified> {
        let suffix = token.last_chunk::<SUFFIX_CHARS>()?;
        let half = u64::try_from(self.tokens.len().div_ceil(2)).unwrap_or(u64::MAX);
        let entry = self.tokens.get_mut(suffix).filter(|entry| entry.matches(token))?;
        if self.next_place.saturating_sub(entry.place) > half {
            self.order.remove(&entry.place);
            entry.place = self.next_place;
            self.order.insert(entry.place, *suffix);
            self.next_place = self.next_place.saturating_add(1);
        }
        Some(entry.verified)
    }

    /// Caches a token until `end`, unless the limits exclude the token.
    pub(super) fn insert(&mut self, token: &[u8], verified: Verified, end: Option<UnixTime>, now: UnixTime) {
        let Some(suffix) = token.last_chunk::<SUFFIX_CHARS>() else { return };
        let longest = self.limits.max_token_bytes.min(MAX_CACHE_BYTES.div_euclid(4));
        if self.limits.entries == 0 || token.len() > longest {
            return;
        }
        self.take(suffix);
        let entry = Entry { token: token.into(), verified, end, place: self.next_place };
        let room = MAX_CACHE_BYTES.saturating_sub(entry.bytes());
        while (self.tokens.len() >= self.limits.entries || self.bytes > room) && self.evict(now) {}
        self.bytes = self.bytes.saturating_add(entry.bytes());
        self.next_place = self.next_place.saturating_add(1);
        self.order.insert(entry.place, *suffix);
        self.ends.extend(end.map(|end| (end, *suffix)));
        self.tokens.insert(*suffix, entry);
    }

    /// Removes `token`, and any token with the same suffix.
    pub(super) fn remove(&mut self, token: &[u8]) {
        if let Some(suffix) = token.last_chunk::<SUFFIX_CHARS>() {
            self.take(suffix);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Removes a token: one that has expired, else the one that was used longest ago. `false`: there is none.
    pub(super) fn evict(&mut self, now: UnixTime) -> bool {
        let expired = self.ends.first().filter(|(end, _)| *end <= now).map(|(_, suffix)| *suffix);
        match expired.or_else(|| self.order.values().next().copied()) {
            Some(suffix) => self.take(&suffix),
            None => false,
        }
    }

    fn take(&mut self, suffix: &Suffix) -> bool {
        let Some(entry) = self.tokens.remove(suffix) else { return false };
        self.order.remove(&entry.place);
        if let Some(end) = entry.end {
            self.ends.remove(&(end, *suffix));
        }
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        true
    }

    /// When the first token expires.
    pub(super) fn first_end(&self) -> Option<UnixTime> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// What all entries take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.token.len().saturating_add(ENTRY_BYTES)
    }

    /// Compares the whole token, in constant time for equal lengths.
    fn matches(&self, token: &[u8]) -> bool {
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        let ((words, rest), (other_words, other_rest)) = (self.token.as_chunks(), token.as_chunks());
        let words = words.iter().zip(other_words).fold(0, |difference, (a, b)| difference | (word(a) ^ word(b)));
        let rest = rest.iter().zip(other_rest).fold(0, |difference, (a, b)| difference | (a ^ b));
        self.token.len() == token.len() && words | u64::from(rest) == 0
    }
}
