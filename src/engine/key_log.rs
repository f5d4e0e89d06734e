//! The changes of keys that the log has yet to tell. Of the workers of a configuration, one tells: all of them take over the
//! same keys, whoever wrote these keys into shared data.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{key_sets::KeySets, provider_keys::ProviderKeys};
use crate::{
    ids::ProviderId,
    keys::{
        changes::{self, KeyChange, Snapshot},
        KeyError, KeySet,
    },
    time::UnixTime,
};

/// The most changes that wait to be told: at the start, those of a thousand issuers. Later changes are dropped until these are
/// taken.
const MAX_UNTOLD: usize = 16_384;

/// What this worker knows of the changes of keys, and what the log has yet to tell.
#[derive(Debug, Default)]
pub(super) struct KeyLog {
    known: BTreeMap<ProviderId, Known>,
    untold: Vec<(ProviderId, KeyChange)>,
    /// The key sets whose seeds have not ended.
    seeds: BTreeSet<ProviderId>,
    /// The number of the first fetch that can be of this configuration.
    since: u64,
}

/// The keys of a provider as of the newest change.
#[derive(Debug)]
struct Known {
    keys: Rc<KeySet>,
    skipped: Vec<(usize, KeyError)>,
}

impl KeyLog {
    /// A configuration before this one told of the keys of fetches before `since`, but for what `revoked_keys` of this one
    /// changes.
    pub(super) fn begin_at(&mut self, since: u64) {
        self.since = since;
    }

    /// Nothing is known of the records yet: the seeds of this configuration are in use.
    pub(super) fn begin_seeds(&mut self, key_sets: &KeySets) {
        for (provider, seed) in key_sets.seeds() {
            self.seeds.insert(provider);
            self.tell(provider, KeyChange::SeedInUse(seed.keys.len(), seed.until.clone()));
        }
    }

    /// The provider's seed ended by its time.
    pub(super) fn on_seed_expired(&mut self, provider: ProviderId, keys: &ProviderKeys) {
        let Some(seed) = keys.seed().filter(|_| self.seeds.remove(&provider)) else { return };
        self.forget_begin(provider);
        self.tell(provider, KeyChange::SeedExpired(seed.until.clone()));
    }

    /// A seed that ends at once, as at every start with an issuer that answers, is not worth a line.
    fn on_seed_replaced(&mut self, provider: ProviderId) {
        if self.seeds.remove(&provider) && !self.forget_begin(provider) {
            self.tell(provider, KeyChange::SeedReplaced);
        }
    }

    /// Forgets that the provider's seed began, if nobody was told. Returns whether that is so.
    fn forget_begin(&mut self, provider: ProviderId) -> bool {
        let untold = self.untold.len();
        self.untold.retain(|(of, change)| *of != provider || !matches!(change, KeyChange::SeedInUse(..)));
        self.untold.len() < untold
    }

    fn tell(&mut self, provider: ProviderId, change: KeyChange) {
        if self.untold.len() < MAX_UNTOLD {
            self.untold.push((provider, change));
        }
    }

    /// The provider has other keys.
    pub(super) fn on_change(&mut self, provider: ProviderId, keys: &ProviderKeys, now: UnixTime) {
        if keys.seed().is_none() {
            self.on_seed_replaced(provider);
        }
        let Some(current) = &keys.keys else { return };
        let known = Known { keys: current.clone(), skipped: keys.skipped.clone() };
        let before = self.known.insert(provider, known);
        let is_earlier = keys.record.document.as_ref().is_some_and(|document| document.fetch < self.since);
        let changes = match before {
            None if is_earlier => changes::revoked(current).collect(),
            None => changes::diff(Snapshot { keys: &KeySet::default(), skipped: &[] }, snapshot(keys, current), now),
            Some(Known { keys: before, skipped }) => {
                changes::diff(Snapshot { keys: &before, skipped: &skipped }, snapshot(keys, current), now)
            }
        };
        let room = MAX_UNTOLD.saturating_sub(self.untold.len());
        self.untold.extend(changes.into_iter().take(room).map(|change| (provider, change)));
    }

    /// What has changed since this was last called.
    pub(super) fn take(&mut self) -> Vec<(ProviderId, KeyChange)> {
        std::mem::take(&mut self.untold)
    }
}

fn snapshot<'a>(keys: &'a ProviderKeys, current: &'a KeySet) -> Snapshot<'a> {
    Snapshot { keys: current, skipped: &keys.skipped }
}
