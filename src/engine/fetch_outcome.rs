//! What a response means for a key set.

use std::time::Duration;

use super::{
    action::Response, fetch_error::FetchError, fetching::Step, provider_keys::ProviderKeys, telemetry::Telemetry,
};
use crate::{
    keys::document,
    metrics::Metric,
    policy::{
        endpoint::Endpoint,
        provider::{Remote, Source},
    },
    rotation::{
        http_cache,
        policy::EmptySet,
        transition::{FetchedJwks, Outcome},
    },
    time::UnixTime,
};

/// How long a mirror's JWKS is fresh, unless `min_ttl` is longer: the issuer is to be asked again soon, since a mirror may have an
/// earlier JWKS.
const MIRROR_LIFETIME: Duration = Duration::from_secs(1);

/// Where a response comes from.
pub(super) struct Origin {
    /// The digest of the endpoint.
    source: u64,
    /// The URI of the issuer's JWKS, if the metadata names the URI.
    location: String,
    /// The endpoint is a mirror.
    is_mirror: bool,
}

impl ProviderKeys {
    /// The origin of a response to the request of this step.
    pub(super) fn origin(&self, step: Step, endpoint: &Endpoint, remote: &Remote) -> Origin {
        let is_found = step == Step::Jwks && matches!(remote.source, Source::Discovery(_));
        let known = || self.record.document.as_ref().map(|document| document.location.clone()).unwrap_or_default();
        let location = if is_found { endpoint.uri() } else { known() };
        Origin { source: endpoint.digest(), location, is_mirror: matches!(step, Step::Mirror(_)) }
    }
}

/// What the response of an endpoint brings. The body of a 200 is parsed here, once for this worker.
pub(super) fn outcome(
    keys: &ProviderKeys,
    remote: &Remote,
    origin: Origin,
    response: Response,
    telemetry: &mut Telemetry,
    now: UnixTime,
) -> Result<Outcome, FetchError> {
    let Origin { source, location, is_mirror } = origin;
    let mut freshness = http_cache::freshness(&response.headers, now);
    if is_mirror {
        freshness.lifetime = Some(keys.fetching.retry_after().unwrap_or_default().max(MIRROR_LIFETIME));
    }
    match (response.status, keys.fetching.asked()) {
        (200, _) => {
            let Response { headers, body, .. } = response;
            let parse = match remote.rotation.empty_set {
                EmptySet::Revoke if !is_mirror => document::parse_cached,
                EmptySet::Keep | EmptySet::Revoke => document::parse,
            };
            let document = parse(&body, remote.rotation.limits).map_err(FetchError::Document)?;
            freshness.lifetime = freshness.lifetime.or(document.refresh_hint);
            let skipped = u32::try_from(document.skipped.len()).unwrap_or(u32::MAX);
            telemetry.add_many(Metric::KeySkipped, skipped);
            let validators = http_cache::validators(&headers);
            Ok(Outcome::Jwks(Box::new(FetchedJwks {
                body: body.into(),
                document,
                freshness,
                validators,
                source,
                location,
            })))
        }
        (304, Some(document)) => Ok(Outcome::NotModified { document, freshness }),
        _ => Err(FetchError::of(&response)),
    }
}
