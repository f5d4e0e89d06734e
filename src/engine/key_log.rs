//! The changes of keys that the log has yet to tell. Of the workers of a configuration, one tells: all of them take over the
//! same keys, whoever wrote these keys into shared data.

use std::{collections::BTreeMap, rc::Rc};

use super::provider_keys::ProviderKeys;
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

    /// The provider has other keys.
    pub(super) fn on_change(&mut self, provider: ProviderId, keys: &ProviderKeys, now: UnixTime) {
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
