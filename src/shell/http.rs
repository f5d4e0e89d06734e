//! The context of a stream.

use std::{cell::Cell, rc::Rc};

use super::{host, worker::Worker};
use crate::{
    engine::{Decision, Headers, Reply, StreamId},
    shared::pairs,
};

/// Whether a request goes on.
#[repr(u32)]
pub(super) enum Flow {
    Continue = 0,
    Pause = 1,
}

/// Denies a request for a call of the host that failed, or for a stream that this VM does not know.
pub(super) fn deny() -> Flow {
    answer(&Reply::unavailable())
}

fn answer(reply: &Reply) -> Flow {
    let _ = host::reply(reply);
    Flow::Pause
}

/// One request.
pub(super) struct Http {
    stream: StreamId,
    worker: Option<Rc<Worker>>,
    /// The request was let through at once.
    let_through: Cell<bool>,
    parked: Cell<bool>,
}

impl Http {
    pub(super) fn new(id: u32, worker: Option<Rc<Worker>>) -> Self {
        Self { stream: StreamId(id), worker, let_through: Cell::default(), parked: Cell::default() }
    }

    fn decide(&self) -> Decision {
        let (Some(worker), Ok(headers)) = (&self.worker, host::request_headers()) else {
            return Decision::Reply(Reply::unavailable());
        };
        let Some(headers) = pairs::read(&headers) else { return Decision::Reply(Reply::unavailable()) };
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
    pub(super) fn flow(&self) -> Flow {
        let worker = self.worker.as_ref();
        if self.let_through.get() || worker.is_some_and(|worker| worker.engine.borrow().is_let_through(self.stream)) {
            Flow::Continue
        } else {
            Flow::Pause
        }
    }

    pub(super) fn on_headers(&self) -> Flow {
        let decision = self.decide();
        // Allowed requests are counted with the next tick, and parked requests with the wake-up that follows: each counter is a
        // host call.
        if let (Some(worker), Decision::Reply(_)) = (&self.worker, &decision) {
            worker.flush_counts();
        }
        match decision {
            Decision::Continue(edits, _) if host::edit(&edits).is_ok() => {
                self.let_through.set(true);
                Flow::Continue
            }
            Decision::ContinueAndWake(edits, _) if host::edit(&edits).is_ok() => {
                self.let_through.set(true);
                if let Some(worker) = &self.worker {
                    worker.wake_root();
                }
                Flow::Continue
            }
            Decision::Continue(..) | Decision::ContinueAndWake(..) => deny(),
            Decision::Park => {
                self.parked.set(true);
                if let Some(worker) = &self.worker {
                    worker.wake_root();
                }
                Flow::Pause
            }
            Decision::Reply(reply) => answer(&reply),
        }
    }

    /// The stream ended.
    pub(super) fn end(&self) {
        if let (Some(worker), true) = (&self.worker, self.parked.get()) {
            worker.engine.borrow_mut().on_stream_end(self.stream);
        }
    }
}
