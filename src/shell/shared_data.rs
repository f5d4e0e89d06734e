//! Shared data: the one compare-and-swap loop, and the seal of each value.

use std::cell::Cell;

use super::abi;
use crate::shared::seal::Seal;

/// More writers than this in a row between a read and its write do not occur. If they do, the next tick tries again.
const MAX_TRIES: usize = 32;
/// Creates a key that is absent, and only then: no value ever has this mark.
const CREATE: u32 = u32::MAX;
/// Overwrites whatever there is.
const NO_MARK: u32 = 0;

/// What became of a change.
pub(super) enum Swap<T> {
    /// The value was written.
    Written(T),
    /// The change had nothing to write.
    Unchanged(T),
    /// The host did not write, or other writers were faster each time.
    Failed,
}

/// The values of this plugin in shared data.
#[derive(Debug, Default)]
pub(super) struct SharedData {
    /// `None`: no secret is configured, and every value is believed.
    seal: Option<Seal>,
    /// Values that another plugin wrote, and that are not counted yet.
    rejected: Cell<u32>,
}

impl SharedData {
    pub(super) fn new(seal: Option<Seal>) -> Self {
        Self { seal, rejected: Cell::default() }
    }

    /// The value of a key. `None`: the key is absent or empty, which a removed key is, or another plugin wrote the value.
    pub(super) fn read(&self, key: &str) -> Option<Vec<u8>> {
        let mut value = abi::get_shared_data(key).ok().and_then(|(value, _)| value)?;
        // The tag stands behind the value.
        let length = self.open(key, Some(&value))?.len();
        value.truncate(length);
        Some(value)
    }

    /// Changes the value of a key under compare-and-swap. `change` returns the new bytes, or `None` to leave the value, and
    /// what the caller wants to know of it. `change` is called again when another writer was faster.
    pub(super) fn swap<T>(&self, key: &str, mut change: impl FnMut(Option<&[u8]>) -> (Option<Vec<u8>>, T)) -> Swap<T> {
        for _ in 0..MAX_TRIES {
            let Ok((value, cas)) = abi::get_shared_data(key) else { return Swap::Failed };
            let (bytes, result) = change(self.open(key, value.as_deref()));
            let Some(bytes) = bytes else { return Swap::Unchanged(result) };
            let bytes = match &self.seal {
                Some(seal) => seal.seal(key, &bytes),
                None => bytes,
            };
            match abi::set_shared_data(key, &bytes, cas.unwrap_or(CREATE)) {
                Ok(()) => return Swap::Written(result),
                Err(abi::CAS_MISMATCH) => {}
                Err(_) => return Swap::Failed,
            }
        }
        Swap::Failed
    }

    /// Empties a value. The host keeps the key.
    pub(super) fn remove(&self, key: &str) {
        let _ = abi::set_shared_data(key, &[], NO_MARK);
    }

    /// The number of values that another plugin wrote, since this was last called.
    pub(super) fn take_rejected(&self) -> u32 {
        self.rejected.take()
    }

    fn open<'v>(&self, key: &str, value: Option<&'v [u8]>) -> Option<&'v [u8]> {
        #[cfg(feature = "test-hooks")]
        super::test_hooks::on_shared_key(key);
        let value = value.filter(|value| !value.is_empty())?;
        let Some(seal) = &self.seal else { return Some(value) };
        let opened = seal.open(key, value);
        if opened.is_none() {
            self.rejected.set(self.rejected.get().saturating_add(1));
        }
        opened
    }
}
