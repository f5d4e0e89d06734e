//! Host functions that the SDK lacks, or whose unexpected statuses make the SDK panic: functions of the proxy-wasm ABI 0.2.1,
//! and WASI's environment. Here, every status but 0 is an error.

use std::ptr::{null, null_mut};

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

#[rustfmt::skip]
#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_add_header_map_value(map: u32, name: *const u8, name_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_get_shared_data(key: *const u8, size: usize, value: *mut *mut u8, value_size: *mut usize, cas: *mut u32) -> u32;
    fn proxy_http_call(cluster: *const u8, cluster_size: usize, headers: *const u8, headers_size: usize, body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize, millis: u32, token: *mut u32) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, size: usize) -> u32;
    fn proxy_replace_header_map_value(map: u32, name: *const u8, name_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_send_local_response(status: u32, details: *const u8, details_size: usize, body: *const u8, body_size: usize, headers: *const u8, headers_size: usize, grpc_status: i32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, cas: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn environ_get(entries: *mut usize, bytes: *mut u8) -> u32;
    fn environ_sizes_get(entries: *mut usize, bytes: *mut usize) -> u32;
}

// SAFETY, of all calls: the host reads and writes only what the pointers and sizes cover, and only during the call. The
// host allocates a value that it returns with this module's `malloc`, so that a `Vec` can own the value.

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
    let headers = pairs(headers);
    let (body, body_size, headers, headers_size) = (body.as_ptr(), body.len(), headers.as_ptr(), headers.len());
    ok(unsafe { proxy_send_local_response(status, null(), 0, body, body_size, headers, headers_size, -1) })
}

/// Returns the token that the callback will carry.
pub(super) fn http_call(cluster: &str, headers: &[(&str, &str)], millis: u32) -> Result<u32> {
    let (headers, trailers) = (pairs(headers), pairs(&[]));
    let mut token = 0;
    let [(cluster, a), (headers, b), (trailers, c)] =
        [cluster.as_bytes(), &headers, &trailers].map(|bytes| (bytes.as_ptr(), bytes.len()));
    ok(unsafe { proxy_http_call(cluster, a, headers, b, null(), 0, trailers, c, millis, &mut token) }).map(|()| token)
}

/// The value, and its mark for [`set_shared_data`]. A removed value is empty, and has a mark.
pub(super) fn get_shared_data(key: &str) -> Result<(Option<Vec<u8>>, Option<u32>)> {
    let (mut value, mut size, mut cas) = (null_mut(), 0, 0);
    match unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), &mut value, &mut size, &mut cas) } {
        NOT_FOUND => Ok((None, None)),
        status => ok(status).map(|()| {
            let value = (!value.is_null()).then(|| unsafe { Vec::from_raw_parts(value, size, size) });
            (value, Some(cas).filter(|cas| *cas != 0))
        }),
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

/// The number of pairs, all sizes, then all texts, each followed by a zero byte.
fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let texts = || pairs.iter().flat_map(|(name, value)| [name, value]);
    let sizes = [pairs.len()].into_iter().chain(texts().map(|text| text.len()));
    let sizes = sizes.flat_map(|size| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    sizes.chain(texts().flat_map(|text| text.bytes().chain([0]))).collect()
}
