//! A whole configuration, checked and ready to use.

use std::collections::BTreeSet;

use super::{
    headers::Headers,
    provider::{Provider, Remote},
    reply::ResponseFormat,
    requirement::Requirements,
    route_table::RouteTable,
};
use crate::{
    ids::{ProviderId, ProviderMap},
    shared::seal::Seal,
};

/// A whole configuration. Nothing invalid can be written in a plan: rules name providers that exist.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The providers.
    pub providers: ProviderMap<Provider>,
    /// Which requirement a request falls under.
    pub routes: RouteTable,
    /// The requirements that the routes name.
    pub requirements: Requirements,
    /// The path at which the filter tells whether it is ready. `None`: no such path.
    pub ready: Option<ReadyPath>,
    /// Headers that only this filter may set, in lower case.
    pub own_headers: BTreeSet<String>,
    /// Those of the headers that Envoy turns into dynamic metadata. Clients may not set them in report mode either.
    pub value_headers: BTreeSet<String>,
    /// Whether a CORS preflight passes without a token.
    pub bypass_cors_preflight: bool,
    /// Whether requests are denied, or only counted.
    pub mode: Mode,
    /// The form of denials.
    pub response_format: ResponseFormat,
    /// Whether filter state also states why a request was allowed.
    pub explain_allowed: bool,
    /// A part of the counters' names.
    pub stat_prefix: String,
    /// How many requests may be parked at a time, per worker.
    pub max_parked_requests: usize,
    /// Whether the host checks signatures where it can.
    pub use_host_crypto: bool,
    /// Authenticates values in shared data. `None`: no secret is configured.
    pub seal: Option<Seal>,
    /// What the operator should know about this configuration.
    pub warnings: Vec<String>,
}

/// `ready_path`, and the fetched key sets that must have had keys.
#[derive(Clone, Debug)]
pub struct ReadyPath {
    pub path: String,
    /// The providers that requirements name, if their keys are fetched.
    pub providers: Vec<ProviderId>,
}

impl ReadyPath {
    /// Whether a request asks this.
    pub fn is_asked_by(&self, headers: Headers<'_>) -> bool {
        headers.path() == self.path.as_bytes() && matches!(headers.first(":method"), Some(b"GET" | b"HEAD"))
    }
}

/// What becomes of a request that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The filter answers the request.
    #[default]
    Enforce,
    /// The filter counts the request and lets it through.
    Report,
}

impl Plan {
    /// The remote side of this provider, if its keys are fetched.
    pub fn remote(&self, id: ProviderId) -> Option<&Remote> {
        self.providers[id].remote()
    }

    /// All providers whose keys are fetched.
    pub fn remotes(&self) -> impl Iterator<Item = (ProviderId, &Remote)> {
        self.providers.iter().filter_map(|(id, provider)| Some((id, provider.remote()?)))
    }
}
