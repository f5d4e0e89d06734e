//! Requests, and what becomes of them.

use super::*;

impl World {
    pub(super) fn request(
        &mut self,
        path: &str,
        list: &[(usize, Kind)],
        all: bool,
        client: u64,
        patience: Option<u64>,
        draw: usize,
    ) {
        let active: Vec<_> = (0..self.workers.len()).filter(|w| !self.workers[*w].draining).collect();
        let worker = active[draw % active.len()];
        self.streams += 1;
        let stream = self.streams;
        let (tokens, texts): (Vec<_>, Vec<_>) =
            list.iter().map(|(provider, kind)| self.token(worker, *provider, *kind, draw)).unzip();
        let names: Vec<_> = tokens.iter().map(|token| Scenario::header_of(token.provider)).collect();
        let places = names.iter().map(String::as_str).zip(texts.iter().map(String::as_bytes));
        let list: Vec<_> = [(":path", path.as_bytes())].into_iter().chain(places).collect();
        let headers = Headers::new(&list);
        let resolved = self.workers[worker].engine.resolve(headers);
        let providers = resolved.providers();
        assert_eq!(providers.len(), tokens.len());
        providers.into_iter().for_each(|provider| self.sync(worker, provider.index()));
        let request = Request { tokens, all, client, arrived: self.now };
        self.ledger.arrived(worker, stream, request);
        let client = ClientId(client);
        let seen = if self.broken == Some(Rule::ClientsShareTheRoom) { ClientId::default() } else { client };
        let (now, engine) = (self.clock(), &mut self.workers[worker].engine);
        let is_full = engine.waiting() == self.scenario.max_parked;
        let mut decision = engine.on_request(StreamId(stream), resolved, headers, || seen, now);
        if self.broken == Some(Rule::UnknownKeysAreFetched) && matches!(decision, Decision::Park) && self.now > 2_000 {
            decision = Decision::Reply(Reply {
                status: 401,
                headers: Vec::new(),
                body: "not known".into(),
                state: Vec::new(),
            });
        }
        match decision {
            Decision::Continue(..) | Decision::ContinueAndWake(..) => self.answered(worker, stream, 200, ""),
            Decision::Reply(reply) => self.answered(worker, stream, reply.status, &reply.body),
            Decision::Park => {
                self.ledger.parked(worker, stream);
                if is_full {
                    // The ledger checks at once who lost a place.
                    self.run_worker(worker);
                } else {
                    self.wake(worker, None, 0);
                }
                let tick = self.workers[worker].engine.tick_when_parked();
                self.tick_in(worker, millis(tick));
                if let Some(patience) = patience {
                    self.schedule_in(patience, Event::Leave { worker, stream });
                }
            }
        }
    }

    /// A token of this kind: what is true of the token, and its text.
    pub(super) fn token(&self, worker: usize, provider: usize, kind: Kind, draw: usize) -> (Token, String) {
        let settings = self.workers[worker].settings[provider].clone();
        let (issuer, iss) = (settings.source, settings.iss.as_str());
        let from = &self.issuers[issuer];
        let key = match kind {
            Kind::Old => from.current.saturating_sub(1),
            Kind::Good | Kind::Forged | Kind::Unknown | Kind::Injected | Kind::Seeded => from.current,
        };
        let published = &from.history[key];
        let text = match kind {
            Kind::Good | Kind::Old => keys::token(iss, &published.kid, Some(published.material)),
            Kind::Unknown => keys::token(iss, &format!("unknown-{draw}"), None),
            Kind::Forged => keys::token(iss, &published.kid, None),
            Kind::Injected => keys::token(iss, INJECTED, Some(keys::INJECTED)),
            Kind::Seeded => keys::token(iss, "seed", Some(keys::SEED)),
        };
        (Token { provider, issuer, kind, key, settings }, text)
    }

    pub(super) fn answer(&mut self, worker: usize, stream: u32, status: u16, body: &str) {
        match self.broken {
            Some(Rule::EveryAnswerArrives) if stream.is_multiple_of(20) => {}
            Some(Rule::EveryAnswerArrivesOnce) if stream.is_multiple_of(20) => {
                self.answered(worker, stream, status, body);
                self.answered(worker, stream, status, body);
            }
            _ => self.answered(worker, stream, status, body),
        }
    }

    pub(super) fn answered(&mut self, worker: usize, stream: u32, status: u16, body: &str) {
        if self.verbose {
            println!("{:>6}   stream {stream}: {status} {body}", self.now);
        }
        self.ledger.answered(worker, stream, status, body, self.now, &self.issuers);
        self.schedule_in(1, Event::Leave { worker, stream });
    }
}
