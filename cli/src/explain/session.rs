//! One worker without Envoy: the engine, its shared records, and an issuer whose JWKS is a file.

use std::collections::BTreeMap;

use jwks_gate::{
    engine::{Action, Decision, Engine, Headers, Plan, ProviderId, Response, StreamId},
    ids::ClientId,
    policy::{endpoint::Endpoint, provider::Source},
    time::UnixTime,
    token::signature::WasmVerifier,
};

/// How many actions of the engine are carried out, at most.
const MAX_ACTIONS: usize = 10_000;

/// Decides a request as a worker does that has just fetched this JWKS for every provider. `None`: no JWKS can be fetched.
pub(super) fn decide(plan: Plan, jwks: Option<&[u8]>, headers: Headers<'_>, now: UnixTime) -> Decision {
    let mut session = Session { engine: Engine::new(plan, WasmVerifier), records: BTreeMap::new(), jwks, now };
    session.fetch();
    let resolved = session.engine.resolve(headers);
    session.engine.on_request(StreamId(1), resolved, headers, ClientId::default, now)
}

struct Session<'a> {
    engine: Engine<WasmVerifier>,
    records: BTreeMap<ProviderId, Vec<u8>>,
    jwks: Option<&'a [u8]>,
    now: UnixTime,
}

impl Session<'_> {
    /// Fetches what is due.
    fn fetch(&mut self) {
        let mut left = MAX_ACTIONS;
        loop {
            let due = self.engine.due(self.now);
            if due.is_empty() {
                return;
            }
            let mut actions = self.engine.on_wake(self.now);
            while let Some(action) = actions.pop() {
                let Some(rest) = left.checked_sub(1) else { return };
                left = rest;
                actions.extend(self.carry_out(action));
            }
            let Some(rest) = left.checked_sub(1) else { return };
            left = rest;
        }
    }

    /// What the issuer answers to a request for its metadata. `None`: the request is for the JWKS.
    fn metadata(&self, provider: ProviderId, endpoint: &Endpoint) -> Option<Vec<u8>> {
        let Source::Discovery(discovery) = &self.engine.plan().remote(provider)?.source else { return None };
        let uri = format!("https://{}/jwks", discovery.jwks_host);
        let metadata = serde_json::json!({"issuer": discovery.issuer, "jwks_uri": uri});
        (*endpoint == discovery.metadata).then(|| metadata.to_string().into_bytes())
    }

    fn carry_out(&mut self, action: Action) -> Vec<Action> {
        match action {
            Action::Update(provider, update) => {
                let applied = update.apply(self.records.get(&provider).map(Vec::as_slice), self.now);
                if let Some(bytes) = &applied.bytes {
                    self.records.insert(provider, bytes.clone());
                }
                self.engine.on_updated(provider, update, applied, self.now)
            }
            Action::Fetch(provider, fetch, request) => match self.jwks {
                Some(body) => {
                    let metadata = self.metadata(provider, &request.endpoint);
                    let body = metadata.unwrap_or_else(|| body.to_vec());
                    let response = Response { status: 200, headers: Vec::new(), body };
                    self.engine.on_fetched(provider, fetch, Ok(response), 0, self.now)
                }
                // The fetch runs, and no response comes.
                None => Vec::new(),
            },
            Action::Reply(..) | Action::Resume(..) | Action::WakeWorkers(_) => Vec::new(),
        }
    }
}
