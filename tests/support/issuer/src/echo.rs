//! An upstream that answers with the request that it got.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Arc;

use serde_json::json;

use crate::http::{Request, Response};
use crate::server::{Connection, Handler, Reply, Server};

/// A server that answers 200 with the request as JSON:
/// `{"method", "path", "headers": {name in lower case: [values]}, "body_bytes"}`. Stops when dropped.
pub struct Echo {
    requests: Arc<Requests>,
    server: Server,
}

impl Echo {
    /// Starts the server. Port 0 means any free port.
    pub fn start(listen: SocketAddr) -> io::Result<Echo> {
        let requests = Arc::new(Requests::default());
        Ok(Echo { server: Server::start(listen, requests.clone())?, requests })
    }

    /// The address of the server.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.0.load(SeqCst)
    }
}

#[derive(Default)]
struct Requests(AtomicU64);

impl Handler for Requests {
    fn handle(&self, request: &Request, _: &Connection) -> Reply {
        self.0.fetch_add(1, SeqCst);
        let mut headers = BTreeMap::<&str, Vec<&str>>::new();
        for (name, value) in &request.headers {
            headers.entry(name).or_default().push(value);
        }
        Reply::Answer(Response::json(
            200,
            &json!({
                "method": request.method,
                "path": request.target,
                "headers": headers,
                "body_bytes": request.body.len(),
            }),
        ))
    }
}
