//! What the configuration says about providers, checked and ready to use.

use std::collections::BTreeSet;

use super::{forward::Forward, reply::ResponseFormat, requirement::Requirements, route_table};
use crate::{
    keys::{revoked::RevokedKeys, KeySet},
    rotation::schedule::RotationPolicy,
    token::{cache, validation::TokenPolicy, ProviderId},
};

/// A whole configuration. Nothing invalid can be written in it: rules name providers that exist.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Looked up by [`ProviderId`].
    pub providers: Vec<Provider>,
    /// Which requirement a request falls under.
    pub rules: route_table::RouteTable,
    /// What those are.
    pub requirements: Requirements,
    /// Headers that only this filter may set, lower-case.
    pub own_headers: BTreeSet<String>,
    /// Whether a CORS preflight passes without a token.
    pub bypass_cors_preflight: bool,
    /// What becomes of a refused request.
    pub mode: Mode,
    /// How refusals are worded.
    pub style: ResponseFormat,
    /// Whether the filter state also says why a request was let through.
    pub explain_allowed: bool,
    /// Stands in the names of the counters.
    pub stat_prefix: String,
    /// Requests parked at a time, per worker.
    pub max_parked_requests: usize,
    /// Whether the host may check signatures, where it can.
    pub use_host_crypto: bool,
    /// What the operator should know about this configuration.
    pub warnings: Vec<String>,
}

/// What becomes of a refused request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is answered.
    #[default]
    Enforce,
    /// It is counted, and goes on.
    Report,
}

/// One issuer of tokens, as the configuration knows it.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration, for logs.
    pub name: String,
    /// What is asked of its tokens: its own rules, then those with the audiences of a requirement.
    pub rules: Vec<TokenPolicy>,
    /// How many verified tokens are remembered.
    pub cache: cache::Limits,
    /// What is passed on of its tokens.
    pub forward: Forward,
    /// Where its keys come from.
    pub keys: KeySource,
}

impl Provider {
    /// The only issuer of its tokens; `None`: any.
    pub fn issuer(&self) -> Option<&str> {
        self.rules.first()?.issuer.as_deref()
    }
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The configuration itself.
    Local(std::rc::Rc<KeySet>),
    /// The issuer, over HTTP.
    Remote(Box<Remote>),
}

/// How to fetch an issuer's keys.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The Envoy cluster to ask.
    pub cluster: String,
    /// `http` or `https`, for the `:scheme` header; what protects the connection is the cluster's business.
    pub scheme: &'static str,
    /// The `:authority` header.
    pub authority: String,
    /// The `:path` header.
    pub path: String,
    /// The life of its key set.
    pub terms: RotationPolicy,
    /// Keys that never verify.
    pub revoked: RevokedKeys,
}

impl Plan {
    /// The provider of this id.
    pub fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id.index())
    }

    /// The remote side of this provider, if it has one.
    pub fn remote(&self, id: ProviderId) -> Option<&Remote> {
        match &self.provider(id)?.keys {
            KeySource::Remote(remote) => Some(remote),
            KeySource::Local(_) => None,
        }
    }

    /// All providers whose keys are fetched.
    pub fn remote_ids(&self) -> impl Iterator<Item = ProviderId> + use<'_> {
        (0..self.providers.len()).map(ProviderId::new).filter(|id| self.remote(*id).is_some())
    }
}
