//! What becomes of a token whose key is not at hand: wait, or deny.

use super::provider_keys::{ProviderKeys, Watermark};
use crate::{
    policy::reply::Denial,
    rotation::{
        policy::RotationPolicy,
        record::Record,
        schedule,
        transition::{self, Cause},
    },
    time::UnixTime,
    token::TokenError,
};

/// What becomes of a token whose key is missing.
pub(super) enum MissingKey {
    Deny(Denial),
    /// Deny the token, and ask the issuer when the budget allows.
    DenyAndRefresh(Denial),
    Wait(Cause),
    /// The issuer was asked and does not have the key, but is asked once more. If the wait is over before: deny the token.
    WaitForSecondLook(Denial),
}

/// How long a request can wait for a key.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// The newest fetch that had begun when the request came. A later fetch brings what the issuer published after that.
    pub(super) watermark: Watermark,
    /// When the request came.
    pub(super) since: UnixTime,
    /// When the request stops waiting.
    pub(super) until: UnixTime,
}

/// Decides about a token whose key is missing: wait for a fetch if one can tell, else deny. `error` is the token's fault
/// if the issuer does not have the key.
pub(super) fn missing_key(
    keys: &ProviderKeys,
    cause: Cause,
    error: Option<TokenError>,
    policy: &RotationPolicy,
    patience: Patience,
    now: UnixTime,
) -> MissingKey {
    let record = &keys.record;
    let unavailable = |due: UnixTime| Denial::KeysUnavailable(due.since(now));
    let watermark = keys.number_of(patience.watermark);
    let asked_since = record.document.as_ref().is_some_and(|cached| cached.fetch > watermark);
    let ended_since = record.finished > watermark;
    let failed_since = ended_since && record.failures > policy.retries;
    // Not counted from `now`: a refresh that was due in time can tell, also where it starts late.
    let due = transition::refresh_due(record, cause, policy, now);
    let is_fetching = record.is_fetching(now);
    let can_tell = is_fetching || due <= retries_end(record, policy, patience);
    let looks_again = match transition::second_look_at(record, policy) {
        Some(_) => due <= patience.until,
        None => is_fetching && record.is_looking_again(),
    };
    match (cause, error) {
        (Cause::UnknownKid, Some(error)) if asked_since && looks_again => {
            MissingKey::WaitForSecondLook(Denial::Token(error))
        }
        // The issuer was asked after the request came, and does not have the key.
        (_, Some(error)) if asked_since => MissingKey::Deny(Denial::Token(error)),
        // The key is at hand and does not match. Only an issuer that answers can replace the key.
        (Cause::BadSignature, Some(error)) if ended_since || record.failures > 0 || !can_tell => {
            MissingKey::Deny(Denial::Token(error))
        }
        _ if failed_since => MissingKey::Deny(unavailable(due)),
        _ if can_tell => MissingKey::Wait(cause),
        (Cause::Schedule, _) => MissingKey::Deny(unavailable(due)),
        // The budget is spent. An unknown key is the token's fault only while the issuer answers.
        (_, Some(error)) if record.failures == 0 => MissingKey::DenyAndRefresh(Denial::Token(error)),
        _ => MissingKey::DenyAndRefresh(unavailable(due)),
    }
}

/// When a fetch must start at the latest for a request to wait for the fetch. While fetches fail, a request outlasts the
/// retries that the policy grants, and no long pause.
fn retries_end(record: &Record, policy: &RotationPolicy, patience: Patience) -> UnixTime {
    if record.failures == 0 {
        return patience.until;
    }
    let is_granted = record.failures <= policy.retries;
    let from = if is_granted { patience.since.max(record.failed_at) } else { patience.since };
    from.plus(schedule::retry_patience(policy)).min(patience.until)
}
