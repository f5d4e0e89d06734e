//! The shared keys of one provider:
//! * `<provider>.record`: the record, changed by compare-and-swap only;
//! * `<provider>.version`: the record's version, eight bytes that a request can afford to read;
//! * `<provider>.parked`: the number of parked requests of each worker.

use std::rc::Rc;

use super::shared_data::{self, SharedData, Swap};
use crate::{
    engine::{Applied, Update},
    policy::provider::Remote,
    rotation::record::Record,
    shared::{announcement, worker_totals::WorkerTotals},
    time::UnixTime,
};

/// The shared keys of one provider.
#[derive(Debug)]
pub(super) struct KeyCell {
    data: Rc<SharedData>,
    record: String,
    version: String,
    parked: String,
}

impl KeyCell {
    /// The cell for what `remote` fetches, on behalf of this plugin.
    pub(super) fn new(data: Rc<SharedData>, plugin: &[u8], provider: &str, issuer: &str, remote: &Remote) -> Self {
        let Remote { cluster, scheme, authority, path, rotation, .. } = remote;
        // A configuration with other limits may not be able to read what this one accepts.
        let limits = [rotation.limits.max_document_bytes, rotation.limits.max_keys];
        let limits = limits.map(|limit| (limit as u64).to_le_bytes());
        let name = shared_data::name(&[
            plugin,
            issuer.as_bytes(),
            cluster.as_bytes(),
            scheme.as_bytes(),
            authority.as_bytes(),
            path.as_bytes(),
            limits.as_flattened(),
        ]);
        Self {
            data,
            record: format!("{name}.record"),
            version: format!("{name}.version"),
            parked: format!("{}.parked", shared_data::name(&[plugin, provider.as_bytes()])),
        }
    }

    /// The announced version; 0 if none is.
    pub(super) fn version(&self) -> u64 {
        shared_data::number(self.data.read(&self.version).as_deref())
    }

    /// The record's bytes; empty if there is none.
    pub(super) fn read(&self) -> Vec<u8> {
        self.data.read(&self.record).unwrap_or_default()
    }

    /// Applies an update to the record. `None`: the host did not write.
    pub(super) fn apply(&self, update: &Update, now: impl Fn() -> UnixTime) -> Option<Applied> {
        let swapped = self.data.swap(&self.record, |bytes| {
            let mut applied = update.apply(bytes, now());
            (applied.bytes.take(), applied)
        });
        match swapped {
            Swap::Written(applied) => {
                self.announce(applied.record.version, now());
                Some(applied)
            }
            Swap::Unchanged(applied) => Some(applied),
            Swap::Failed => None,
        }
    }

    /// Shares how many requests of this worker are parked. Returns the number in all workers.
    pub(super) fn share_parked(&self, worker: u64, parked: u32, now: UnixTime) -> u64 {
        let swapped = self.data.swap(&self.parked, |bytes| {
            let totals = WorkerTotals::decode(bytes.unwrap_or_default());
            match totals.with(worker, parked, now) {
                Some(changed) => (Some(changed.encode()), changed.sum(now)),
                None => (None, totals.sum(now)),
            }
        });
        match swapped {
            Swap::Written(sum) | Swap::Unchanged(sum) => sum,
            Swap::Failed => parked.into(),
        }
    }

    fn announce(&self, version: u64, now: UnixTime) {
        let current = || Record::read(&self.read(), now).map_or(0, |record| record.version);
        let _ = self.data.swap(&self.version, |bytes| {
            let is_due = announcement::is_due(version, shared_data::number(bytes), current);
            (is_due.then(|| version.to_le_bytes().to_vec()), ())
        });
    }
}
