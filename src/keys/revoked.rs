//! Keys that must never verify a token again, even while an issuer publishes them.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::Key;

/// The field `revoked_keys` of the configuration. Each name is a `kid` or an RFC 7638 thumbprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokedKeys {
    names: BTreeSet<String>,
    /// The thumbprints of keys that had a listed `kid` once, as digests.
    thumbprints: BTreeSet<[u8; DIGEST_BYTES]>,
}

/// A `kid` that a key had in an earlier JWKS. Both are kept as digests, since a `kid` may have any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerName {
    /// The `kid`.
    pub kid: [u8; DIGEST_BYTES],
    /// The RFC 7638 thumbprint.
    pub thumbprint: [u8; DIGEST_BYTES],
}

/// The bytes that are kept of a SHA-256 digest.
pub const DIGEST_BYTES: usize = 16;
/// The former names that are kept of one issuer's keys.
pub const MAX_FORMER_NAMES: usize = 256;

impl FormerName {
    /// The name of a key that has a `kid`.
    pub fn of(key: &Key) -> Option<Self> {
        Some(Self { kid: digest(key.kid()?), thumbprint: digest(key.thumbprint()) })
    }
}

impl RevokedKeys {
    /// Creates the list from names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut set = BTreeSet::new();
        set.extend(names);
        Self { names: set, thumbprints: BTreeSet::new() }
    }

    /// This list and more names.
    pub fn with(&self, names: &BTreeSet<String>) -> Self {
        let mut list = self.clone();
        list.names.extend(names.iter().cloned());
        list
    }

    /// The names on the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// This list, which also covers each key that had a listed `kid` once.
    pub fn resolved(&self, former: &[FormerName]) -> Self {
        let kids = self.kids();
        let listed = former.iter().filter(|name| kids.contains(&name.kid)).map(|name| name.thumbprint);
        let mut resolved = self.clone();
        resolved.thumbprints.extend(listed);
        resolved
    }

    /// At most [`MAX_FORMER_NAMES`] of these names. The oldest names, which stand first, go first; a name on this list goes only
    /// if all names are on the list.
    pub fn bound(&self, names: Vec<FormerName>) -> Vec<FormerName> {
        let excess = |names: &[FormerName]| names.len().saturating_sub(MAX_FORMER_NAMES);
        let (kids, mut left) = (self.kids(), excess(&names));
        let mut drop_one = |name: &FormerName| {
            let is_dropped = left > 0 && !kids.contains(&name.kid);
            left = left.saturating_sub(usize::from(is_dropped));
            is_dropped
        };
        let kept: Vec<_> = names.into_iter().filter(|name| !drop_one(name)).collect();
        let listed = excess(&kept);
        kept.into_iter().skip(listed).collect()
    }

    /// Whether the list has the `kid` or the thumbprint of `key`, or a `kid` that the key had once.
    pub fn contains_key(&self, key: &Key) -> bool {
        self.contains_name(key.thumbprint())
            || key.kid().is_some_and(|kid| self.contains_name(kid))
            || (!self.thumbprints.is_empty() && self.thumbprints.contains(&digest(key.thumbprint())))
    }

    /// Whether the list has `name`, a `kid` or a thumbprint.
    pub fn contains_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn kids(&self) -> BTreeSet<[u8; DIGEST_BYTES]> {
        // Collecting would link a sort of the digests, of 17 KiB.
        let mut kids = BTreeSet::new();
        kids.extend(self.names.iter().map(|name| digest(name)));
        kids
    }
}

fn digest(text: &str) -> [u8; DIGEST_BYTES] {
    Sha256::digest(text).first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kid: &str, thumbprint: &str) -> FormerName {
        FormerName { kid: digest(kid), thumbprint: digest(thumbprint) }
    }

    #[test]
    fn a_listed_name_outlasts_any_number_of_rotations() {
        let revoked = RevokedKeys::new(["bad".to_owned()]);
        let mut names = vec![name("first", "0"), name("bad", "1")];
        for number in 0..1_000 {
            names.push(name(&format!("k{number}"), &number.to_string()));
            names = revoked.bound(names);
        }
        assert_eq!((names.len(), names[0]), (MAX_FORMER_NAMES, name("bad", "1")));
        assert_eq!(names.last(), Some(&name("k999", "999")));
        let all = RevokedKeys::new((0..1_000).map(|number| format!("k{number}")));
        let listed: Vec<_> = (0..300).map(|number| name(&format!("k{number}"), "1")).collect();
        assert_eq!(all.bound(listed.clone()), listed[44..], "all are listed: the oldest go");
    }
}
