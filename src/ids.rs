//! Small numbers that stand for a provider, a requirement, a stream or a client, and the map with one entry per provider.

use std::ops::{Index, IndexMut};

/// A provider of the configuration, by its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderId(usize);

impl ProviderId {
    /// The provider at this position.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The provider's position.
    pub const fn index(self) -> usize {
        self.0
    }
}

impl From<ProviderId> for u64 {
    fn from(provider: ProviderId) -> Self {
        provider.0 as Self
    }
}

impl From<u64> for ProviderId {
    fn from(index: u64) -> Self {
        Self(index as usize)
    }
}

/// A requirement of the configuration, by its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequirementId(pub(crate) usize);

impl RequirementId {
    /// The requirement at this position.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }
}

/// A request's stream within its worker: the context id that the host gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// A client, by a digest of its network: the address of an IPv4 client, the /64 prefix of an IPv6 client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// One entry for each provider of a configuration.
///
/// A [`ProviderId`] comes from the configuration and never from input, so the lookup cannot fail. The lookup is written
/// once, here.
#[derive(Clone, Debug)]
pub struct ProviderMap<T>(Vec<T>);

impl<T> ProviderMap<T> {
    /// Each provider's id and entry.
    pub fn iter(&self) -> impl Iterator<Item = (ProviderId, &T)> {
        self.0.iter().enumerate().map(|(index, entry)| (ProviderId(index), entry))
    }

    /// Each entry, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// The ids of all providers.
    pub fn ids(&self) -> impl Iterator<Item = ProviderId> + use<T> {
        (0..self.0.len()).map(ProviderId)
    }

    /// A map of the same providers.
    pub fn map<U>(&self, mut entry: impl FnMut(ProviderId, &T) -> U) -> ProviderMap<U> {
        ProviderMap(self.iter().map(|(id, known)| entry(id, known)).collect())
    }
}

impl<T> From<Vec<T>> for ProviderMap<T> {
    fn from(entries: Vec<T>) -> Self {
        Self(entries)
    }
}

#[allow(clippy::indexing_slicing)] // See the type: ids and maps come from one configuration.
impl<T> Index<ProviderId> for ProviderMap<T> {
    type Output = T;

    fn index(&self, id: ProviderId) -> &T {
        &self.0[id.0]
    }
}

#[allow(clippy::indexing_slicing)] // As for `Index`.
impl<T> IndexMut<ProviderId> for ProviderMap<T> {
    fn index_mut(&mut self, id: ProviderId) -> &mut T {
        &mut self.0[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_its_entry() {
        let mut map = ProviderMap::from(vec!["a", "b"]);
        map[ProviderId::new(1)] = "c";
        assert!(map.ids().map(|id| map[id]).eq(["a", "c"]));
        let lengths = map.map(|id, text| id.index() + text.len());
        assert!(lengths.iter().map(|(_, length)| *length).eq([1, 2]));
    }
}
