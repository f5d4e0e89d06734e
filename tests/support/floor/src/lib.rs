//! A filter for benchmarks with the exports of jwks-gate, which does nothing between its host calls: no filter that verifies
//! tokens in a VM costs less.
//!
//! The plugin configuration says which calls a request makes. Empty: none. `headers`: all headers. `known`: those of a token seen
//! before, which are the headers, the time, and the removal of `authorization`. Other bytes: those of a token seen for the first
//! time. The bytes are then the argument of the host's `verify_signature`.

#![cfg(target_arch = "wasm32")]

use std::{cell::RefCell, ptr::null_mut};

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        size: usize,
        result: *mut *mut u8,
        result_size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, max: usize, value: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, value: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, size: usize) -> u32;
}

const REQUEST: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;
const CONTINUE: u32 = 0;
const TOKEN_HEADER: &str = "authorization";
const VERIFY: &str = "verify_signature";

thread_local! {
    static CONFIGURATION: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

// SAFETY, of all calls: the host reads and writes only what the pointers and sizes cover. It allocates what it returns by
// `allocate`, so that a `Vec` can own the value.

#[export_name = "malloc"]
extern "C" fn allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

fn returned(function: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Vec<u8> {
    let (mut value, mut size) = (null_mut(), 0);
    if function(&mut value, &mut size) != 0 || value.is_null() {
        return Vec::new();
    }
    unsafe { Vec::from_raw_parts(value, size, size) }
}

#[no_mangle]
extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
extern "C" fn _initialize() {}

#[no_mangle]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[no_mangle]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    let read = |value: *mut *mut u8, read: *mut usize| unsafe {
        proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, value, read)
    };
    CONFIGURATION.replace(returned(read));
    true
}

#[no_mangle]
extern "C" fn proxy_on_context_create(_context: u32, _root: u32) {}

#[no_mangle]
extern "C" fn proxy_on_delete(_context: u32) {}

#[no_mangle]
extern "C" fn proxy_on_request_headers(_context: u32, _headers: usize, _end_of_stream: u32) -> u32 {
    CONFIGURATION.with_borrow(|configuration| call_host(configuration));
    CONTINUE
}

#[no_mangle]
extern "C" fn proxy_on_request_body(_context: u32, _size: usize, _end_of_stream: u32) -> u32 {
    CONTINUE
}

#[no_mangle]
extern "C" fn proxy_on_request_trailers(_context: u32, _trailers: usize) -> u32 {
    CONTINUE
}

fn call_host(configuration: &[u8]) {
    if configuration.is_empty() {
        return;
    }
    drop(returned(|value, size| unsafe { proxy_get_header_map_pairs(REQUEST, value, size) }));
    if configuration == b"headers" {
        return;
    }
    let mut nanos = 0;
    unsafe { proxy_get_current_time_nanoseconds(&mut nanos) };
    if configuration != b"known" {
        let (argument, size) = (configuration.as_ptr(), configuration.len());
        let verify = |result: *mut *mut u8, result_size: *mut usize| unsafe {
            proxy_call_foreign_function(VERIFY.as_ptr(), VERIFY.len(), argument, size, result, result_size)
        };
        drop(returned(verify));
    }
    unsafe { proxy_remove_header_map_value(REQUEST, TOKEN_HEADER.as_ptr(), TOKEN_HEADER.len()) };
}
