//! Every host call but those on shared data and queues: functions that return `Result`, and that take and give bytes.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, MetricType, Status},
};
use sha2::{Digest, Sha256};

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
    time::UnixTime,
    token::host_verifier,
};

/// The host's clock. A host without a clock gives the end of time, at which every key and every token has expired.
pub(super) fn now() -> UnixTime {
    let time = hostcalls::get_current_time().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    UnixTime::from_millis(time.map_or(u64::MAX, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
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
pub(super) fn act_for(context: u32) -> Result<(), Status> {
    hostcalls::set_effective_context(context)
}

/// Changes the current request.
pub(super) fn edit(edits: &Edits) -> Result<(), Status> {
    let headers = MapType::HttpRequestHeaders;
    edits.remove.iter().try_for_each(|name| hostcalls::remove_map_value(headers, name))?;
    if let Some(target) = &edits.target {
        hostcalls::set_map_value_bytes(headers, ":path", Some(target))?;
    }
    edits.add.iter().try_for_each(|(name, value)| hostcalls::add_map_value_bytes(headers, name, value))?;
    for (name, value) in &edits.state {
        hostcalls::set_property(vec![name], Some(value))?;
    }
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
pub(super) fn resume() -> Result<(), Status> {
    hostcalls::resume_http_request()
}

/// Answers the current request.
pub(super) fn reply(reply: &Reply) -> Result<(), Status> {
    for (name, value) in &reply.state {
        // A shorter access log is no reason to answer otherwise.
        let _ = hostcalls::set_property(vec![name], Some(value));
    }
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    hostcalls::send_http_response(u32::from(reply.status), headers, Some(reply.body.as_bytes()))
}

/// Starts a fetch. Returns the token that the callback will carry.
pub(super) fn fetch(remote: &Remote, validators: &Validators) -> Result<u32, Status> {
    let mut headers = vec![
        (":method", "GET"),
        (":scheme", remote.scheme),
        (":authority", remote.authority.as_str()),
        (":path", remote.path.as_str()),
        ("accept", "application/jwk-set+json, application/json"),
    ];
    headers.extend(validators.etag.as_deref().map(|etag| ("if-none-match", etag)));
    headers.extend(validators.last_modified.as_deref().map(|date| ("if-modified-since", date)));
    hostcalls::dispatch_http_call(&remote.cluster, headers, None, Vec::new(), remote.rotation.fetch_timeout)
}

/// The response to a fetch, within its callback. `headers` and `body` are the callback's counts: without headers the host has no
/// response at all. A body is copied only if it may be used.
pub(super) fn fetched(headers: usize, body: usize, max_body: usize) -> Result<Response, FetchError> {
    if headers == 0 {
        return Err(FetchError::Reset);
    }
    let headers = hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders).map_err(|_| FetchError::Reset)?;
    let status = headers
        .iter()
        .find(|(name, _)| name == ":status")
        .and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok())
        .unwrap_or_default();
    let body = match status {
        200 if body > max_body => return Err(FetchError::Document(DocumentError::TooLarge)),
        200 => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body)
            .map_err(|_| FetchError::Reset)?
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
    let nanos = hostcalls::get_current_time()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    let hash = Sha256::new().chain_update(nanos.to_le_bytes()).chain_update(salt.to_le_bytes()).finalize();
    hash.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Has `on_tick` called after this period; at least a millisecond, since zero would stop the ticks.
pub(super) fn tick_in(period: Duration) {
    let _ = hostcalls::set_tick_period(period.max(Duration::from_millis(1)));
}

/// Defines a counter. `None`: the host did not.
pub(super) fn define_counter(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Counter, name).ok()
}

/// Defines a gauge.
pub(super) fn define_gauge(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Gauge, name).ok()
}

/// Defines a histogram.
pub(super) fn define_histogram(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Histogram, name).ok()
}

/// Sets a gauge, or adds to a histogram.
pub(super) fn record(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}

/// Adds to a counter.
pub(super) fn count(metric: u32, times: u32) {
    let _ = hostcalls::increment_metric(metric, i64::from(times));
}
