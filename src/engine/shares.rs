//! How much of a common room each party takes, and who takes most.

use std::collections::BTreeMap;

/// Counts by party.
#[derive(Debug)]
pub(super) struct Shares<P>(BTreeMap<P, u64>);

impl<P> Default for Shares<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P: Copy + Ord> Shares<P> {
    /// How much this party takes.
    pub(super) fn of(&self, party: P) -> u64 {
        self.0.get(&party).copied().unwrap_or_default()
    }

    /// Each party that takes anything, and how much.
    pub(super) fn iter(&self) -> impl Iterator<Item = (P, u64)> + use<'_, P> {
        self.0.iter().map(|(party, count)| (*party, *count))
    }

    pub(super) fn add(&mut self, party: P) {
        let count = self.0.entry(party).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, party: P) {
        if let Some(count) = self.0.get_mut(&party) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&party);
            }
        }
    }
}

/// Of these parties, the one that takes most.
pub(super) fn largest<P>(parties: impl Iterator<Item = (P, u64)>) -> Option<(P, u64)> {
    parties.max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_party_has_what_it_took_and_did_not_give_back() {
        let mut shares = Shares::default();
        assert_eq!(largest(shares.iter()), None);
        for party in ['a', 'b', 'b', 'a', 'b'] {
            shares.add(party);
        }
        assert_eq!((shares.of('a'), shares.of('c'), largest(shares.iter())), (2, 0, Some(('b', 3))));
        for party in ['b', 'b', 'b', 'b', 'a', 'a'] {
            shares.remove(party);
        }
        assert_eq!(shares.iter().count(), 0);
    }
}
