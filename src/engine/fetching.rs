//! The requests of a fetch, one after another: the metadata that names the JWKS, the JWKS, and its mirrors.
//!
//! ```text
//! Uri:        Jwks ──── failed ───▶ Mirror(0) ─▶ Mirror(1) …
//! Discovery:  Metadata ───────────▶ Jwks ── failed ─▶ Mirror(0) …
//!             Metadata ── failed ─▶ Jwks at the URI that was found before, if any
//!             Jwks at a URI that was found before ── another status ─▶ Metadata ─▶ Jwks
//! ```

use std::time::Duration;

use super::fetch_error::FetchError;
use crate::{
    policy::{
        endpoint::Endpoint,
        provider::{Remote, Source},
    },
    rotation::record::Fingerprint,
    time::UnixTime,
};

/// What this worker knows of the running fetch, and of the URI that the metadata named.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    running: Option<Running>,
    found: Option<Found>,
}

/// A URI that the issuer's metadata named.
#[derive(Debug)]
struct Found {
    endpoint: Endpoint,
    /// When the metadata was read, in the record's time.
    read_at: UnixTime,
}

#[derive(Debug)]
struct Running {
    number: u64,
    step: Step,
    /// Where the request of this step goes.
    endpoint: Endpoint,
    /// The JWKS that the request asks about.
    asked: Option<Fingerprint>,
    has_asked_for_metadata: bool,
    failures: Vec<FailedRequest>,
    retry_after: Option<Duration>,
}

/// What a request of a fetch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Metadata,
    Jwks,
    /// The mirror of this index.
    Mirror(usize),
}

/// A request that brought nothing.
#[derive(Debug)]
pub(super) struct FailedRequest {
    pub(super) endpoint: Endpoint,
    pub(super) error: FetchError,
}

/// The requests of a fetch that ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The requests that failed, in their order.
    pub(super) failures: Vec<FailedRequest>,
    /// Where the JWKS came from, if one did.
    pub(super) answered: Option<Endpoint>,
}

impl Fetching {
    /// Fetch number `number` begins, at `now` by the record's time.
    pub(super) fn begin(&mut self, number: u64, remote: &Remote, now: UnixTime) {
        let (step, endpoint) = match (&remote.source, &self.found) {
            (Source::Uri(endpoint), _) => (Step::Jwks, endpoint),
            (Source::Discovery(discovery), Some(found)) if now.since(found.read_at) < discovery.ttl => {
                (Step::Jwks, &found.endpoint)
            }
            (Source::Discovery(discovery), _) => (Step::Metadata, &discovery.metadata),
        };
        self.running = Some(Running {
            number,
            step,
            endpoint: endpoint.clone(),
            asked: None,
            has_asked_for_metadata: step == Step::Metadata,
            failures: Vec::new(),
            retry_after: None,
        });
    }

    /// What fetch number `number` asks for now, and where. `None`: this worker has begun another fetch since.
    pub(super) fn step(&self, number: u64) -> Option<(Step, &Endpoint)> {
        let running = self.running.as_ref().filter(|running| running.number == number)?;
        Some((running.step, &running.endpoint))
    }

    /// The request of this step asks about this JWKS.
    pub(super) fn ask_about(&mut self, document: Option<Fingerprint>) {
        if let Some(running) = &mut self.running {
            running.asked = document;
        }
    }

    /// The JWKS that a 304 to the request of this step confirms.
    pub(super) fn asked(&self) -> Option<Fingerprint> {
        self.running.as_ref()?.asked
    }

    /// The pause that the issuer asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.running.as_ref()?.retry_after
    }

    /// Another worker fetched the newest JWKS at this URI of the metadata, at `fetched_at`: its metadata is newer, unless this worker
    /// has read the metadata since. When the metadata is due again does not change.
    pub(super) fn adopt(&mut self, endpoint: Endpoint, fetched_at: UnixTime) {
        if let Some(found) = self.found.as_mut().filter(|found| found.read_at < fetched_at) {
            found.endpoint = endpoint;
        }
    }

    /// The metadata names this URI.
    pub(super) fn found(&mut self, endpoint: Endpoint, read_at: UnixTime) {
        self.found = Some(Found { endpoint, read_at });
    }

    /// The newest JWKS came from this URI of the metadata. It is used only if the metadata fails.
    pub(super) fn recall(&mut self, endpoint: Endpoint) {
        if self.running.as_ref().is_some_and(|running| running.step == Step::Metadata) {
            self.found = Some(Found { endpoint, read_at: UnixTime::default() });
        }
    }

    /// The request of this step failed. `retry_after` is the pause that the server asked for.
    pub(super) fn failed(&mut self, error: FetchError, retry_after: Option<Duration>, remote: &Remote) {
        let Some(running) = &mut self.running else { return };
        // The JWKS may have moved.
        let is_elsewhere = matches!(error, FetchError::Status(_));
        if running.step == Step::Jwks && is_elsewhere && matches!(remote.source, Source::Discovery(_)) {
            self.found = None;
        }
        // A mirror does not say when the issuer may be asked again.
        if !matches!(running.step, Step::Mirror(_)) {
            running.retry_after = running.retry_after.max(retry_after);
        }
        running.failures.push(FailedRequest { endpoint: running.endpoint.clone(), error });
    }

    /// Goes to the next step. Returns false if none is left.
    pub(super) fn advance(&mut self, remote: &Remote) -> bool {
        let Self { running: Some(running), found } = self else { return false };
        let has_failed = |endpoint: &Endpoint| running.failures.iter().any(|failed| failed.endpoint == *endpoint);
        let next = match (running.step, &remote.source, found) {
            (Step::Metadata, _, Some(found)) if !has_failed(&found.endpoint) => Some((Step::Jwks, &found.endpoint)),
            (Step::Jwks, Source::Discovery(discovery), None) if !running.has_asked_for_metadata => {
                Some((Step::Metadata, &discovery.metadata))
            }
            _ => None,
        };
        let index = match running.step {
            Step::Metadata | Step::Jwks => 0,
            Step::Mirror(index) => index.saturating_add(1),
        };
        let mirror = || Some((Step::Mirror(index), remote.mirrors.get(index)?));
        let Some((step, endpoint)) = next.or_else(mirror) else { return false };
        (running.step, running.endpoint) = (step, endpoint.clone());
        running.has_asked_for_metadata |= step == Step::Metadata;
        true
    }

    /// The fetch is over. Returns its requests, and the pause that the issuer asked for.
    pub(super) fn end(&mut self, has_answer: bool) -> (Ended, Option<Duration>) {
        let Some(running) = self.running.take() else { return Default::default() };
        let Running { endpoint, failures, retry_after, .. } = running;
        (Ended { failures, answered: has_answer.then_some(endpoint) }, retry_after)
    }

    /// The times and keys that this worker knew mean nothing any more.
    pub(super) fn begin_anew(&mut self) {
        self.found = None;
        self.ask_about(None);
    }
}
