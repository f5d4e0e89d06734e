//! Another plugin, which writes to shared data.

use super::*;

impl World {
    /// Another plugin writes into shared data. It knows the format, but not the secret.
    pub(super) fn overwrite_record(&mut self, issuer: usize, garbage: u64) {
        let (now, opened) = (self.clock(), self.open(issuer));
        let cell = &mut self.cells[issuer];
        let forged = |body: String, version: u64| {
            let mut record = Record::decode(&opened).unwrap_or_default();
            let mut document = record.document.take().unwrap_or_default();
            (document.body, document.generation, document.fetched_at) = (body.into_bytes().into(), version, now);
            let written_at = record.written_at.max(now);
            Record { version, written_at, document: Some(document), lease: None, ..record }.encode()
        };
        match garbage % 7 {
            0 => cell.record.clear(),
            1 => cell.record.truncate(cell.record.len() / 2),
            2 => cell.record = garbage.to_le_bytes().repeat(20),
            3 => cell.announced = garbage,
            4 => {
                (cell.record, cell.announced) = (forged("<html>".to_owned(), garbage >> 1), garbage >> 1);
            }
            _ if !self.scenario.has_secret => {
                let version = now.as_millis() + 1_000;
                (cell.record, cell.announced) = (forged("<html>".to_owned(), version), version);
            }
            _ => {
                let version = now.as_millis() + 1_000;
                let jwks = format!(r#"{{"keys":[{}]}}"#, keys::jwk(INJECTED, keys::INJECTED));
                (cell.record, cell.announced) = (forged(jwks, version), version);
            }
        }
        self.ledger.record_overwritten(issuer, self.now);
    }

    /// Another plugin cannot forge what the secret authenticates, but can write back what was authentic once.
    pub(super) fn write_back(&mut self, issuer: usize, draw: u64) {
        let cell = &mut self.cells[issuer];
        let Some((record, announced)) = cell.earlier.get(draw as usize / 3 % cell.earlier.len().max(1)).cloned() else {
            return;
        };
        match draw % 3 {
            0 => cell.record = record,
            1 => cell.announced = announced,
            _ => (cell.record, cell.announced) = (record, announced),
        }
        self.ledger.record_written_back(issuer, self.now);
        // A fetch that has ended is shown as running, to workers that have not seen its end.
        if Record::decode(&self.open(issuer)).is_some_and(|record| record.lease.is_some()) {
            self.ledger.holder_died(issuer, self.now);
        }
    }
}
