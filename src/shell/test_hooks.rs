//! In the build for tests only (`make hooks`): traps on demand, and tells a hostile plugin the names of shared values.

use std::{cell::Cell, cell::RefCell, collections::BTreeSet};

use super::abi;

/// `now`: traps at once. `wake`: traps at the next wake-up. `edits`: from now on, the host neither changes nor answers requests.
const TRAP_HEADER: &str = "x-test-trap";
/// The names of shared values, one per line. The value is not sealed.
const NAMES: &str = "test-hooks.names";

thread_local! {
    static TRAPS_ON_WAKE: Cell<bool> = const { Cell::new(false) };
    static REJECTS_EDITS: Cell<bool> = const { Cell::new(false) };
    static TOLD: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

pub(super) fn on_request(headers: &[(&str, &[u8])]) {
    match headers.iter().find(|(name, _)| *name == TRAP_HEADER) {
        Some((_, when)) if *when == b"now" => trap(),
        Some((_, when)) if *when == b"wake" => TRAPS_ON_WAKE.set(true),
        Some((_, when)) if *when == b"edits" => REJECTS_EDITS.set(true),
        _ => {}
    }
}

pub(super) fn on_edit() -> abi::Result {
    if REJECTS_EDITS.get() {
        return Err(abi::INTERNAL_FAILURE);
    }
    Ok(())
}

pub(super) fn on_unknown_context() {
    log::info!("test-hooks: a message for a context that is no root context");
}

pub(super) fn on_wake() {
    if TRAPS_ON_WAKE.get() {
        trap();
    }
}

pub(super) fn on_shared_key(key: &str) {
    if !TOLD.with_borrow_mut(|told| told.insert(key.to_owned())) {
        return;
    }
    loop {
        let Ok((names, mark)) = abi::get_shared_data(NAMES) else { return };
        let names = String::from_utf8(names.unwrap_or_default()).unwrap_or_default();
        if names.lines().any(|name| name == key) {
            return;
        }
        let names = format!("{names}{key}\n");
        if abi::set_shared_data(NAMES, names.as_bytes(), mark.unwrap_or(u32::MAX)) != Err(abi::CAS_MISMATCH) {
            return;
        }
    }
}

fn trap() {
    core::arch::wasm32::unreachable()
}
