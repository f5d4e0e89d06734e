//! The fetches between workers and issuers.

use jwks_gate::engine::FetchRequest;

use super::*;
use crate::scenario::MIRROR;

impl World {
    /// Whether the issuer's fault means nothing to tokens, since a mirror has the keys and the fault costs no time. After a step of
    /// the clock within the fetch, the lease may be over, and the mirror is not asked.
    pub(super) fn is_saved_by_mirror(&self, issuer: usize) -> bool {
        let costs_time = matches!(self.issuers[issuer].fault, None | Some(Fault::Hang | Fault::Slow));
        self.scenario.settings[issuer].has_mirror && !costs_time && !self.has_clock_steps
    }

    /// Sends a request of a fetch. A mirror never fails.
    pub(super) fn fetch(&mut self, worker: usize, provider: usize, fetch: u64, request: FetchRequest) {
        let (validators, is_mirror) = (request.validators, request.endpoint.cluster == MIRROR);
        if self.issuers[self.source(provider)].fault == Some(Fault::NotStarted) && !is_mirror {
            let actions = self.on_fetched(worker, provider, fetch, Err(FetchError::NotStarted));
            return self.perform_fetched(worker, provider, actions, true);
        }
        let source = self.source(provider);
        self.ledger.request_sent(source, (worker, provider), fetch, self.now);
        let slow = self.issuers[self.source(provider)].fault == Some(Fault::Slow) && !is_mirror;
        let delay = if slow { self.workers[worker].settings[provider].timeout / 2 - LATENCY } else { LATENCY };
        self.schedule_in(delay, Event::Serve { worker, provider, fetch, is_mirror, validators });
    }

    pub(super) fn serve(
        &mut self,
        worker: usize,
        provider: usize,
        fetch: u64,
        is_mirror: bool,
        validators: &Validators,
    ) {
        let source = self.source(provider);
        let (delay, response) = match self.issuers[source].serve(is_mirror, validators) {
            Some(response) => (LATENCY, response),
            None => {
                let timeout = self.workers[worker].settings[provider].timeout - LATENCY;
                (timeout, Ok(Response { status: 504, headers: Vec::new(), body: Vec::new() }))
            }
        };
        self.schedule_in(delay, Event::Fetched { worker, provider, fetch, response });
    }

    pub(super) fn fetched(
        &mut self,
        worker: usize,
        provider: usize,
        fetch: u64,
        mut response: Result<Response, FetchError>,
    ) {
        if let Ok(response) = &mut response {
            Rule::break_response(self.broken, &mut response.body);
        }
        let actions = self.on_fetched(worker, provider, fetch, response);
        let goes_on = actions.iter().any(|action| matches!(action, Action::Fetch(..)));
        let source = self.source(provider);
        let is_spoiled = !goes_on && self.ledger.fetch_ended(source, fetch);
        self.perform_fetched(worker, provider, actions, is_spoiled);
    }

    /// Shares the result of a fetch. The ledger hears of the pause that follows before requests are answered.
    pub(super) fn perform_fetched(&mut self, worker: usize, provider: usize, actions: Vec<Action>, is_spoiled: bool) {
        for action in actions {
            if let Action::Fetch(id, fetch, request) = action {
                self.fetch(worker, id.index(), fetch, request);
            } else if let Action::Update(id, update) = action {
                let applied = self.apply(worker, id.index(), &update);
                let source = self.source(provider);
                match pause(&applied.record, &self.workers[worker].settings, source) {
                    0 => self.ledger.succeeded(source),
                    pause if is_spoiled => self.ledger.backed_off(source, self.now, pause),
                    _ => {}
                }
                let now = self.clock();
                let actions = self.workers[worker].engine.on_updated(id, update, applied, now);
                self.perform(worker, actions);
            }
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        worker: usize,
        provider: usize,
        fetch: u64,
        response: Result<Response, FetchError>,
    ) -> Vec<Action> {
        let (jitter, now) = (self.random(provider).u32(..), self.clock());
        self.workers[worker].engine.on_fetched(ProviderId::new(provider), fetch, response, jitter, now)
    }
}
