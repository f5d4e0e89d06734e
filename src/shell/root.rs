//! The root context: one per worker and configuration.

use std::{rc::Rc, time::Duration};

use log::{error, info, warn};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

use super::{
    host,
    http::Http,
    worker::{Verifier, Worker},
};
use crate::config;

/// The root context.
pub(super) struct Root {
    id: u32,
    worker: Option<Rc<Worker>>,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self { id, worker: None }
    }
}

impl RootContext for Root {
    /// Reads the configuration. Nothing is fetched here: Envoy also calls this in a VM that it made only to try the
    /// configuration out, and a lease of that VM would keep the others waiting.
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = host::configuration(size);
        let plan = match config::parse(&configuration) {
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
        let worker = Worker::new(self.id, plan, verifier, &configuration);
        worker.set_tick(Duration::from_millis(1));
        self.worker = Some(Rc::new(worker));
        true
    }

    fn on_tick(&mut self) {
        if let Some(worker) = &self.worker {
            worker.run();
        }
    }

    fn on_queue_ready(&mut self, _queue: u32) {
        if let Some(worker) = &self.worker {
            worker.on_queue_ready();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(id, self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        if let Some(worker) = &self.worker {
            worker.on_http_call_response(token, headers, body);
        }
    }
}

/// The host deletes the context by `proxy_on_delete`. The earlier `proxy_on_done` would come for each stream too, and is not
/// exported.
impl Drop for Root {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.end();
        }
    }
}
