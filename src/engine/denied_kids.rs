//! The `kid`s that the issuer was asked for in vain since its last answer. When many requests of their
//! issuer wait, they do not wait again, and so leave the room to those that may be good.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// A bounded set that one answer of the issuer empties.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Hashes, so that long names cost no more than short ones.
    kids: BTreeSet<[u8; 16]>,
    /// The fetch that they were refused after.
    fetch: u64,
}

const CAPACITY: usize = 1024;

impl Refused {
    /// Remembers a `kid` that was refused after this fetch. What does not fit is not remembered.
    pub(super) fn insert(&mut self, kid: &str, fetch: u64) {
        if self.fetch != fetch {
            self.kids.clear();
            self.fetch = fetch;
        }
        if self.kids.len() < CAPACITY {
            self.kids.insert(hash(kid));
        }
    }

    /// Whether this `kid` was refused after this fetch.
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
        let mut refused = Refused::default();
        refused.insert("a", 1);
        assert!(refused.contains("a", 1) && !refused.contains("b", 1) && !refused.contains("a", 2));
        for number in 0..CAPACITY {
            refused.insert(&number.to_string(), 2);
        }
        refused.insert("one more", 2);
        assert!(refused.kids.len() == CAPACITY && !refused.contains("one more", 2) && refused.contains("0", 2));
    }
}
