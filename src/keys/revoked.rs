//! Keys that must never verify again, whoever publishes them.

use std::collections::BTreeSet;

use super::Key;

/// The configuration's `revoked_keys`: each names a `kid` or an RFC 7638 thumbprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokedKeys(BTreeSet<String>);

impl RevokedKeys {
    /// A list of these names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut own = BTreeSet::new();
        own.extend(names);
        Self(own)
    }

    /// Whether a key is on the list.
    pub fn contains_key(&self, key: &Key) -> bool {
        self.contains_name(key.thumbprint()) || key.kid().is_some_and(|kid| self.contains_name(kid))
    }

    /// Whether a `kid` or a thumbprint is on the list.
    pub fn contains_name(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}
