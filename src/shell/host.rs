//! Every host call but those on shared data and queues: functions that return `Result`, and that take and give bytes.

use std::time::{Duration, UNIX_EPOCH};

pub(super) use proxy_wasm::types::MetricType;
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, Status},
};

use super::abi;
use crate::{
    engine::{FetchError, Response},
    ids::ClientId,
    keys::document::DocumentError,
    policy::{
        client,
        forward::Edits,
        provider::Remote,
        reply::{self, ChallengeContext, Denial, Reply, ResponseFormat},
    },
    rotation::http_cache::Validators,
    shared::names,
    time::UnixTime,
    token::host_verifier,
};

fn since_epoch() -> Option<Duration> {
    hostcalls::get_current_time().ok()?.duration_since(UNIX_EPOCH).ok()
}

/// The host's clock. A host without a clock gives the end of time, at which every key and every token has expired.
pub(super) fn now() -> UnixTime {
    let millis = since_epoch().and_then(|since| u64::try_from(since.as_millis()).ok());
    UnixTime::from_millis(millis.unwrap_or(u64::MAX))
}

/// The plugin configuration; empty if there is none.
pub(super) fn configuration(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten().unwrap_or_default()
}

/// A property; empty if the host lacks the property.
pub(super) fn property(name: &str) -> Vec<u8> {
    hostcalls::get_property(vec![name]).ok().flatten().unwrap_or_default()
}

/// The client of the current request.
pub(super) fn client() -> ClientId {
    let address = hostcalls::get_property(vec!["source", "address"]).ok().flatten().unwrap_or_default();
    client::client(&address)
}

/// The headers of the current request.
pub(super) fn request_headers() -> Result<Vec<(String, Vec<u8>)>, Status> {
    hostcalls::get_map_bytes(MapType::HttpRequestHeaders)
}

/// Makes host calls apply to this context: a stream's or the root's.
pub(super) fn act_for(context: u32) -> abi::Result {
    abi::set_effective_context(context)
}

/// Changes the current request.
pub(super) fn edit(edits: &Edits) -> abi::Result {
    edits.remove.iter().try_for_each(|name| abi::remove_header(name))?;
    if let Some(target) = &edits.target {
        abi::replace_header(":path", target)?;
    }
    edits.add.iter().try_for_each(|(name, value)| abi::add_header(name, value))?;
    edits.state.iter().try_for_each(|(name, value)| abi::set_property(name, value))?;
    if edits.clear_route_cache {
        // A host without this function keeps the route.
        let _ = hostcalls::call_foreign_function("clear_route_cache", None);
    }
    Ok(())
}

/// The reply where a host call failed: no request goes on for that.
pub(super) fn unavailable() -> Reply {
    reply::reply(Denial::KeysUnavailable(Duration::ZERO), &ResponseFormat::default(), ChallengeContext::default())
}

/// Lets the current, paused request go on.
pub(super) fn resume() -> abi::Result {
    abi::resume_request()
}

/// Answers the current request.
pub(super) fn reply(reply: &Reply) -> abi::Result {
    for (name, value) in &reply.state {
        // A shorter access log is no reason to answer otherwise.
        let _ = abi::set_property(name, value);
    }
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    abi::send_response(u32::from(reply.status), &headers, reply.body.as_bytes())
}

/// Some issuers answer 403 to a request without a user agent.
const USER_AGENT: &str = concat!("jwks-gate/", env!("CARGO_PKG_VERSION"));
/// How much of the body of a response is read that may be Envoy's own.
const MAX_ERROR_BYTES: usize = 512;

/// Starts a fetch. Returns the token that the callback will carry.
pub(super) fn fetch(remote: &Remote, validators: &Validators) -> abi::Result<u32> {
    let mut headers = vec![
        (":method", "GET"),
        (":scheme", remote.scheme),
        (":authority", remote.authority.as_str()),
        (":path", remote.path.as_str()),
        ("user-agent", USER_AGENT),
        ("accept", "application/jwk-set+json, application/json, */*;q=0.5"),
        ("accept-encoding", "identity"),
    ];
    headers.extend(validators.etag.as_deref().map(|etag| ("if-none-match", etag)));
    headers.extend(validators.last_modified.as_deref().map(|date| ("if-modified-since", date)));
    let millis = u32::try_from(remote.rotation.fetch_timeout.as_millis()).unwrap_or(u32::MAX);
    abi::http_call(&remote.cluster, &headers, millis)
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
    let headers = hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders).map_err(|_| FetchError::Reset)?;
    let status = Response::status(&headers);
    let body = match status {
        200 if body > max_body => return Err(FetchError::Document(DocumentError::TooLarge)),
        200 => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body)
            .map_err(|_| FetchError::Reset)?
            .unwrap_or_default(),
        // Where Envoy cannot reach the issuer, the body tells why.
        503 | 504 => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body.min(MAX_ERROR_BYTES))
            .ok()
            .flatten()
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(Response { status, headers, body })
}

/// Envoy's foreign function `verify_signature`. `None`: the host lacks the function, or rejects the argument.
pub(super) fn verify_signature(argument: &[u8]) -> Option<Vec<u8>> {
    hostcalls::call_foreign_function(host_verifier::FUNCTION, Some(argument)).ok().flatten()
}

/// A number that spreads what many proxies do, and no more than that. The VM has no randomness, but a clock of microseconds
/// or less.
pub(super) fn random(salt: u64) -> u32 {
    let nanos = since_epoch().map_or(0, |since| since.as_nanos());
    names::digest(&[&nanos.to_le_bytes()[..], &salt.to_le_bytes()].concat()) as u32
}

/// Has `on_tick` called after this period; at least a millisecond, since zero would stop the ticks.
pub(super) fn tick_in(period: Duration) {
    let _ = hostcalls::set_tick_period(period.max(Duration::from_millis(1)));
}

/// Ends the ticks of the current context. Envoy would go on with the timer of a context that is gone.
pub(super) fn stop_ticks() {
    let _ = hostcalls::set_tick_period(Duration::ZERO);
}

/// Defines a stat. `None`: the host did not.
pub(super) fn define(kind: MetricType, name: &str) -> Option<u32> {
    hostcalls::define_metric(kind, name).ok()
}

/// Sets a gauge, or adds to a histogram.
pub(super) fn record(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}

/// Adds to a counter.
pub(super) fn count(metric: u32, times: u32) {
    let _ = hostcalls::increment_metric(metric, i64::from(times));
}
