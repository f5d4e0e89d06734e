//! Which of a plugin's configurations sets the gauges of a provider. The key `<provider>.speaks` holds the owner.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::shared_data::{self, SharedData, Swap};
use crate::{
    shared::gauge_owner::{GaugeOwner, Ownership},
    time::UnixTime,
};

/// The ownership of one configuration in the gauges of one provider.
#[derive(Debug)]
pub(super) struct GaugeOwnership {
    data: Rc<SharedData>,
    key: String,
    configuration: u64,
}

/// Whether a configuration sets the gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// From now on.
    Acquired,
    /// As before.
    Held,
    /// Another configuration does.
    NotOwner,
}

/// Tells configurations apart.
pub(super) fn digest(configuration: &[u8]) -> u64 {
    Sha256::digest(configuration).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl GaugeOwnership {
    /// Two configurations without a gauge in common own each its own: a plugin may be in several listeners.
    pub(super) fn new(
        data: Rc<SharedData>,
        plugin: &[u8],
        stat_prefix: &str,
        provider: &str,
        configuration: u64,
    ) -> Self {
        let name = shared_data::name(&[plugin, stat_prefix.as_bytes(), provider.as_bytes()]);
        Self { data, key: format!("{name}.speaks"), configuration }
    }

    /// Claims the gauges for this worker's configuration, unless a newer one has them.
    pub(super) fn claim(&self, worker: u64, now: UnixTime) -> Claim {
        let swapped = self.data.swap(&self.key, |bytes| {
            let found = bytes.and_then(GaugeOwner::decode);
            match GaugeOwner::ownership(found, self.configuration, worker, now) {
                Ownership::Held => (None, Claim::Held),
                Ownership::NotOwner => (None, Claim::NotOwner),
                Ownership::Acquire(owner) => {
                    let is_renewal = found.is_some_and(|found| found.configuration == self.configuration);
                    (Some(owner.encode()), if is_renewal { Claim::Held } else { Claim::Acquired })
                }
            }
        });
        match swapped {
            Swap::Written(claim) | Swap::Unchanged(claim) => claim,
            Swap::Failed => Claim::Held,
        }
    }

    /// A worker ends. Whether its configuration owned the gauges: then nobody does, until another claims them.
    pub(super) fn release(&self, worker: u64, now: UnixTime) -> bool {
        let swapped = self.data.swap(&self.key, |bytes| {
            let found = bytes.and_then(GaugeOwner::decode);
            let released = found.and_then(|found| found.released(self.configuration, worker, now));
            (released.map(GaugeOwner::encode), ())
        });
        matches!(swapped, Swap::Written(()))
    }
}
