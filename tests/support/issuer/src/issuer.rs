//! The public interface of the issuer.

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
    /// The address to listen on. Port 0 means any free port.
    pub listen: SocketAddr,
    /// The `iss` of the issuer's tokens.
    pub issuer: String,
    /// The algorithm of the issuer's keys.
    pub alg: Alg,
    /// The `max-age` of the JWKS in seconds. `None` means no `cache-control` header.
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

/// What happens to the old keys in a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The old keys stay published beside the new key.
    Overlap,
    /// Only the new key is published.
    Hard,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// GETs of the JWKS, whatever the answer.
    pub jwks_requests: u64,
    /// GETs of the discovery document, whatever the answer.
    pub metadata_requests: u64,
    /// Answers 304.
    pub not_modified: u64,
    /// Requests that a fault affected.
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
    /// Starts an issuer.
    pub fn start(options: Options) -> io::Result<Issuer> {
        let core = Arc::new(Core::new(&options));
        let server = Server::start(options.listen, core.clone())?;
        if options.alg.is_rsa() {
            spare::fill();
        }
        Ok(Issuer { core, server })
    }

    /// The address of the issuer.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The `iss` of the issuer's tokens.
    pub fn issuer(&self) -> &str {
        &self.core.issuer
    }

    /// The address of its JWKS.
    pub fn jwks_uri(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.addr())
    }

    /// The address of its discovery document.
    pub fn metadata_uri(&self) -> String {
        format!("http://{}/.well-known/openid-configuration", self.addr())
    }

    /// Serves this in place of the discovery document. `None`: the discovery document.
    pub fn set_metadata(&self, answer: Option<(u16, String)>) {
        lock(&self.core.state).metadata = answer;
    }

    /// Serves the JWKS at this path only, which the discovery document names.
    pub fn move_jwks(&self, path: &str) {
        lock(&self.core.state).jwks_path = Some(path.to_owned());
    }

    /// The current JWKS.
    pub fn jwks(&self) -> Vec<u8> {
        lock(&self.core.state).document.bytes.clone()
    }

    /// The current signing key.
    pub fn current(&self) -> Arc<SigningKey> {
        self.core.current()
    }

    /// The default claims: `sub` is alice, `aud` is api, valid for an hour from now.
    pub fn claims(&self) -> Value {
        token::default_claims(&self.core.issuer)
    }

    /// A token with the default claims, signed by the current key.
    pub fn token(&self) -> String {
        self.core.counters.tokens.fetch_add(1, SeqCst);
        self.current().mint(&self.claims())
    }

    /// Publishes a new key, signs with the new key from now on, and returns its `kid`.
    pub fn rotate(&self, rotation: Rotation) -> String {
        self.core.rotate(rotation)
    }

    /// Removes a key from the JWKS. The key may still sign. Returns false if the key was not published.
    pub fn retire(&self, kid: &str) -> bool {
        self.core.retire(kid)
    }

    /// Serves these bytes as the JWKS until the next rotation or retirement.
    pub fn publish(&self, jwks: Vec<u8>) {
        lock(&self.core.state).document = Document::verbatim(jwks);
    }

    /// Sets the `cache-control` header of the JWKS.
    pub fn set_cache_control(&self, value: Option<String>) {
        lock(&self.core.state).cache_control = value;
    }

    /// Sets additional headers of the JWKS. They replace headers of the same name, except `content-length`.
    pub fn set_headers(&self, headers: Vec<(String, String)>) {
        lock(&self.core.state).headers = headers;
    }

    /// Answers 403 to a request for the JWKS unless each of these headers contains this text.
    pub fn demand(&self, headers: &[(&str, &str)]) {
        let owned = headers.iter().map(|(name, part)| ((*name).to_owned(), (*part).to_owned()));
        lock(&self.core.state).demanded = owned.collect();
    }

    /// Makes the JWKS and the discovery document fail. Replaces an earlier fault.
    pub fn fault(&self, fault: Fault, times: Times) {
        self.core.fault(fault, times);
    }

    /// Ends the fault and answers hanging requests.
    pub fn heal(&self) {
        self.core.heal();
    }

    /// Closes open connections and refuses new connections. The port stays reserved.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Listens again after [`stop`](Self::stop).
    ///
    /// # Panics
    ///
    /// If the port cannot be bound.
    pub fn resume(&self) {
        if let Err(error) = self.server.resume() {
            panic!("cannot listen on {} again: {error}", self.addr());
        }
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        self.core.stats(self.server.accepted())
    }
}
