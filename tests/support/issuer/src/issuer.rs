//! The issuer to start, to rotate and to break.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

use serde_json::Value;

use crate::alg::Alg;
use crate::core::Core;
use crate::fault::{Fault, Times};
use crate::jwks::Document;
use crate::keys::SigningKey;
use crate::server::{lock, Server};
use crate::{spare, token};

/// How to start an [`Issuer`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What its keys sign with.
    pub alg: Alg,
    /// The `max-age` in seconds of the JWKS; without it there is no `cache-control`.
    pub max_age: Option<u64>,
    /// A filter configuration that Envoy watches, for `POST /admin/revoke`.
    pub filter: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            issuer: "https://issuer.test".to_owned(),
            alg: Alg::Rs256,
            max_age: Some(600),
            filter: None,
        }
    }
}

/// What becomes of the old keys in a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// They stay published beside the new one.
    Overlap,
    /// Only the new one is published.
    Hard,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// GETs of the JWKS that arrived, whatever was answered.
    pub jwks_requests: u64,
    /// Answers 304.
    pub not_modified: u64,
    /// Requests that a fault struck.
    pub faults: u64,
    /// Tokens minted for [`Issuer::token`] and `POST /token`.
    pub tokens: u64,
    /// Rotations.
    pub rotations: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// A running issuer; stops when dropped.
pub struct Issuer {
    core: Arc<Core>,
    server: Server,
}

impl Issuer {
    /// Starts to listen; answers from now on.
    pub fn start(options: Options) -> io::Result<Issuer> {
        let core = Arc::new(Core::new(&options));
        let server = Server::start(options.listen, core.clone())?;
        if options.alg.is_rsa() {
            spare::fill();
        }
        Ok(Issuer { core, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.core.issuer
    }

    /// The address of its JWKS.
    pub fn jwks_uri(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.addr())
    }

    /// The JWKS as it is served now.
    pub fn jwks(&self) -> Vec<u8> {
        lock(&self.core.state).document.bytes.clone()
    }

    /// The key that signs.
    pub fn current(&self) -> Arc<SigningKey> {
        self.core.current()
    }

    /// What an ordinary token claims: `sub` is alice, `aud` is api, valid for an hour from now.
    pub fn claims(&self) -> Value {
        token::default_claims(&self.core.issuer)
    }

    /// An ordinary token under the current key.
    pub fn token(&self) -> String {
        self.core.counters.tokens.fetch_add(1, SeqCst);
        self.current().mint(&self.claims())
    }

    /// Signs with a new key from now on, publishes it, and returns its `kid`.
    pub fn rotate(&self, rotation: Rotation) -> String {
        self.core.rotate(rotation)
    }

    /// Publishes a key no longer, though it may still sign; false if it was not published.
    pub fn retire(&self, kid: &str) -> bool {
        self.core.retire(kid)
    }

    /// Serves these bytes as the JWKS until keys are next rotated or retired.
    pub fn publish(&self, jwks: Vec<u8>) {
        lock(&self.core.state).document = Document::verbatim(jwks);
    }

    /// The `cache-control` of the JWKS.
    pub fn set_cache_control(&self, value: Option<String>) {
        lock(&self.core.state).cache_control = value;
    }

    /// More headers of the JWKS, in the place of its own of the same name, except `content-length`.
    pub fn set_headers(&self, headers: Vec<(String, String)>) {
        lock(&self.core.state).headers = headers;
    }

    /// Lets the JWKS and the discovery document fail, in the place of an earlier fault.
    pub fn fault(&self, fault: Fault, times: Times) {
        self.core.fault(fault, times);
    }

    /// Ends the fault and releases what hangs.
    pub fn heal(&self) {
        self.core.heal();
    }

    /// Refuses connections and closes the open ones; the port stays ours.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Listens again after [`stop`](Self::stop).
    ///
    /// # Panics
    ///
    /// If the system does not let it.
    pub fn resume(&self) {
        if let Err(error) = self.server.resume() {
            panic!("cannot listen on {} again: {error}", self.addr());
        }
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.core.stats(self.server.accepted())
    }
}
