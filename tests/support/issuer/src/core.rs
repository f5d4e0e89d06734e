//! An issuer without its server: the keys, the published JWKS, the faults and the answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::admin;
use crate::alg::Alg;
use crate::fault::{Fault, Plan, Times};
use crate::http::{Request, Response};
use crate::issuer::{Options, Rotation, Stats};
use crate::jwks::Document;
use crate::keys::{fresh_kid, SigningKey};
use crate::server::{lock, Connection, Handler, Reply};
use crate::spare;

/// The state that the owner and the connections share.
pub(crate) struct Core {
    pub(crate) issuer: String,
    pub(crate) filter: Option<PathBuf>,
    alg: Alg,
    pub(crate) state: Mutex<State>,
    plan: Mutex<Plan>,
    /// The number of calls of `heal`. A hanging request waits until the number changes.
    heals: AtomicU64,
    pub(crate) counters: Counters,
}

pub(crate) struct State {
    current: Arc<SigningKey>,
    published: Vec<Arc<SigningKey>>,
    pub(crate) document: Document,
    /// The JWKS before the last rotation.
    previous: Option<Document>,
    pub(crate) cache_control: Option<String>,
    /// Additional headers of the JWKS.
    pub(crate) headers: Vec<(String, String)>,
    /// The status and body of the discovery document, in place of its own.
    pub(crate) metadata: Option<(u16, String)>,
    /// The only path of the JWKS, in place of its own.
    pub(crate) jwks_path: Option<String>,
    /// Header names, and what the values of a request must contain. Another request gets a 403.
    pub(crate) demanded: Vec<(String, String)>,
}

#[derive(Default)]
pub(crate) struct Counters {
    jwks_requests: AtomicU64,
    metadata_requests: AtomicU64,
    not_modified: AtomicU64,
    faults: AtomicU64,
    pub(crate) tokens: AtomicU64,
    rotations: AtomicU64,
}

impl Core {
    pub(crate) fn new(options: &Options) -> Self {
        let current = Arc::new(SigningKey::generate(options.alg, &fresh_kid()));
        let published = vec![current.clone()];
        let state = State {
            document: Document::of_keys(&published),
            current,
            published,
            cache_control: options.max_age.map(|seconds| format!("public, max-age={seconds}")),
            headers: Vec::new(),
            previous: None,
            metadata: None,
            jwks_path: None,
            demanded: Vec::new(),
        };
        Self {
            issuer: options.issuer.clone(),
            filter: options.filter.clone(),
            alg: options.alg,
            state: Mutex::new(state),
            plan: Mutex::default(),
            heals: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    pub(crate) fn current(&self) -> Arc<SigningKey> {
        lock(&self.state).current.clone()
    }

    /// The current key's `kid`, and the published `kid`s.
    pub(crate) fn kids(&self) -> (String, Vec<String>) {
        let state = lock(&self.state);
        (state.current.kid.clone(), state.published.iter().map(|key| key.kid.clone()).collect())
    }

    pub(crate) fn rotate(&self, rotation: Rotation) -> String {
        // Generates the key before taking the lock, because that may be slow.
        let key = Arc::new(SigningKey::generate(self.alg, &fresh_kid()));
        let kid = key.kid.clone();
        {
            let mut state = lock(&self.state);
            if rotation == Rotation::Hard {
                state.published.clear();
            }
            state.published.push(key.clone());
            state.current = key;
            let document = Document::of_keys(&state.published);
            state.previous = Some(std::mem::replace(&mut state.document, document));
        }
        self.counters.rotations.fetch_add(1, SeqCst);
        if self.alg.is_rsa() {
            spare::fill();
        }
        kid
    }

    pub(crate) fn retire(&self, kid: &str) -> bool {
        let mut state = lock(&self.state);
        let before = state.published.len();
        state.published.retain(|key| key.kid != kid);
        let retired = state.published.len() < before;
        if retired {
            state.document = Document::of_keys(&state.published);
        }
        retired
    }

    pub(crate) fn fault(&self, fault: Fault, times: Times) {
        lock(&self.plan).set(fault, times);
    }

    pub(crate) fn heal(&self) {
        lock(&self.plan).clear();
        self.heals.fetch_add(1, SeqCst);
    }

    pub(crate) fn stats(&self, connections: u64) -> Stats {
        let counters = &self.counters;
        Stats {
            jwks_requests: counters.jwks_requests.load(SeqCst),
            metadata_requests: counters.metadata_requests.load(SeqCst),
            not_modified: counters.not_modified.load(SeqCst),
            faults: counters.faults.load(SeqCst),
            tokens: counters.tokens.load(SeqCst),
            rotations: counters.rotations.load(SeqCst),
            connections,
        }
    }

    fn jwks(&self, request: &Request, lags: bool) -> Response {
        let state = lock(&self.state);
        let is_met = |(name, part): &(String, String)| request.header(name).is_some_and(|value| value.contains(part));
        if !state.demanded.iter().all(is_met) {
            return Response::error(403, "a header is missing");
        }
        let document = state.previous.as_ref().filter(|_| lags).unwrap_or(&state.document);
        let answer = document.answer(request, state.cache_control.as_deref(), &state.headers);
        if answer.is_not_modified {
            self.counters.not_modified.fetch_add(1, SeqCst);
        }
        answer.response
    }

    fn discovery(&self, request: &Request) -> Response {
        let state = lock(&self.state);
        if let Some((status, body)) = &state.metadata {
            return Response::new(*status, "application/json", body.clone());
        }
        let host = request.header("host").unwrap_or("localhost");
        let path = state.jwks_path.as_deref().unwrap_or("/.well-known/jwks.json");
        let jwks_uri = format!("http://{host}{path}");
        Response::json(200, &json!({ "issuer": self.issuer, "jwks_uri": jwks_uri }))
    }

    /// The answer that the current fault causes, or the normal answer.
    fn with_fault(&self, connection: &Connection, normal: impl FnOnce(bool) -> Response) -> Reply {
        let heals = self.heals.load(SeqCst);
        let Some(fault) = lock(&self.plan).next() else { return Reply::Answer(normal(false)) };
        self.counters.faults.fetch_add(1, SeqCst);
        match fault {
            Fault::Status(status) => Reply::Answer(Response::error(status, "as requested")),
            Fault::Delay(duration) if connection.wait(duration) => Reply::Answer(normal(false)),
            Fault::Hang if connection.wait_until(|| self.heals.load(SeqCst) != heals) => Reply::Answer(normal(false)),
            Fault::Delay(_) | Fault::Hang => Reply::Close,
            Fault::Reset => Reply::Reset,
            Fault::Garbage => Reply::Answer(Response::new(200, "text/html", "<html>This is not JSON.</html>\n")),
            Fault::Truncated => Reply::Truncated(normal(false)),
            Fault::Empty => Reply::Answer(Response::json(200, &json!({ "keys": [] }))),
            Fault::Lag => Reply::Answer(normal(true)),
        }
    }
}

impl Handler for Core {
    fn handle(&self, request: &Request, connection: &Connection) -> Reply {
        let moved = lock(&self.state).jwks_path.clone();
        let is_jwks = match request.path() {
            path if moved.as_deref() == Some(path) => true,
            "/.well-known/jwks.json" | "/jwks" if moved.is_some() => {
                return Reply::Answer(Response::error(404, "the JWKS has moved"));
            }
            "/.well-known/jwks.json" | "/jwks" => true,
            "/.well-known/openid-configuration" => false,
            _ => return admin::handle(self, request, connection),
        };
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Reply::Answer(Response::error(405, "GET or HEAD only").with("allow", "GET, HEAD"));
        }
        if request.method == "GET" {
            let counters = &self.counters;
            let counter = if is_jwks { &counters.jwks_requests } else { &counters.metadata_requests };
            counter.fetch_add(1, SeqCst);
        }
        self.with_fault(connection, |lags| if is_jwks { self.jwks(request, lags) } else { self.discovery(request) })
    }
}
