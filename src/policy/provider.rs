//! What the configuration says about providers, checked and ready to use.

use super::{extract::Source, rules::Rule};
use crate::{
    keys::{revoked::Revoked, schedule::Terms, KeySet},
    token::{cache, rules::Rules, ProviderId},
};

/// A whole configuration. Nothing invalid can be written in it: rules name providers that exist.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Looked up by [`ProviderId`].
    pub providers: Vec<Provider>,
    /// The first that matches counts.
    pub rules: Vec<Rule>,
    /// Requests parked at a time, per worker.
    pub max_parked_requests: usize,
    /// Whether the host may check signatures, where it can.
    pub use_host_crypto: bool,
    /// What the operator should know about this configuration.
    pub warnings: Vec<String>,
}

/// One issuer of tokens, as the configuration knows it.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration, for logs.
    pub name: String,
    /// What is asked of its tokens.
    pub rules: Rules,
    /// How many verified tokens are remembered.
    pub cache: cache::Limits,
    /// Where its tokens are looked for.
    pub sources: Vec<Source>,
    /// Whether verified tokens go on to the upstream.
    pub forward: bool,
    /// Where its keys come from.
    pub keys: KeySource,
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
    pub terms: Terms,
    /// Keys that never verify.
    pub revoked: Revoked,
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
