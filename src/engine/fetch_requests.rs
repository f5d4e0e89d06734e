//! The requests of a fetch, made of what a worker knows of the key set.

use std::time::Duration;

use super::{action::Response, fetch_error::FetchError, fetching::Step, provider_keys::ProviderKeys};
use crate::{
    policy::{
        discovery::MAX_METADATA_BYTES,
        endpoint::{Endpoint, FetchRequest, RequestHeaders},
        provider::{Remote, Source},
    },
    rotation::{http_cache::Validators, record::CachedJwks},
    time::UnixTime,
};

impl ProviderKeys {
    /// A fetch of this number begins. Returns its first request.
    pub(super) fn begin_fetch(&mut self, fetch: u64, remote: &Remote, now: UnixTime) -> Option<FetchRequest> {
        if let Some((endpoint, fetched_at)) = self.newest_location(remote) {
            self.fetching.adopt(endpoint, fetched_at);
        }
        self.fetching.begin(fetch, remote, self.clock.at(now));
        self.request(fetch, remote)
    }

    /// The next request of a fetch, if another is left to try. A request starts only if its timeout ends within the lease: two
    /// workers never fetch at a time.
    pub(super) fn next_request(&mut self, fetch: u64, remote: &Remote, now: UnixTime) -> Option<FetchRequest> {
        let lease = self.record.lease.filter(|lease| self.record.started == fetch && lease.is_held(now));
        while self.fetching.advance(remote) {
            let (_, endpoint) = self.fetching.step(fetch)?;
            if lease.is_some_and(|lease| now.plus(endpoint.timeout) <= lease.until) {
                return self.request(fetch, remote);
            }
            // A mirror that comes later may have a shorter timeout.
            self.fetching.failed(FetchError::NoTimeLeft, None, remote);
        }
        None
    }

    /// Where metadata said that the newest JWKS is, whichever worker read the metadata, and when that JWKS was fetched.
    fn newest_location(&self, remote: &Remote) -> Option<(Endpoint, UnixTime)> {
        let Source::Discovery(discovery) = &remote.source else { return None };
        let document = self.record.document.as_ref()?;
        Some((discovery.jwks_at(&document.location).ok()?, document.fetched_at))
    }

    /// The request of a fetch's step, about the JWKS at hand if the JWKS came from there.
    fn request(&mut self, fetch: u64, remote: &Remote) -> Option<FetchRequest> {
        let (step, endpoint) = self.fetching.step(fetch)?;
        let endpoint = endpoint.clone();
        let validators = match step {
            Step::Metadata => Validators::default(),
            Step::Jwks | Step::Mirror(_) => self.record.validators(endpoint.digest()),
        };
        let document = self.known.document.as_ref().filter(|_| validators != Validators::default());
        self.fetching.ask_about(document.map(CachedJwks::fingerprint));
        let headers = match step {
            Step::Metadata | Step::Jwks => remote.headers.clone(),
            Step::Mirror(_) => RequestHeaders::default(),
        };
        let max_body = match step {
            Step::Metadata => MAX_METADATA_BYTES,
            Step::Jwks | Step::Mirror(_) => remote.rotation.limits.max_document_bytes,
        };
        Some(FetchRequest { endpoint, headers, validators, max_body })
    }

    /// A request failed. `retry_after` is the pause that the server asked for. Where that was the request for the metadata, the
    /// fetch goes on where the newest JWKS came from, whichever worker fetched the JWKS.
    pub(super) fn request_failed(&mut self, error: FetchError, retry_after: Option<Duration>, remote: &Remote) {
        if let Some((endpoint, _)) = self.newest_location(remote) {
            self.fetching.recall(endpoint);
        }
        self.fetching.failed(error, retry_after, remote);
    }

    /// Reads the metadata that a fetch brought.
    pub(super) fn read_metadata(
        &mut self,
        remote: &Remote,
        response: &Response,
        now: UnixTime,
    ) -> Result<(), FetchError> {
        let Source::Discovery(discovery) = &remote.source else { return Err(FetchError::NotStarted) };
        if response.status != 200 {
            return Err(FetchError::of(response));
        }
        let endpoint = discovery.jwks(&response.body).map_err(FetchError::Metadata)?;
        self.fetching.found(endpoint, self.clock.at(now));
        Ok(())
    }
}
