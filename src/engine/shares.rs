//! How much of a common room each party takes, and who takes most.

use std::collections::{BTreeMap, BTreeSet};

/// What each party takes. No call costs work in proportion to the number of parties. All kinds of parties have numbers of one
/// type, since the code for each type of a map takes kilobytes.
#[derive(Debug, Default)]
pub(super) struct Shares {
    taken: BTreeMap<u64, u64>,
    order: BTreeSet<(u64, u64)>,
}

impl Shares {
    /// How much this party takes.
    pub(super) fn of(&self, party: u64) -> u64 {
        self.taken.get(&party).copied().unwrap_or_default()
    }

    /// Each party that takes anything, and how much.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'_> {
        self.taken.iter().map(|(party, taken)| (*party, *taken))
    }

    /// The party that takes most.
    pub(super) fn largest(&self) -> Option<(u64, u64)> {
        self.order.last().map(|(taken, party)| (*party, *taken))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn add(&mut self, party: u64, amount: u64) {
        self.set(party, self.of(party).saturating_add(amount));
    }

    pub(super) fn remove(&mut self, party: u64, amount: u64) {
        self.set(party, self.of(party).saturating_sub(amount));
    }

    fn set(&mut self, party: u64, amount: u64) {
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
        for (party, amount) in [(7, 1), (8, 2), (7, 3), (8, 1)] {
            shares.add(party, amount);
        }
        assert_eq!((shares.of(8), shares.of(9), shares.largest()), (3, 0, Some((7, 4))));
        for (party, amount) in [(7, 2), (9, 1)] {
            shares.remove(party, amount);
        }
        assert_eq!((shares.largest(), shares.iter().count()), (Some((8, 3)), 2));
        for party in [7, 8] {
            shares.remove(party, 20);
        }
        assert!(shares.is_empty() && shares.largest().is_none());
    }
}
