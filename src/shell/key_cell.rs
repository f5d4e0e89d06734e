//! The shared keys of one key set, which providers with one source share:
//! * `<cell>.record`: the record, changed by compare-and-swap only;
//! * `<cell>.version`: the record's version, eight bytes that a request can afford to read.

use std::rc::Rc;

use super::shared_data::{SharedData, Swap};
use crate::{
    engine::{Applied, Update},
    policy::provider::Remote,
    rotation::record::{Record, MARKER},
    shared::{announcement, manifest::CellName, names},
    time::UnixTime,
};

/// The shared keys of one key set.
#[derive(Debug)]
pub(super) struct KeyCell {
    data: Rc<SharedData>,
    record: String,
    version: String,
}

/// The name of the cell for what `remote` fetches, on behalf of this plugin. Whose tokens the keys verify, each provider says for
/// itself.
pub(super) fn name(plugin: &[u8], remote: &Remote) -> CellName {
    names::digest_of(&[
        // Builds with other records do not write over each other's.
        MARKER,
        plugin,
        &remote.identity(),
    ])
}

/// Empties a cell that no configuration uses any more.
pub(super) fn remove(data: &SharedData, cell: &CellName) {
    let name = names::name_of(cell);
    for key in [format!("{name}.record"), format!("{name}.version")] {
        data.remove(&key);
    }
}

impl KeyCell {
    pub(super) fn new(data: Rc<SharedData>, cell: &CellName) -> Self {
        let name = names::name_of(cell);
        Self { data, record: format!("{name}.record"), version: format!("{name}.version") }
    }

    /// The announced version. `None`: there is none, or another plugin wrote it.
    pub(super) fn version(&self) -> Option<u64> {
        names::number(&self.data.read(&self.version)?)
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

    /// Announces the version of the record, unless a newer version is announced.
    pub(super) fn announce(&self, version: u64, now: UnixTime) {
        let current = || Record::read(&self.read(), now).map_or(0, |record| record.version);
        let _ = self.data.swap(&self.version, |bytes| {
            let announced = bytes.and_then(names::number).unwrap_or_default();
            let is_due = announcement::is_due(version, announced, current);
            (is_due.then(|| version.to_le_bytes().to_vec()), ())
        });
    }
}
