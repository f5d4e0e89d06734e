//! One provider of the configuration: whose tokens it accepts, where its keys come from, what it forwards.

use std::rc::Rc;

use super::forward::Forward;
use crate::{
    keys::{revoked::RevokedKeys, KeySet},
    rotation::{http_cache::Validators, policy::RotationPolicy, seed::Seed},
    token::{cache, issuers::Issuers, validation::TokenPolicy},
};

/// Some issuers answer 403 to a request without a user agent.
const USER_AGENT: &str = concat!("jwks-gate/", env!("CARGO_PKG_VERSION"));

/// A provider: an issuer of tokens, as the configuration knows it.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The name in the configuration, for logs and metrics.
    pub name: String,
    /// What its tokens must satisfy: its own policy, then one for each list of audiences that a requirement names.
    pub policies: Vec<TokenPolicy>,
    /// How many verified tokens are remembered.
    pub cache: cache::Limits,
    /// What is forwarded of its tokens.
    pub forward: Forward,
    /// Where its keys come from.
    pub keys: KeySource,
}

impl Provider {
    /// The issuers whose tokens the provider accepts.
    pub fn issuers(&self) -> Issuers {
        self.policies.first().map(|policy| policy.issuers.clone()).unwrap_or_default()
    }

    /// How the keys are fetched. `None`: the keys are part of the configuration.
    pub fn remote(&self) -> Option<&Remote> {
        match &self.keys {
            KeySource::Remote(remote) => Some(remote),
            KeySource::Local(_) => None,
        }
    }
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The configuration itself.
    Local(Rc<KeySet>),
    /// The issuer, over HTTP.
    Remote(Box<Remote>),
}

/// How an issuer's keys are fetched.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The Envoy cluster that reaches the issuer.
    pub cluster: String,
    /// `http` or `https`, for the `:scheme` header. What protects the connection, the cluster configures.
    pub scheme: &'static str,
    /// The `:authority` header.
    pub authority: String,
    /// The `:path` header.
    pub path: String,
    /// How the key set is kept.
    pub rotation: RotationPolicy,
    /// Keys that never verify.
    pub revoked: RevokedKeys,
    /// Keys that verify until the first JWKS.
    pub seed: Option<Seed>,
}

impl Remote {
    /// The headers of a fetch, which asks about the JWKS with these validators.
    pub fn request_headers<'a>(&'a self, validators: &'a Validators) -> Vec<(&'static str, &'a str)> {
        let mut headers = vec![
            (":method", "GET"),
            (":scheme", self.scheme),
            (":authority", self.authority.as_str()),
            (":path", self.path.as_str()),
            ("user-agent", USER_AGENT),
            ("accept", "application/jwk-set+json, application/json, */*;q=0.5"),
            ("accept-encoding", "identity"),
        ];
        headers.extend(validators.etag.as_deref().map(|etag| ("if-none-match", etag)));
        headers.extend(validators.last_modified.as_deref().map(|date| ("if-modified-since", date)));
        headers
    }
}
