//! A change of a shared record, from bytes to bytes.

use super::{
    policy::RotationPolicy,
    record::Record,
    transition::{self, Cause, Effect, Event, Outcome},
};
use crate::{keys::document::Document, time::UnixTime};

/// A change that the engine wants of a provider's shared record. The caller runs [`Self::apply`] under compare-and-swap, as
/// often as another worker comes in between, and gives the result back to the engine.
#[derive(Debug)]
pub struct Update {
    event: Event,
    policy: RotationPolicy,
    /// The time before the last step back of the worker's clock.
    seen: UnixTime,
}

/// What an [`Update`] comes to.
#[derive(Debug)]
pub struct Applied {
    /// The record as it is after the update.
    pub record: Record,
    /// What follows for the engine.
    pub effect: Effect,
    /// The bytes to store. `None`: the record has not changed.
    pub bytes: Option<Vec<u8>>,
}

impl Applied {
    /// The number of the fetch that starts, if one does.
    pub fn started(&self) -> Option<u64> {
        match self.effect {
            Effect::Fetch(fetch) => Some(fetch),
            _ => None,
        }
    }
}

impl Update {
    pub fn new(event: Event, policy: RotationPolicy) -> Self {
        Self { event, policy, seen: UnixTime::default() }
    }

    /// The update of a worker whose clock showed `seen` before the clock stepped back.
    pub fn seen_at(self, seen: UnixTime) -> Self {
        Self { seen, ..self }
    }

    /// Applies the update to the shared bytes. Bytes that are no record count as absent.
    pub fn apply(&self, bytes: Option<&[u8]>, now: UnixTime) -> Applied {
        let record = bytes.and_then(|bytes| Record::read(bytes, now)).unwrap_or_default();
        let record = record.observed(self.seen, now);
        match transition::apply(&record, &self.event, &self.policy, now) {
            (Some(record), effect) => Applied { bytes: Some(record.encode()), record, effect },
            (None, effect) => Applied { record, effect, bytes: None },
        }
    }

    /// Why a fetch is wanted, if the update asks for a fetch.
    pub fn cause(&self) -> Option<Cause> {
        match self.event {
            Event::Refresh(cause) => Some(cause),
            Event::FetchEnded { .. } | Event::Renew(_) | Event::Discard(_) => None,
        }
    }

    /// The JWKS that the fetch brought, parsed.
    pub fn into_document(self) -> Option<Document> {
        match self.event {
            Event::FetchEnded { outcome: Outcome::Jwks(jwks), .. } => Some(jwks.document),
            Event::FetchEnded { .. } | Event::Refresh(_) | Event::Renew(_) | Event::Discard(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{
        keys::document,
        rotation::{http_cache::Validators, replace::tests::set, schedule::tests::POLICY, transition::FetchedJwks},
    };

    const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

    fn fetched(fetch: u64, body: &Rc<[u8]>) -> Update {
        let document = document::parse(body, POLICY.limits).unwrap();
        let (freshness, validators) = (Default::default(), Validators::default());
        let jwks = FetchedJwks { body: body.clone(), document, freshness, validators };
        let outcome = Outcome::Jwks(Box::new(jwks));
        Update::new(Event::FetchEnded { fetch, outcome, jitter: 0 }, POLICY)
    }

    #[test]
    fn bytes_that_are_no_record_count_as_absent() {
        let refresh = Update::new(Event::Refresh(Cause::Schedule), POLICY);
        for bytes in [None, Some(&b""[..]), Some(b"<html>"), Some(&[0xff; 300])] {
            let applied = refresh.apply(bytes, NOW);
            assert_eq!(applied.effect, Effect::Fetch(NOW.as_millis()));
            assert_eq!(Record::decode(&applied.bytes.unwrap()), Some(applied.record));
        }
    }

    #[test]
    fn an_update_that_changes_nothing_stores_nothing() {
        let refresh = Update::new(Event::Refresh(Cause::Schedule), POLICY);
        let leased = refresh.apply(None, NOW).bytes.unwrap();
        let applied = refresh.apply(Some(&leased), NOW);
        assert_eq!((applied.effect, applied.bytes), (Effect::InFlight, None));
    }

    /// Another worker may come in between as often as it likes.
    #[test]
    fn each_try_of_a_compare_and_swap_shares_the_body_and_parses_nothing_again() {
        let body: Rc<[u8]> = set(&[1, 2]).into();
        let leased = Update::new(Event::Refresh(Cause::Schedule), POLICY).apply(None, NOW);
        let update = fetched(leased.record.started, &body);
        for _ in 0..3 {
            let applied = update.apply(leased.bytes.as_deref(), NOW);
            assert_eq!(applied.effect, Effect::Completed);
            assert!(Rc::ptr_eq(&applied.record.document.unwrap().body, &body));
        }
        assert_eq!(update.into_document().unwrap().keys.len(), 2);
    }
}
