//! Every host call but those on shared data and queues: functions that return `Result`, and that take and give bytes.

use std::time::Duration;

use super::abi::{self, Buffer, Map};
use crate::{
    engine::{FetchError, FetchRequest, Response},
    ids::ClientId,
    keys::document::DocumentError,
    policy::{client, forward::Edits, reply::Reply},
    shared::{names, pairs},
    time::UnixTime,
    token::host_verifier,
};

/// The host's clock. A host without a clock gives the end of time, at which every key and every token has expired.
pub(super) fn now() -> UnixTime {
    UnixTime::from_millis(abi::current_time().map_or(u64::MAX, |nanos| nanos / 1_000_000))
}

/// The plugin configuration; empty if there is none.
pub(super) fn configuration(size: usize) -> Vec<u8> {
    abi::buffer(Buffer::PluginConfiguration, size).ok().flatten().unwrap_or_default()
}

/// A property by its path, with a zero byte between the parts; empty if the host lacks the property.
pub(super) fn property(path: &str) -> Vec<u8> {
    abi::property(path).ok().flatten().unwrap_or_default()
}

/// The client of the current request.
pub(super) fn client() -> ClientId {
    client::client(&property("source\0address"))
}

/// The headers of the current request, as [`pairs::read`] reads them.
pub(super) fn request_headers() -> abi::Result<Vec<u8>> {
    abi::headers(Map::Request)
}

/// Changes the current request.
pub(super) fn edit(edits: &Edits) -> abi::Result {
    #[cfg(feature = "test-hooks")]
    super::test_hooks::on_edit()?;
    edits.remove.iter().try_for_each(|name| abi::remove_header(name))?;
    if let Some(target) = &edits.target {
        abi::replace_header(":path", target)?;
    }
    edits.add.iter().try_for_each(|(name, value)| abi::add_header(name, value))?;
    edits.state.iter().try_for_each(|(name, value)| abi::set_property(name, value))?;
    if edits.clear_route_cache {
        // A host without this function keeps the route.
        let _ = abi::call_foreign_function("clear_route_cache", &[]);
    }
    Ok(())
}

/// Answers the current request.
pub(super) fn reply(reply: &Reply) -> abi::Result {
    #[cfg(feature = "test-hooks")]
    super::test_hooks::on_edit()?;
    for (name, value) in &reply.state {
        // A shorter access log is no reason to answer otherwise.
        let _ = abi::set_property(name, value);
    }
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    abi::send_response(u32::from(reply.status), &headers, reply.body.as_bytes())
}

/// How much of the body of a response is read that may be Envoy's own.
const MAX_ERROR_BYTES: usize = 512;

/// Sends a request of a fetch. Returns the token that the callback will carry.
pub(super) fn fetch(request: &FetchRequest) -> abi::Result<u32> {
    let millis = u32::try_from(request.endpoint.timeout.as_millis()).unwrap_or(u32::MAX);
    abi::http_call(&request.endpoint.cluster, &request.headers(), millis)
}

/// Why the host did not start a fetch.
pub(super) fn not_started(status: u32) -> FetchError {
    match status {
        abi::INTERNAL_FAILURE => FetchError::NoHosts,
        _ => FetchError::NotStarted,
    }
}

/// The response to a fetch, within its callback. `headers` and `body` are the callback's counts: without headers the host has no
/// response at all. A body is copied only if it may be used.
pub(super) fn fetched(headers: usize, body: usize, max_body: usize) -> Result<Response, FetchError> {
    if headers == 0 {
        return Err(FetchError::Reset);
    }
    let headers = abi::headers(Map::CallResponse).map_err(|_| FetchError::Reset)?;
    let headers = pairs::read(&headers).ok_or(FetchError::Reset)?;
    let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let status = Response::status(&headers);
    let body = match status {
        200 if body > max_body => return Err(FetchError::Document(DocumentError::TooLarge)),
        200 => abi::buffer(Buffer::CallResponseBody, body).map_err(|_| FetchError::Reset)?.unwrap_or_default(),
        // Where Envoy cannot reach the issuer, the body tells why.
        503 | 504 => {
            abi::buffer(Buffer::CallResponseBody, body.min(MAX_ERROR_BYTES)).ok().flatten().unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Ok(Response { status, headers, body })
}

/// Envoy's foreign function `verify_signature`. `None`: the host lacks the function, or rejects the argument.
pub(super) fn verify_signature(argument: &[u8]) -> Option<Vec<u8>> {
    abi::call_foreign_function(host_verifier::FUNCTION, argument).ok().flatten()
}

/// A number that spreads what many proxies do, and no more than that. The VM has no randomness, but a clock of microseconds
/// or less.
pub(super) fn random(salt: u64) -> u32 {
    let nanos = abi::current_time().unwrap_or_default();
    names::digest(&[&nanos.to_le_bytes()[..], &salt.to_le_bytes()].concat()) as u32
}

/// Has `on_tick` called after this period; at least a millisecond, since zero would stop the ticks.
pub(super) fn tick_in(period: Duration) -> abi::Result {
    abi::set_tick_period(u32::try_from(period.as_millis()).unwrap_or(u32::MAX).max(1))
}

/// Ends the ticks of the current context. Envoy would go on with the timer of a context that is gone.
pub(super) fn stop_ticks() {
    let _ = abi::set_tick_period(0);
}
