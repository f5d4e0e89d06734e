//! One worker without Envoy: the engine, its shared records, and an issuer whose JWKS is a file.

use std::{collections::BTreeMap, time::Duration};

use jwks_gate::{
    engine::{Action, Decision, Engine, Headers, Plan, ProviderId, ResolvedRequirement, Response, StreamId},
    ids::ClientId,
    policy::{endpoint::Endpoint, provider::Source},
    time::UnixTime,
    token::signature::WasmVerifier,
};

/// How many actions of the engine are carried out, at most.
const MAX_ACTIONS: usize = 100_000;
/// How often a parked request is looked at, at most.
const MAX_LOOKS: usize = 1_000;
const STREAM: StreamId = StreamId(1);

/// What becomes of a request.
pub(super) enum Outcome {
    /// Decided at once.
    AtOnce(Decision),
    /// The request waits, and the issuer's answer is not known.
    Waits,
    /// The request waits this long for the issuer, then this is done.
    Later(Duration, Action),
}

/// A worker that has just fetched a JWKS.
pub(super) struct Session<'a> {
    engine: Engine<WasmVerifier>,
    records: BTreeMap<ProviderId, Vec<u8>>,
    /// The JWKS of every issuer. `None`: no response comes.
    jwks: Option<&'a [u8]>,
    /// Whose JWKS is fetched. The answers to the fetches of the others do not matter to the request.
    needed: Vec<ProviderId>,
    now: UnixTime,
    left: usize,
}

impl<'a> Session<'a> {
    pub(super) fn new(plan: Plan, jwks: Option<&'a [u8]>, now: UnixTime) -> Self {
        let engine = Engine::new(plan, WasmVerifier);
        Self { engine, records: BTreeMap::new(), jwks, needed: Vec::new(), now, left: MAX_ACTIONS }
    }

    pub(super) fn plan(&self) -> &Plan {
        self.engine.plan()
    }

    /// What is required of a request, under keys that were just fetched.
    pub(super) fn resolve(&mut self, headers: Headers<'_>) -> ResolvedRequirement {
        let resolved = self.engine.resolve(headers);
        self.needed = resolved.providers();
        self.advance();
        resolved
    }

    /// Decides a request. The issuer still publishes the same JWKS while the request waits.
    pub(super) fn decide(mut self, resolved: ResolvedRequirement, headers: Headers<'_>) -> Outcome {
        let decision = self.engine.on_request(STREAM, resolved, headers, ClientId::default, self.now);
        match decision {
            Decision::Park if self.jwks.is_some() => self.wait().unwrap_or(Outcome::Waits),
            Decision::Park => Outcome::Waits,
            decision => Outcome::AtOnce(decision),
        }
    }

    /// Lets the time pass until the request is decided.
    fn wait(&mut self) -> Option<Outcome> {
        let since = self.now;
        for _ in 0..MAX_LOOKS {
            if let Some(action) = self.advance() {
                return Some(Outcome::Later(self.now.since(since), action));
            }
            self.now = self.engine.next_timeout(self.now)?.max(self.now.plus(Duration::from_millis(1)));
        }
        None
    }

    /// Does what is due now. Returns what is done with the parked request.
    fn advance(&mut self) -> Option<Action> {
        loop {
            let due = self.engine.due(self.now);
            let mut actions = self.engine.on_wake(self.now);
            let is_idle = due.is_empty() && actions.is_empty();
            while let Some(action) = actions.pop() {
                self.left = self.left.checked_sub(1)?;
                match action {
                    Action::Reply(STREAM, _) | Action::Resume(STREAM, ..) => return Some(action),
                    action => actions.extend(self.carry_out(action)),
                }
            }
            if is_idle {
                return None;
            }
            self.left = self.left.checked_sub(1)?;
        }
    }

    /// What the issuer answers to a request for its metadata. `None`: the request is for the JWKS.
    fn metadata(&self, provider: ProviderId, endpoint: &Endpoint) -> Option<Vec<u8>> {
        let Source::Discovery(discovery) = &self.plan().remote(provider)?.source else { return None };
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
            Action::Fetch(provider, fetch, request) => match self.jwks.filter(|_| self.needed.contains(&provider)) {
                Some(body) => {
                    let metadata = self.metadata(provider, &request.endpoint);
                    let body = metadata.unwrap_or_else(|| body.to_vec());
                    let response = Response { status: 200, headers: Vec::new(), body };
                    self.engine.on_fetched(provider, fetch, Ok(response), 0, self.now)
                }
                None => Vec::new(),
            },
            Action::Reply(..) | Action::Resume(..) | Action::WakeWorkers(_) => Vec::new(),
        }
    }
}
