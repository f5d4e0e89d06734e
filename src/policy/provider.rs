//! One provider of the configuration: whose tokens it accepts, where its keys come from, what it forwards.

use std::rc::Rc;

use super::{
    discovery::Discovery,
    endpoint::{Endpoint, RequestHeaders},
    forward::Forward,
};
use crate::{
    keys::{revoked::RevokedKeys, KeySet},
    rotation::{
        policy::{EmptySet, RotationPolicy},
        seed::Seed,
    },
    shared::names,
    token::{cache, issuers::Issuers, validation::TokenPolicy},
};

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
    /// Where the issuer publishes its JWKS.
    pub source: Source,
    /// Where else the JWKS is, in the order in which the mirrors are asked when the source fails.
    pub mirrors: Vec<Endpoint>,
    /// What requests to the issuer carry besides. Mirrors do not get these headers.
    pub headers: RequestHeaders,
    /// How the key set is kept.
    pub rotation: RotationPolicy,
    /// Keys that never verify.
    pub revoked: RevokedKeys,
    /// Keys that verify until the first JWKS.
    pub seed: Option<Seed>,
}

/// Where an issuer publishes its JWKS.
#[derive(Clone, Debug)]
pub enum Source {
    Uri(Endpoint),
    Discovery(Box<Discovery>),
}

impl Remote {
    /// Tells key sets apart: by each place that keys may come from, by the headers of the requests, and by what a JWKS may be. A
    /// provider with other bounds may not be able to read what this one accepts, and must not believe an empty JWKS that is a
    /// mistake by its own terms.
    pub fn identity(&self) -> [u8; 16] {
        let source = match &self.source {
            Source::Uri(endpoint) => names::digest_of(&[&endpoint.identity()]),
            Source::Discovery(discovery) => {
                let Discovery { metadata, issuer, jwks_cluster, jwks_host, ttl: _ } = &**discovery;
                let (issuer, cluster, host) = (issuer.as_bytes(), jwks_cluster.as_bytes(), jwks_host.as_bytes());
                names::digest_of(&[&metadata.identity(), issuer, cluster, host])
            }
        };
        let mirrors: Vec<_> = self.mirrors.iter().map(Endpoint::identity).collect();
        let limits = [self.rotation.limits.max_document_bytes, self.rotation.limits.max_keys];
        let limits = limits.map(|limit| (limit as u64).to_le_bytes());
        let empty_set = [u8::from(self.rotation.empty_set == EmptySet::Revoke)];
        names::digest_of(&[
            &source,
            mirrors.as_flattened(),
            &self.headers.identity(),
            limits.as_flattened(),
            &empty_set,
        ])
    }
}
