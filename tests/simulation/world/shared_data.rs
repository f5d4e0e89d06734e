//! The records in shared data.

use super::*;

impl World {
    pub(super) fn sync(&mut self, worker: usize, provider: usize) {
        let (cell, is_second) = (self.cell(provider), provider != self.source(provider));
        let provider = ProviderId::new(provider);
        if self.cells[cell].announced != self.workers[worker].engine.version(provider) {
            let now = self.clock();
            let bytes = Rule::break_budget(self.broken, self.open(cell), is_second);
            self.workers[worker].engine.on_record(provider, &bytes, now);
        }
    }

    /// Applies an update to the shared bytes, as the shell does under compare-and-swap. A broken rule changes the bytes
    /// before or after the update.
    pub(super) fn apply(&mut self, worker: usize, provider: usize, update: &Update) -> Applied {
        let (issuer, cell_number) = (self.source(provider), self.cell(provider));
        let found = match update.cause() {
            Some(_) => {
                let bytes = Rule::break_record(self.broken, &self.open(cell_number));
                Rule::break_budget(self.broken, bytes, provider != issuer)
            }
            None => self.open(cell_number),
        };
        let mut applied = update.apply(Some(&found), self.clock());
        if applied.is_restored {
            self.ledger.record_restored(issuer, self.now);
        }
        if applied.record.document.is_some() {
            self.ledger.has_jwks(issuer, self.now);
        }
        if matches!(applied.effect, Effect::Fetch(_)) && update.cause().is_some_and(|cause| cause != Cause::Schedule) {
            let settings = &self.workers[worker].settings[provider];
            if applied.record.is_fetching_for_token() {
                self.ledger.refresh_started(issuer, self.now, settings);
            } else {
                self.ledger.second_look_started(issuer, self.now, settings);
            }
        }
        if applied.bytes.is_some() && self.broken == Some(Rule::IssuersAreIndependent) {
            // All issuers share one back-off.
            let now = self.clock();
            let others = (0..self.cells.len()).filter_map(|issuer| Record::decode(&self.open(issuer)));
            let pauses = others.map(|record| record.retry_at().since(now)).chain([applied.record.pause]);
            applied.record.pause = pauses.max().unwrap_or_default();
            applied.record.failed_at = now;
            applied.bytes = Some(applied.record.encode());
        }
        let Some(bytes) = applied.bytes.take() else { return applied };
        self.cells[cell_number].record = self.seal.as_ref().map_or(bytes.clone(), |seal| seal.seal(KEY, &bytes));
        self.ledger.stored(issuer, self.cells[cell_number].record.len());
        let cell = &mut self.cells[cell_number];
        cell.earlier.push((cell.record.clone(), cell.announced));
        let mut random = self.random(cell_number);
        let delay = if random.u8(0..5) == 0 { random.u64(1..5) } else { 0 };
        if delay == 0 {
            self.announce(cell_number, applied.record.version);
        } else {
            self.schedule_in(delay, Event::Announce { cell: cell_number, version: applied.record.version });
        }
        applied
    }

    /// The shared bytes of a record; empty if they are not authentic.
    pub(super) fn open(&self, issuer: usize) -> Vec<u8> {
        let bytes = self.cells[issuer].record.as_slice();
        let opened = self.seal.as_ref().map_or(Some(bytes), |seal| seal.open(KEY, bytes));
        opened.unwrap_or_default().to_vec()
    }

    pub(super) fn announce(&mut self, issuer: usize, version: u64) {
        let now = self.clock();
        let bytes = self.open(issuer);
        let cell = &mut self.cells[issuer];
        let current = || Record::read(&bytes, now).map_or(0, |record| record.version);
        if announcement::is_due(version, cell.announced, current) {
            cell.announced = version;
        }
    }
}
