//! What one worker has seen of one provider's key set, and what that means for a request without a key.

use std::rc::Rc;

use super::FetchError;
use crate::{
    keys::{
        document::{self, Limits},
        life::{self, Cause, Terms},
        record::{Record, Stored},
        KeySet,
    },
    policy::reply::Refusal,
    time::UnixTime,
    token::TokenError,
};

/// What this worker has seen of a provider's key set.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The shared record, without the document's body.
    pub(super) record: Record,
    /// The parsed keys of its generation.
    pub(super) keys: Option<Rc<KeySet>>,
    /// Set when a token was refused for an unknown key while no refresh might start yet: the number of fetches at that time.
    pub(super) wanted_after: Option<u64>,
    pub(super) last_error: Option<FetchError>,
    /// The record has changed since the parked requests were last decided.
    pub(super) news: bool,
}

/// What the question comes to now.
pub(super) enum Verdict {
    Allow,
    Refuse(Refusal),
    /// Refused because the issuer may not be asked again yet: ask it when that is allowed.
    RefuseForNow(Refusal),
    Wait(Cause),
}

impl View {
    /// Takes over a record; parses its document once per generation.
    pub(super) fn see(&mut self, mut record: Record, limits: Limits) {
        let known = self.record.document.as_ref().map(|d| d.generation);
        match &mut record.document {
            None => self.keys = None,
            Some(stored) => {
                let body = std::mem::take(&mut stored.body);
                if known != Some(stored.generation) || self.keys.is_none() {
                    self.keys = document::parse(&body, limits).ok().map(|d| Rc::new(d.keys));
                }
            }
        }
        if self.wanted_after.is_some_and(|started| record.started > started) {
            self.wanted_after = None;
        }
        self.record = record;
        self.news = true;
    }

    /// The keys that may be used now.
    pub(super) fn usable_keys(&self, terms: Option<&Terms>, now: UnixTime) -> Option<&KeySet> {
        let usable = |stored: &Stored| terms.is_some_and(|terms| life::is_usable(stored, terms, now));
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
        terms: &Terms,
        arrived_after: u64,
        until: UnixTime,
        now: UnixTime,
    ) -> Verdict {
        let record = &self.record;
        let unavailable = |due: UnixTime| Verdict::Refuse(Refusal::KeysUnavailable(due.since(now)));
        let asked_since = record.document.as_ref().is_some_and(|d| d.fetch > arrived_after);
        let due = life::refresh_due(record, cause, terms, now).max(now);
        match refusal {
            // The issuer has been asked since the request came: it has no such key.
            Some(error) if asked_since => Verdict::Refuse(Refusal::Token(error)),
            _ if record.finished > arrived_after => unavailable(due),
            _ if record.is_fetching(now) || due <= until => Verdict::Wait(cause),
            // Too early to ask again. Only an issuer that answers makes an unknown key the token's fault.
            Some(error) if record.failures == 0 => Verdict::RefuseForNow(Refusal::Token(error)),
            _ => Verdict::RefuseForNow(Refusal::KeysUnavailable(due.since(now))),
        }
    }
}
