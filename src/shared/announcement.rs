//! When a shared record's version is announced. Workers poll the announced version, eight bytes, instead of the record.

/// Whether `version`, which was just written, is to be announced in the place of `announced`.
///
/// A newer announcement stays, unless the record has that version no longer: a record that was lost begins anew with lower
/// versions. `current` reads the record's version, and is called only where the answer depends on it.
pub fn is_due(version: u64, announced: u64, current: impl FnOnce() -> u64) -> bool {
    version > announced || (version < announced && current() == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_announced_and_a_record_that_began_anew() {
        assert!(is_due(2, 1, || unreachable!()) && !is_due(2, 2, || unreachable!()));
        assert!(!is_due(2, 3, || 3), "another worker was faster");
        assert!(is_due(2, 900, || 2), "the record was lost");
    }
}
