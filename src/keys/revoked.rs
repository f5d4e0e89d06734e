//! Keys that must never verify a token again, even while an issuer publishes them.

use std::collections::BTreeSet;

use super::Key;

/// The field `revoked_keys` of the configuration. Each name is a `kid` or an RFC 7638 thumbprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokedKeys(BTreeSet<String>);

impl RevokedKeys {
    /// Creates the list from names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut set = BTreeSet::new();
        set.extend(names);
        Self(set)
    }

    /// This list and more names.
    pub fn with(&self, names: &BTreeSet<String>) -> Self {
        Self(self.0.union(names).cloned().collect())
    }

    /// The names on the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether the list has the `kid` or the thumbprint of `key`.
    pub fn contains_key(&self, key: &Key) -> bool {
        self.contains_name(key.thumbprint()) || key.kid().is_some_and(|kid| self.contains_name(kid))
    }

    /// Whether the list has `name`, a `kid` or a thumbprint.
    pub fn contains_name(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}
