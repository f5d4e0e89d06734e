//! The root context: one per worker and configuration.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use log::{error, info, warn};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

use super::{
    abi, host,
    http::Http,
    worker::{Verifier, Worker},
};
use crate::config;

thread_local! {
    /// The workers of this VM, by root context.
    static WORKERS: RefCell<BTreeMap<u32, Rc<Worker>>> = const { RefCell::new(BTreeMap::new()) };
}

fn worker(root: u32) -> Option<Rc<Worker>> {
    WORKERS.with_borrow(|workers| workers.get(&root).cloned())
}

/// Takes the place of the SDK's `proxy_on_queue_ready` (scripts/strip_exports.py), which panics if the context is no root.
/// Queues outlive a VM that trapped: the host then gives the id of a root context of the old VM, which may be a stream's in
/// the new one.
#[no_mangle]
extern "C" fn own_proxy_on_queue_ready(root: u32, _queue: u32) {
    if let Some(worker) = worker(root) {
        worker.on_queue_ready();
    }
}

/// Takes the place of the SDK's `proxy_on_http_call_response`, which panics at the answer to a call that was not made through
/// the SDK.
#[no_mangle]
extern "C" fn own_proxy_on_http_call_response(root: u32, token: u32, headers: usize, body: usize, _trailers: usize) {
    if let Some(worker) = worker(root) {
        worker.on_http_call_response(token, headers, body);
    }
}

/// The root context.
pub(super) struct Root(pub(super) u32);

impl RootContext for Root {
    /// Reads the configuration. Nothing is fetched here: Envoy also calls this in a VM that it made only to try the
    /// configuration out, and a lease of that VM would keep the others waiting.
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = host::configuration(size);
        let Ok(environment) = abi::environment() else {
            error!("jwks-gate: configuration rejected: the environment of the VM cannot be read");
            return false;
        };
        let plan = match config::parse_in(&environment, &configuration) {
            Ok(plan) => plan,
            Err(mistake) => {
                error!("jwks-gate: configuration rejected: {mistake}");
                return false;
            }
        };
        for warning in &plan.warnings {
            warn!("jwks-gate: {warning}");
        }
        let verifier = if plan.use_host_crypto { Verifier::new } else { Verifier::disabled }(host::verify_signature);
        let by_host = match verifier.trusted() {
            [] => "none".to_owned(),
            trusted => trusted.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" "),
        };
        info!("jwks-gate: signatures checked by the host: {by_host}; all others by the VM");
        let worker = Worker::new(self.0, plan, verifier, &configuration);
        worker.set_tick(Duration::from_millis(1));
        WORKERS.with_borrow_mut(|workers| workers.insert(self.0, Rc::new(worker)));
        true
    }

    fn on_tick(&mut self) {
        if let Some(worker) = worker(self.0) {
            worker.run();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(id, worker(self.0))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {}

/// The host deletes the context by `proxy_on_delete`. The earlier `proxy_on_done` would come for each stream too, and is not
/// exported.
impl Drop for Root {
    fn drop(&mut self) {
        if let Some(worker) = WORKERS.with_borrow_mut(|workers| workers.remove(&self.0)) {
            worker.end();
        }
    }
}
