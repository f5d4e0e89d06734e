//! A change of a shared record, from bytes to bytes.

use std::rc::Rc;

use super::{
    clock::RecordClock,
    policy::RotationPolicy,
    record::Record,
    transition::{self, Cause, Effect, Event, Outcome},
};
use crate::{
    keys::{document::Document, revoked::RevokedKeys},
    time::UnixTime,
};

/// A change that the engine wants of a provider's shared record. The caller runs [`Self::apply`] under compare-and-swap, as
/// often as another worker comes in between, and gives the result back to the engine.
#[derive(Debug)]
pub struct Update {
    event: Event,
    policy: RotationPolicy,
    knowledge: Knowledge,
}

/// What a worker knows besides the shared bytes.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The newest record that the worker has seen.
    pub record: Rc<Record>,
    /// The record's time as the worker knows it.
    pub clock: RecordClock,
    /// The keys whose former names are kept longest.
    pub revoked: RevokedKeys,
    /// Whether a JWKS whose record has to be restored may be fetched for that alone.
    pub may_refetch: bool,
}

/// What an [`Update`] comes to.
#[derive(Debug)]
pub struct Applied {
    /// The record as it is after the update.
    pub record: Record,
    /// What follows for the engine.
    pub effect: Effect,
    /// Something of the record was lost, and is in the record again.
    pub is_restored: bool,
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
    /// The update of a worker that knows nothing.
    pub fn new(event: Event, policy: RotationPolicy) -> Self {
        Self { event, policy, knowledge: Knowledge::default() }
    }

    /// The update of a worker that knows this.
    pub fn knowing(self, knowledge: Knowledge) -> Self {
        Self { knowledge, ..self }
    }

    /// Applies the update to the shared bytes. Bytes that are no record count as absent. What is absent, or was written back
    /// from an earlier time, is restored from what the worker knows.
    pub fn apply(&self, bytes: Option<&[u8]>, now: UnixTime) -> Applied {
        let Knowledge { record: known, clock, revoked, may_refetch } = &self.knowledge;
        let shared = bytes.and_then(|bytes| Record::read(bytes, now)).unwrap_or_default();
        let (record, is_restored) = if known.is_plausible(now) { restore(shared, known) } else { (shared, false) };
        let clock = clock.reached(record.written_at, record.ahead, now);
        let (record, time) = (record.caught_up(known, clock, now), clock.at(now));
        // What another worker knew may be lost too. Tokens keep to their budget.
        let event = match &self.event {
            Event::Refresh(Cause::Schedule) if is_restored && *may_refetch => &Event::Refetch,
            event => event,
        };
        let (changed, effect) = transition::apply(&record, event, &self.policy, time);
        let grown = || Record { version: record.version.saturating_add(1), ..record.clone() };
        match changed.or_else(|| is_restored.then(grown)) {
            Some(changed) => {
                let former = revoked.bound(changed.former);
                let record = Record { written_at: time, ahead: clock.ahead(), former, ..changed };
                Applied { bytes: Some(record.encode()), record, effect, is_restored }
            }
            None => Applied { record, effect, is_restored, bytes: None },
        }
    }

    /// Why a fetch is wanted, if the update asks for a fetch.
    pub fn cause(&self) -> Option<Cause> {
        match self.event {
            Event::Refresh(cause) => Some(cause),
            Event::FetchEnded { .. } | Event::Abandon(_) | Event::Renew(_) | Event::Discard(_) | Event::Refetch => None,
        }
    }

    /// What the fetch brought, if the update is about the end of a fetch.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.event {
            Event::FetchEnded { outcome, .. } => Some(outcome),
            Event::Refresh(_) | Event::Abandon(_) | Event::Renew(_) | Event::Discard(_) | Event::Refetch => None,
        }
    }

    /// The JWKS that the fetch brought, parsed.
    pub fn into_document(self) -> Option<Document> {
        match self.event {
            Event::FetchEnded { outcome: Outcome::Jwks(jwks), .. } => Some(jwks.document),
            Event::FetchEnded { .. }
            | Event::Refresh(_)
            | Event::Abandon(_)
            | Event::Renew(_)
            | Event::Discard(_)
            | Event::Refetch => None,
        }
    }
}

/// The record to change, and whether something of it was lost: the shared record if it is the newest that the worker knows of,
/// with the keys that the worker knows if the record has none.
fn restore(shared: Record, known: &Record) -> (Record, bool) {
    if shared.is_older_than(known) {
        return (known.clone(), true);
    }
    if shared.document.is_some() || known.document.is_none() {
        return (shared, false);
    }
    (shared.with_keys_of(known), true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        keys::document,
        rotation::{http_cache::Validators, replace::tests::set, schedule::tests::POLICY, transition::FetchedJwks},
    };

    const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

    fn fetched(fetch: u64, body: &Rc<[u8]>) -> Update {
        let document = document::parse(body, POLICY.limits).unwrap();
        let (freshness, validators) = (Default::default(), Validators::default());
        let (source, location) = Default::default();
        let jwks = FetchedJwks { body: body.clone(), document, freshness, validators, source, location };
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

    fn knowing(event: Event, known: &Record, clock: RecordClock) -> Update {
        let record = Rc::new(known.clone());
        Update::new(event, POLICY).knowing(Knowledge { record, clock, may_refetch: true, ..Knowledge::default() })
    }

    fn started(numbers: &[u8]) -> Record {
        let leased = Update::new(Event::Refresh(Cause::Schedule), POLICY).apply(None, NOW);
        fetched(leased.record.started, &set(numbers).into()).apply(leased.bytes.as_deref(), NOW).record
    }

    const LATER: UnixTime = UnixTime::from_millis(1_700_000_060_000);

    #[test]
    fn what_shared_data_lost_is_restored_and_fetched_anew() {
        let known = started(&[1]);
        let refresh = || knowing(Event::Refresh(Cause::Schedule), &known, RecordClock::default());
        let earlier = Record { version: known.version - 1, document: None, ..known.clone() };
        let begun_anew = Update::new(Event::Refresh(Cause::Schedule), POLICY).apply(None, LATER).record;
        for bytes in [None, Some(b"<html>".to_vec()), Some(earlier.encode())] {
            let applied = refresh().apply(bytes.as_deref(), LATER);
            assert_eq!(applied.effect, Effect::Fetch(LATER.as_millis()));
            assert_eq!((applied.record.document, applied.bytes.is_some()), (known.document.clone(), true));
        }
        // Another worker, which knew less, was faster.
        let applied = refresh().apply(Some(&begun_anew.encode()), LATER);
        assert_eq!((applied.effect, applied.record.document), (Effect::InFlight, known.document.clone()));
        assert!(applied.record.version > begun_anew.version && applied.bytes.is_some());
        // A fetch that was under way goes on.
        let for_token = knowing(Event::Refresh(Cause::UnknownKid), &known, RecordClock::default());
        let leased = for_token.apply(Some(&known.encode()), LATER).record;
        let applied = knowing(Event::Refresh(Cause::Schedule), &leased, RecordClock::default()).apply(None, LATER);
        assert_eq!((applied.effect, applied.record.lease), (Effect::InFlight, leased.lease));
    }

    #[test]
    fn a_record_of_a_distant_future_is_not_restored() {
        let known = started(&[1]);
        let past = UnixTime::from_millis(1_000_000_000_000);
        let applied = knowing(Event::Refresh(Cause::Schedule), &known, RecordClock::default()).apply(None, past);
        assert_eq!((applied.record.document, applied.effect), (None, Effect::Fetch(past.as_millis())));
    }

    #[test]
    fn a_step_back_of_the_clock_ages_a_document_and_ends_no_lease_early() {
        let (known, day) = (started(&[1]), Duration::from_secs(86_400));
        let before = NOW.minus(day);
        let usable_at = |record: &Record, time| transition::is_usable(record.document.as_ref().unwrap(), &POLICY, time);
        // A worker that saw nothing of the step continues from when the record was written.
        let blind = Update::new(Event::Refresh(Cause::UnknownKid), POLICY).apply(Some(&known.encode()), before);
        assert_eq!((blind.record.written_at, blind.effect), (NOW, Effect::Fetch(NOW.as_millis() + 1)));
        // A worker that saw the document expire does not see the document come back.
        let clock = RecordClock::default().stepped_back(NOW.plus(Duration::from_secs(150)), before);
        let aware =
            knowing(Event::Refresh(Cause::UnknownKid), &known, clock).apply(Some(&known.encode()), before).record;
        assert!(!usable_at(&aware, aware.written_at) && usable_at(&aware, NOW));
        let again = Update::new(Event::Refresh(Cause::Schedule), POLICY);
        let in_a_second = again.apply(Some(&aware.encode()), before.plus(Duration::from_secs(1)));
        assert_eq!(in_a_second.effect, Effect::InFlight);
        let all_over = again.apply(Some(&aware.encode()), NOW.plus(Duration::from_secs(153)));
        assert!(matches!(all_over.effect, Effect::Fetch(_)), "{:?}", all_over.effect);
    }
}
