//! Unknown `kid`s already denied since the last JWKS fetch. While many requests of the issuer are parked, a token with such a
//! `kid` is denied at once and leaves the room to tokens that may be good.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// A bounded set of `kid`s. The end of the next fetch empties the set.
#[derive(Debug, Default)]
pub(super) struct DeniedKids {
    /// Hashes, so that a long `kid` takes no more room than a short one.
    kids: BTreeSet<[u8; 16]>,
    /// The last fetch that had ended when the `kid`s were denied.
    fetch: u64,
}

const CAPACITY: usize = 1024;

impl DeniedKids {
    /// Remembers a `kid` that was denied after this fetch. A full set remembers no more.
    pub(super) fn insert(&mut self, kid: &str, fetch: u64) {
        if self.fetch != fetch {
            self.kids.clear();
            self.fetch = fetch;
        }
        if self.kids.len() < CAPACITY {
            self.kids.insert(hash(kid));
        }
    }

    /// Whether this `kid` was denied after this fetch.
    pub(super) fn contains(&self, kid: &str, fetch: u64) -> bool {
        self.fetch == fetch && self.kids.contains(&hash(kid))
    }
}

fn hash(kid: &str) -> [u8; 16] {
    Sha256::digest(kid).first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_until_the_next_answer_and_no_more_than_it_may() {
        let mut denied = DeniedKids::default();
        denied.insert("a", 1);
        assert!(denied.contains("a", 1) && !denied.contains("b", 1) && !denied.contains("a", 2));
        for number in 0..CAPACITY {
            denied.insert(&number.to_string(), 2);
        }
        denied.insert("one more", 2);
        assert!(denied.kids.len() == CAPACITY && !denied.contains("one more", 2) && denied.contains("0", 2));
    }
}
