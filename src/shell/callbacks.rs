//! What the host calls: the functions of the proxy-wasm ABI 0.2.1 that the filter needs, and no others. A callback that does
//! nothing would cost each request several microseconds.
//!
//! A context that is not known is no error: queues and fetches outlive a VM that trapped, and the host may then give the id of a
//! context of the old VM.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use log::error;

use super::{
    http::{self, Flow, Http},
    logger, root,
    worker::Worker,
};

thread_local! {
    /// The workers of this VM, by root context.
    static WORKERS: RefCell<BTreeMap<u32, Rc<Worker>>> = const { RefCell::new(BTreeMap::new()) };
    /// The requests, by stream context.
    static STREAMS: RefCell<BTreeMap<u32, Rc<Http>>> = const { RefCell::new(BTreeMap::new()) };
}

// Neither map is borrowed while the host is called; an engine often is. Within a call, the host calls nothing but `malloc`, which
// borrows nothing: Envoy does what follows from a reply, a resumed request or a failed fetch after the callback. In a host that
// called back at once, the second borrow of an engine would trap the VM, and no request passes a VM that trapped.

fn worker(root: u32) -> Option<Rc<Worker>> {
    WORKERS.with_borrow(|workers| workers.get(&root).cloned())
}

fn stream(stream: u32) -> Option<Rc<Http>> {
    STREAMS.with_borrow(|streams| streams.get(&stream).cloned())
}

#[no_mangle]
extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
extern "C" fn _initialize() {
    logger::install();
}

#[no_mangle]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

/// A root context is configured once: requests wait in its worker, which nothing would wake after it was replaced.
#[no_mangle]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
    if self::worker(root).is_some() {
        error!("jwks-gate: configuration rejected: the root context has a configuration");
        return false;
    }
    let worker = root::configure(root, size);
    let is_good = worker.is_some();
    WORKERS.with_borrow_mut(|workers| workers.extend(worker.map(|worker| (root, Rc::new(worker)))));
    is_good
}

/// A context comes: a root context, or a stream's in a root context.
#[no_mangle]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    if root != 0 {
        let http = Http::new(context, worker(root));
        STREAMS.with_borrow_mut(|streams| streams.insert(context, Rc::new(http)));
    }
}

/// A context ends. The earlier `proxy_on_done` would come for each stream too, and is not exported.
#[no_mangle]
extern "C" fn proxy_on_delete(context: u32) {
    if let Some(http) = STREAMS.with_borrow_mut(|streams| streams.remove(&context)) {
        http.end();
    } else if let Some(worker) = WORKERS.with_borrow_mut(|workers| workers.remove(&context)) {
        worker.end();
    }
}

#[no_mangle]
extern "C" fn proxy_on_tick(root: u32) {
    if let Some(worker) = worker(root) {
        worker.run();
    }
}

#[no_mangle]
extern "C" fn proxy_on_queue_ready(root: u32, _queue: u32) {
    if let Some(worker) = worker(root) {
        worker.on_queue_ready();
        return;
    }
    #[cfg(feature = "test-hooks")]
    super::test_hooks::on_unknown_context();
}

#[no_mangle]
extern "C" fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body: usize, _trailers: usize) {
    if let Some(worker) = worker(root) {
        worker.on_http_call_response(token, headers, body);
    }
}

#[no_mangle]
extern "C" fn proxy_on_request_headers(context: u32, _headers: usize, _end_of_stream: u32) -> Flow {
    stream(context).map_or_else(http::deny, |http| http.on_headers())
}

#[no_mangle]
extern "C" fn proxy_on_request_body(context: u32, _size: usize, _end_of_stream: u32) -> Flow {
    stream(context).map_or(Flow::Pause, |http| http.flow())
}

#[no_mangle]
extern "C" fn proxy_on_request_trailers(context: u32, _trailers: usize) -> Flow {
    stream(context).map_or(Flow::Pause, |http| http.flow())
}
