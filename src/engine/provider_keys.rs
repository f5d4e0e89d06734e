//! What one worker has seen of one provider's key set, and what that means for a request without a key.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{denied_kids::Refused, FetchError};
use crate::{
    keys::{document, KeyError, KeySet},
    policy::{
        provider::{KeySource, Provider, Remote},
        reply::Denial,
    },
    rotation::{
        record::{CachedJwks, Record},
        retired::Retired,
        schedule::RotationPolicy,
        transition::{self, Cause},
    },
    time::UnixTime,
    token::{cache::TokenCache, TokenError},
};

/// What this worker has seen of a provider's key set.
#[derive(Debug)]
pub(super) struct View {
    /// The shared record, without the bytes of documents and keys.
    pub(super) record: Record,
    /// The parsed keys of its generation.
    pub(super) keys: Option<Rc<KeySet>>,
    /// The keys of its document that cannot be used.
    pub(super) skipped: Vec<(usize, KeyError)>,
    /// The tokens that were verified with these keys, by each of the provider's rules.
    pub(super) verified: Vec<RefCell<TokenCache>>,
    /// How many tokens were found there, and not yet counted.
    pub(super) hits: Cell<u32>,
    /// Set when a token was refused for an unknown key while no refresh might start yet: the newest fetch at that time.
    pub(super) wanted_after: Option<u64>,
    pub(super) last_error: Option<FetchError>,
    /// The record has changed since the parked requests were last decided.
    pub(super) news: bool,
    pub(super) refused: Refused,
    /// The generation of a document that somebody else must have written: it cannot be read.
    pub(super) unreadable: Option<u64>,
}

/// What comes of a token without a key.
pub(super) enum MissingKey {
    Refuse(Denial),
    /// Refused because the issuer may not be asked again yet: ask it when that is allowed.
    DenyAndRefresh(Denial),
    Wait(Cause),
}

impl View {
    /// A view of a provider that nothing is known of yet.
    pub(super) fn new(provider: &Provider) -> Self {
        let (record, skipped, wanted_after, last_error, news, refused, unreadable) = Default::default();
        let keys = match &provider.keys {
            KeySource::Local(keys) => Some(keys.clone()),
            KeySource::Remote(_) => None,
        };
        let verified = provider.rules.iter().map(|_| RefCell::new(TokenCache::new(provider.cache))).collect();
        let hits = Cell::default();
        Self { record, keys, skipped, verified, hits, wanted_after, last_error, news, refused, unreadable }
    }

    /// Takes over a record; parses its keys once per generation.
    pub(super) fn see(&mut self, mut record: Record, remote: &Remote) {
        let known = self.record.document.as_ref().map(|d| d.generation);
        let before = self.record.decision_fingerprint();
        let retired = std::mem::take(&mut record.retired);
        self.unreadable = None;
        match &mut record.document {
            None => {
                self.keys = None;
                self.forget();
            }
            Some(stored) => {
                let body = std::mem::take(&mut stored.body);
                if known != Some(stored.generation) || self.keys.is_none() {
                    self.forget();
                    let until = |retired: &Retired| retired.until(&remote.terms);
                    let in_grace = retired.iter().filter(|retired| until(retired) > retired.gone_at);
                    let in_grace =
                        in_grace.filter_map(|retired| Some((document::parse_key(&retired.jwk)?, until(retired))));
                    let read = document::parse(&body, remote.terms.limits);
                    self.unreadable = read.is_err().then_some(stored.generation);
                    (self.keys, self.skipped) = match read {
                        Ok(document::Document { keys, skipped }) => {
                            (Some(Rc::new(keys.with_retired(in_grace).without_revoked(&remote.revoked))), skipped)
                        }
                        Err(_) => (None, Vec::new()),
                    };
                }
            }
        }
        if self.unreadable.is_some() {
            record.document = None;
        }
        if self.wanted_after.is_some_and(|started| record.started > started) {
            self.wanted_after = None;
        }
        // That somebody took a lease is no news: asking all who wait again would cost their signatures, for the same answer.
        self.news |= record.decision_fingerprint() != before;
        self.record = record;
    }

    /// The clock has gone back behind `then`: what had ended by then does not come back.
    pub(super) fn forget_ended(&mut self, then: UnixTime) {
        if let Some(left) = self.keys.as_ref().and_then(|keys| keys.without_expired(then)) {
            self.keys = Some(Rc::new(left));
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.verified.iter_mut().for_each(|cache| cache.get_mut().clear());
    }

    /// The keys that may be used now.
    pub(super) fn usable_keys(&self, terms: Option<&RotationPolicy>, now: UnixTime) -> Option<&KeySet> {
        let usable = |stored: &CachedJwks| terms.is_some_and(|terms| transition::is_usable(stored, terms, now));
        match (terms, &self.record.document) {
            (Some(_), Some(stored)) if !usable(stored) => None,
            (Some(_), None) => None,
            _ => self.keys.as_deref(),
        }
    }

    /// A key is missing. Wait for a refresh, if one can still tell; else refuse.
    pub(super) fn without_key(
        &self,
        cause: Cause,
        refusal: Option<TokenError>,
        terms: &RotationPolicy,
        watermark: u64,
        until: UnixTime,
        now: UnixTime,
    ) -> MissingKey {
        let record = &self.record;
        let unavailable = |due: UnixTime| Denial::KeysUnavailable(due.since(now));
        let asked_since = record.document.as_ref().is_some_and(|d| d.fetch > watermark);
        let ended_since = record.finished > watermark;
        let failed_since = ended_since && record.failures > terms.retries;
        // Not counted from `now`: what was due in time can tell, also where it is late to begin.
        let due = transition::refresh_due(record, cause, terms, now);
        let can_tell = record.is_fetching(now) || due <= until;
        match (cause, refusal) {
            // The issuer has been asked since the request came: it has no such key.
            (_, Some(error)) if asked_since => MissingKey::Refuse(Denial::Token(error)),
            // The key is at hand and says no; only an issuer that answers can make it another one.
            (Cause::BadSignature, Some(error)) if ended_since || record.failures > 0 || !can_tell => {
                MissingKey::Refuse(Denial::Token(error))
            }
            _ if failed_since => MissingKey::Refuse(unavailable(due)),
            _ if can_tell => MissingKey::Wait(cause),
            // Too early to ask again. Only an issuer that answers makes an unknown key the token's fault.
            (_, Some(error)) if record.failures == 0 => MissingKey::DenyAndRefresh(Denial::Token(error)),
            _ => MissingKey::DenyAndRefresh(unavailable(due)),
        }
    }
}
