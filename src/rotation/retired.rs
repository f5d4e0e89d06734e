//! Keys that left their issuer's JWKS, kept for the grace that a configuration may allow them. Which keys are kept, [`super::replace`]
//! decides.

use std::time::Duration;

use super::{
    http_cache::Freshness,
    policy::{RotationPolicy, LONGEST_GRACE},
    schedule,
};
use crate::time::UnixTime;

/// A key that was published and no longer is. The record holds facts only; each configuration allows its own grace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetiredKey {
    /// When the first JWKS without the key arrived.
    pub gone_at: UnixTime,
    /// How long before `gone_at` the last JWKS with the key was fetched or confirmed.
    pub unconfirmed_for: Duration,
    /// What the issuer stated about the lifetime of that JWKS.
    pub freshness: Freshness,
    /// The JWK as it was published.
    pub jwk: Vec<u8>,
}

impl RetiredKey {
    /// When the key stops verifying under this policy.
    ///
    /// The grace begins when the last JWKS with the key became unusable, if that was before the key was gone: what an outage
    /// ended does not return with the issuer.
    pub fn until(&self, policy: &RotationPolicy) -> UnixTime {
        let confirmed_at = self.gone_at.minus(self.unconfirmed_for);
        let unusable_at = schedule::unusable_at(confirmed_at, &self.freshness, policy);
        self.gone_at.min(unusable_at).plus(policy.retired_key_grace)
    }

    /// This key as of a clock that is behind by `ahead`.
    pub fn set_back(self, ahead: Duration) -> Self {
        Self { gone_at: self.gone_at.minus(ahead), ..self }
    }

    /// Whether any policy can still allow the key to verify.
    pub fn can_still_verify(&self, now: UnixTime) -> bool {
        now < self.gone_at.plus(LONGEST_GRACE)
    }
}
