//! How workers begin and end.

use super::*;

impl World {
    pub(super) fn start_workers(&mut self) {
        for _ in 0..self.scenario.workers {
            let settings = self.scenario.settings.clone();
            let engine = self.engine(&settings);
            self.workers.push(Worker { engine, settings, draining: false, dead: false, tick: None });
            self.tick_in(self.workers.len() - 1, 1);
        }
    }

    pub(super) fn engine(&self, settings: &[Settings]) -> Engine<ThumbprintVerifier> {
        let mut settings = settings.to_vec();
        let mut max_parked = self.scenario.max_parked;
        Rule::break_configuration(self.broken, &mut settings, &mut max_parked);
        let configuration = Scenario::configuration(&settings, max_parked).to_string();
        let configuration = Rule::break_rules(self.broken, configuration);
        let plan = config::parse(configuration.as_bytes()).expect("a good configuration");
        Engine::new(plan, ThumbprintVerifier { accepts_anything: self.broken == Some(Rule::SignaturesAreChecked) })
    }

    pub(super) fn reload(&mut self, worker: usize) {
        let settings = self.workers[worker].settings.clone();
        let draining = self.workers[worker].draining;
        let engine = self.engine(&settings);
        self.workers[worker].dead = true;
        self.ledger.vm_died(worker, self.now);
        // A new VM gets a new number, so responses for the old VM do not reach it.
        self.workers.push(Worker { engine, settings, draining, dead: false, tick: None });
        self.workers[worker].draining = true;
        self.tick_in(self.workers.len() - 1, 1);
    }

    /// The root context of an earlier configuration ends.
    pub(super) fn end(&mut self, worker: usize) {
        if std::mem::replace(&mut self.workers[worker].dead, true) {
            return;
        }
        for (provider, fetch) in self.ledger.abandoned(worker) {
            let now = self.clock();
            let actions = self.workers[worker].engine.on_abandoned(ProviderId::new(provider), fetch, now);
            self.perform(worker, actions);
        }
    }

    pub(super) fn reconfigure(&mut self) {
        for worker in 0..self.workers.len() {
            self.workers[worker].draining = true;
            if self.workers[worker].engine.waiting() == 0 {
                self.end(worker);
            }
        }
        for settings in &mut self.scenario.settings {
            settings.grace = if settings.grace == 0 { 4_000 } else { 0 };
            settings.max_stale = 4_000;
            settings.min_ttl = 1_000;
        }
        self.ledger.reconfigured(&self.scenario.settings, self.now);
        self.start_workers();
    }
}
