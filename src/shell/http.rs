//! The context of a stream.

use std::rc::Rc;

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action as Flow,
};

use super::{host, worker::Worker};
use crate::engine::{Decision, Headers, StreamId};

/// One request.
pub(super) struct Http {
    stream: StreamId,
    worker: Option<Rc<Worker>>,
    /// The request was let through at once.
    let_through: bool,
    parked: bool,
}

impl Http {
    pub(super) fn new(id: u32, worker: Option<Rc<Worker>>) -> Self {
        Self { stream: StreamId(id), worker, let_through: false, parked: false }
    }

    fn decide(&mut self) -> Decision {
        let unavailable = || Decision::Reply(host::unavailable());
        let (Some(worker), Ok(headers)) = (&self.worker, host::request_headers()) else {
            return unavailable();
        };
        #[cfg(feature = "test-hooks")]
        super::test_hooks::on_request(&headers);
        let headers = Headers::new(&headers);
        let resolved = worker.engine.borrow_mut().resolve(headers);
        for provider in resolved.providers() {
            worker.sync(provider);
        }
        worker.engine.borrow_mut().on_request(self.stream, resolved, headers, host::client, host::now())
    }

    /// No part of a request goes on before its verdict, nor ever after a denial. The host holds the body back by itself unless
    /// `allow_on_headers_stop_iteration` is set.
    fn flow(&self) -> Flow {
        let worker = self.worker.as_ref();
        if self.let_through || worker.is_some_and(|worker| worker.engine.borrow().is_let_through(self.stream)) {
            Flow::Continue
        } else {
            Flow::Pause
        }
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Flow {
        let decision = self.decide();
        // Allowed requests are counted with the next tick: they are most, and each counter is a host call.
        if let (Some(worker), Decision::Park | Decision::Reply(_) | Decision::ContinueAndWake(..)) =
            (&self.worker, &decision)
        {
            worker.flush_counts();
        }
        match decision {
            Decision::Continue(edits, _) if host::edit(&edits).is_ok() => {
                self.let_through = true;
                Flow::Continue
            }
            Decision::ContinueAndWake(edits, _) if host::edit(&edits).is_ok() => {
                self.let_through = true;
                if let Some(worker) = &self.worker {
                    worker.wake_root();
                }
                Flow::Continue
            }
            Decision::Continue(..) | Decision::ContinueAndWake(..) => {
                let _ = host::reply(&host::unavailable());
                Flow::Pause
            }
            Decision::Park => {
                self.parked = true;
                if let Some(worker) = &self.worker {
                    worker.wake_root();
                }
                Flow::Pause
            }
            Decision::Reply(reply) => {
                let _ = host::reply(&reply);
                Flow::Pause
            }
        }
    }

    fn on_http_request_body(&mut self, _size: usize, _end_of_stream: bool) -> Flow {
        self.flow()
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Flow {
        self.flow()
    }
}

impl Context for Http {}

/// The stream ended: `proxy_on_delete`.
impl Drop for Http {
    fn drop(&mut self) {
        if self.parked {
            if let Some(worker) = &self.worker {
                worker.engine.borrow_mut().on_stream_end(self.stream);
            }
        }
    }
}
