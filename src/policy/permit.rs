//! Proof that a request may go upstream.
//!
//! [`Permit`] can be made only of a [`Verified`] token, and [`Clearance`] only of permits or of an explicit
//! [`NoAuthRequired`]. Forwarding and [`crate::engine::Decision::Continue`] demand them, so a request that skipped its check
//! does not compile.

use crate::{ids::ProviderId, token::verify::Verified};

/// Proof that a token of a request satisfies a provider.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Permit {
    provider: ProviderId,
    token: usize,
    verified: Verified,
}

impl Permit {
    /// A permit for the token with this index in the request's [`super::requirement::ResolvedRequirement`].
    pub fn new(provider: ProviderId, token: usize, verified: Verified) -> Self {
        Self { provider, token, verified }
    }

    /// The provider whose policy the token satisfies.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// The index of the token.
    pub fn token(&self) -> usize {
        self.token
    }

    /// Whether the key that signed the token has left the issuer's JWKS.
    pub fn is_by_retired_key(&self) -> bool {
        self.verified.is_by_retired_key()
    }
}

/// Why a request goes upstream without a verified token. A search for this name finds every place where one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAuthRequired {
    /// A CORS preflight, which never carries credentials.
    CorsPreflight,
    /// No rule matches the request, or the rule that matches has no requirement.
    NoRequirement,
    /// The requirement is satisfied without a verified token, as `allow_missing` is by a request without a token.
    RequirementSatisfied,
    /// `allow_foreign` lets the tokens of other issuers pass.
    ForeignTokens,
    /// `mode: report` lets every request through.
    ReportMode,
}

/// Why a request may go upstream.
#[derive(Debug)]
#[must_use]
pub struct Clearance(Grounds);

#[derive(Debug)]
enum Grounds {
    Permits(Vec<Permit>),
    NotRequired(NoAuthRequired),
}

impl Clearance {
    /// Clearance by verified tokens. `None`: there is no permit.
    pub fn by_permits(permits: Vec<Permit>) -> Option<Self> {
        (!permits.is_empty()).then_some(Self(Grounds::Permits(permits)))
    }

    /// The permits; none where no authentication is required.
    pub fn permits(&self) -> &[Permit] {
        match &self.0 {
            Grounds::Permits(permits) => permits,
            Grounds::NotRequired(_) => &[],
        }
    }

    /// The reason for which no authentication is required.
    pub fn not_required(&self) -> Option<NoAuthRequired> {
        match &self.0 {
            Grounds::Permits(_) => None,
            Grounds::NotRequired(reason) => Some(*reason),
        }
    }
}

impl From<NoAuthRequired> for Clearance {
    fn from(reason: NoAuthRequired) -> Self {
        Self(Grounds::NotRequired(reason))
    }
}
