//! How much of a common room each party takes, and who takes most.

use std::collections::{BTreeMap, BTreeSet};

/// What each party takes. No call costs work in proportion to the number of parties.
#[derive(Debug)]
pub(super) struct Shares<P> {
    taken: BTreeMap<P, u64>,
    order: BTreeSet<(u64, P)>,
}

impl<P> Default for Shares<P> {
    fn default() -> Self {
        Self { taken: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<P: Copy + Ord> Shares<P> {
    /// How much this party takes.
    pub(super) fn of(&self, party: P) -> u64 {
        self.taken.get(&party).copied().unwrap_or_default()
    }

    /// Each party that takes anything, and how much.
    pub(super) fn iter(&self) -> impl Iterator<Item = (P, u64)> + use<'_, P> {
        self.taken.iter().map(|(party, taken)| (*party, *taken))
    }

    /// The party that takes most.
    pub(super) fn largest(&self) -> Option<(P, u64)> {
        self.order.last().map(|(taken, party)| (*party, *taken))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn add(&mut self, party: P, amount: u64) {
        self.set(party, self.of(party).saturating_add(amount));
    }

    pub(super) fn remove(&mut self, party: P, amount: u64) {
        self.set(party, self.of(party).saturating_sub(amount));
    }

    fn set(&mut self, party: P, amount: u64) {
        let before = if amount == 0 { self.taken.remove(&party) } else { self.taken.insert(party, amount) };
        if let Some(before) = before {
            self.order.remove(&(before, party));
        }
        if amount > 0 {
            self.order.insert((amount, party));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_party_has_what_it_took_and_did_not_give_back() {
        let mut shares = Shares::default();
        assert_eq!(shares.largest(), None);
        for (party, amount) in [('a', 1), ('b', 2), ('a', 3), ('b', 1)] {
            shares.add(party, amount);
        }
        assert_eq!((shares.of('b'), shares.of('c'), shares.largest()), (3, 0, Some(('a', 4))));
        for (party, amount) in [('a', 2), ('c', 1)] {
            shares.remove(party, amount);
        }
        assert_eq!((shares.largest(), shares.iter().count()), (Some(('b', 3)), 2));
        for party in ['a', 'b'] {
            shares.remove(party, 9);
        }
        assert!(shares.is_empty() && shares.largest().is_none());
    }
}
