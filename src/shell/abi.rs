//! The host's functions: those of the proxy-wasm ABI 0.2.1, and WASI's environment. Every status but 0 is an error.

use std::ptr::{null, null_mut};

use crate::shared::pairs;

/// A status of proxy-wasm, or an error number of WASI.
pub(super) type Result<T = ()> = std::result::Result<T, u32>;

const NOT_FOUND: u32 = 1;
/// A fetch that was not started: the cluster has no hosts.
pub(super) const INTERNAL_FAILURE: u32 = 10;
/// Another writer was faster.
pub(super) const CAS_MISMATCH: u32 = 8;
/// WASI's `ENOBUFS`: the environment is larger than the bounds below.
const TOO_LARGE: u32 = 42;
const MAX_VARIABLES: usize = 4096;
const MAX_ENVIRONMENT_BYTES: usize = 1 << 20;
/// The map of request headers, and the stream type of HTTP requests.
const REQUEST: u32 = 0;

/// Maps of headers.
#[derive(Clone, Copy)]
pub(super) enum Map {
    Request = 0,
    CallResponse = 6,
}

/// Buffers.
#[derive(Clone, Copy)]
pub(super) enum Buffer {
    CallResponseBody = 4,
    PluginConfiguration = 7,
}

/// Kinds of stats.
#[derive(Clone, Copy)]
pub(super) enum StatKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

#[rustfmt::skip]
#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_add_header_map_value(map: u32, name: *const u8, name_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_call_foreign_function(name: *const u8, name_size: usize, argument: *const u8, size: usize, result: *mut *mut u8, result_size: *mut usize) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, metric: *mut u32) -> u32;
    fn proxy_dequeue_shared_queue(queue: u32, value: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_enqueue_shared_queue(queue: u32, value: *const u8, size: usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, max_size: usize, value: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, value: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, value: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_shared_data(key: *const u8, size: usize, value: *mut *mut u8, value_size: *mut usize, cas: *mut u32) -> u32;
    fn proxy_http_call(cluster: *const u8, cluster_size: usize, headers: *const u8, headers_size: usize, body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize, millis: u32, token: *mut u32) -> u32;
    fn proxy_increment_metric(metric: u32, offset: i64) -> u32;
    fn proxy_log(severity: u32, text: *const u8, size: usize) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_register_shared_queue(name: *const u8, size: usize, queue: *mut u32) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, size: usize) -> u32;
    fn proxy_replace_header_map_value(map: u32, name: *const u8, name_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_send_local_response(status: u32, details: *const u8, details_size: usize, body: *const u8, body_size: usize, headers: *const u8, headers_size: usize, grpc_status: i32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, cas: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(millis: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn environ_get(entries: *mut usize, bytes: *mut u8) -> u32;
    fn environ_sizes_get(entries: *mut usize, bytes: *mut usize) -> u32;
}

// SAFETY, of all calls: the host reads and writes only what the pointers and sizes cover, and only during the call. The
// host allocates a value that it returns by `allocate`, so that a `Vec` can own the value.

/// Memory for a value that the host returns.
#[export_name = "malloc"]
extern "C" fn allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

/// The value that a function of the host returns, if there is one.
fn returned(function: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Vec<u8>>> {
    let (mut value, mut size) = (null_mut(), 0);
    ok(function(&mut value, &mut size))?;
    Ok((!value.is_null()).then(|| unsafe { Vec::from_raw_parts(value, size, size) }))
}

/// Nanoseconds since the epoch.
pub(super) fn current_time() -> Result<u64> {
    let mut nanos = 0;
    ok(unsafe { proxy_get_current_time_nanoseconds(&mut nanos) }).map(|()| nanos)
}

/// Severities rise from 0, trace, to 5, critical.
pub(super) fn log(severity: u32, text: &str) {
    let _ = unsafe { proxy_log(severity, text.as_ptr(), text.len()) };
}

/// All headers, as one text. [`pairs`] reads the text; names are in lower case.
pub(super) fn headers(map: Map) -> Result<Vec<u8>> {
    let bytes = returned(|value, size| unsafe { proxy_get_header_map_pairs(map as u32, value, size) })?;
    Ok(bytes.unwrap_or_else(|| pairs::write(&[])))
}

pub(super) fn buffer(buffer: Buffer, max_size: usize) -> Result<Option<Vec<u8>>> {
    returned(|value, size| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max_size, value, size) })
}

/// A property by its path, with a zero byte between the parts.
pub(super) fn property(path: &str) -> Result<Option<Vec<u8>>> {
    returned(|value, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), value, size) })
}

pub(super) fn call_foreign_function(name: &str, argument: &[u8]) -> Result<Option<Vec<u8>>> {
    let ((name, name_size), (argument, size)) = ((name.as_ptr(), name.len()), (argument.as_ptr(), argument.len()));
    returned(|result, result_size| unsafe {
        proxy_call_foreign_function(name, name_size, argument, size, result, result_size)
    })
}

pub(super) fn set_tick_period(millis: u32) -> Result {
    ok(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

pub(super) fn define_metric(kind: StatKind, name: &str) -> Result<u32> {
    let mut metric = 0;
    ok(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut metric) }).map(|()| metric)
}

pub(super) fn record_metric(metric: u32, value: u64) -> Result {
    ok(unsafe { proxy_record_metric(metric, value) })
}

pub(super) fn increment_metric(metric: u32, offset: i64) -> Result {
    ok(unsafe { proxy_increment_metric(metric, offset) })
}

pub(super) fn register_queue(name: &str) -> Result<u32> {
    let mut queue = 0;
    ok(unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &mut queue) }).map(|()| queue)
}

pub(super) fn enqueue(queue: u32, value: &[u8]) -> Result {
    ok(unsafe { proxy_enqueue_shared_queue(queue, value.as_ptr(), value.len()) })
}

pub(super) fn dequeue(queue: u32) -> Result<Option<Vec<u8>>> {
    returned(|value, size| unsafe { proxy_dequeue_shared_queue(queue, value, size) })
}

pub(super) fn add_header(name: &str, value: &[u8]) -> Result {
    ok(unsafe { proxy_add_header_map_value(REQUEST, name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

pub(super) fn replace_header(name: &str, value: &[u8]) -> Result {
    ok(unsafe { proxy_replace_header_map_value(REQUEST, name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

pub(super) fn remove_header(name: &str) -> Result {
    ok(unsafe { proxy_remove_header_map_value(REQUEST, name.as_ptr(), name.len()) })
}

/// A property whose path has one part.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result {
    ok(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

pub(super) fn resume_request() -> Result {
    ok(unsafe { proxy_continue_stream(REQUEST) })
}

pub(super) fn set_effective_context(context: u32) -> Result {
    ok(unsafe { proxy_set_effective_context(context) })
}

pub(super) fn send_response(status: u32, headers: &[(&str, &str)], body: &[u8]) -> Result {
    let headers = pairs::write(headers);
    let (body, body_size, headers, headers_size) = (body.as_ptr(), body.len(), headers.as_ptr(), headers.len());
    ok(unsafe { proxy_send_local_response(status, null(), 0, body, body_size, headers, headers_size, -1) })
}

/// Returns the token that the callback will carry.
pub(super) fn http_call(cluster: &str, headers: &[(&str, &str)], millis: u32) -> Result<u32> {
    let (headers, trailers) = (pairs::write(headers), pairs::write(&[]));
    let mut token = 0;
    let [(cluster, a), (headers, b), (trailers, c)] =
        [cluster.as_bytes(), &headers, &trailers].map(|bytes| (bytes.as_ptr(), bytes.len()));
    ok(unsafe { proxy_http_call(cluster, a, headers, b, null(), 0, trailers, c, millis, &mut token) }).map(|()| token)
}

/// The value, and its mark for [`set_shared_data`]. A removed value is empty, and has a mark.
pub(super) fn get_shared_data(key: &str) -> Result<(Option<Vec<u8>>, Option<u32>)> {
    let mut cas = 0;
    match returned(|value, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), value, size, &mut cas) }) {
        Err(NOT_FOUND) => Ok((None, None)),
        value => value.map(|value| (value, Some(cas).filter(|cas| *cas != 0))),
    }
}

pub(super) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result {
    ok(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// The environment of the VM: `NAME=value` entries, each followed by a zero byte.
pub(super) fn environment() -> Result<Vec<u8>> {
    let (mut count, mut size) = (0, 0);
    ok(unsafe { environ_sizes_get(&mut count, &mut size) })?;
    if count > MAX_VARIABLES || size > MAX_ENVIRONMENT_BYTES {
        return Err(TOO_LARGE);
    }
    let (mut entries, mut bytes) = (vec![0; count], vec![0; size]);
    ok(unsafe { environ_get(entries.as_mut_ptr(), bytes.as_mut_ptr()) }).map(|()| bytes)
}

fn ok(status: u32) -> Result {
    (status == 0).then_some(()).ok_or(status)
}
