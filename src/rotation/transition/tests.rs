use std::time::Duration;

use super::*;
use crate::{
    keys::{document, KeySet},
    rotation::{replace, schedule::tests::POLICY},
};

/// The number of a fetch that starts then.
fn fetch_at(seconds: u64) -> Effect {
    Effect::Fetch(at(seconds).as_millis())
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn change(record: &mut Record, event: Event, now: UnixTime) -> Effect {
    let (next, effect) = apply(record, &event, &POLICY, now);
    if let Some(next) = next {
        assert!(next.version > record.version);
        *record = next;
    }
    effect
}

fn refresh(record: &mut Record, cause: Cause, now: UnixTime) -> Effect {
    change(record, Event::Refresh(cause), now)
}

fn document(body: &str) -> Outcome {
    jwks(body, Freshness::default())
}

fn jwks(body: &str, freshness: Freshness) -> Outcome {
    let empty = |_| Document { keys: KeySet::default(), skipped: Vec::new(), refresh_hint: None };
    let document = document::parse(body.as_bytes(), POLICY.limits).unwrap_or_else(empty);
    Outcome::Jwks(Box::new(FetchedJwks {
        body: body.as_bytes().into(),
        document,
        freshness,
        validators: Validators::default(),
        source: 1,
        location: String::new(),
    }))
}

fn with_etag(body: &str, etag: &str) -> Outcome {
    let Outcome::Jwks(jwks) = document(body) else { unreachable!() };
    let validators = Validators { etag: Some(etag.to_owned()), last_modified: None };
    Outcome::Jwks(Box::new(FetchedJwks { validators, ..*jwks }))
}

fn not_modified(record: &Record, freshness: Freshness) -> Outcome {
    Outcome::NotModified { document: record.document.as_ref().unwrap().fingerprint(), freshness }
}

const FAILED: Outcome = Outcome::Failed { retry_after: None };

fn fetched(record: &mut Record, outcome: Outcome, now: UnixTime) -> Effect {
    // The largest jitter: refreshes as early as they get.
    change(record, Event::FetchEnded { fetch: record.started, outcome, jitter: u32::MAX }, now)
}

fn fresh(body: &str) -> Record {
    let mut record = Record::default();
    assert_eq!(refresh(&mut record, Cause::Schedule, at(0)), fetch_at(0));
    assert_eq!(fetched(&mut record, document(body), at(0)), Effect::Completed);
    record
}

#[test]
fn one_fetch_at_a_time() {
    let mut record = Record::default();
    assert_eq!(refresh(&mut record, Cause::Schedule, at(0)), fetch_at(0));
    assert_eq!(refresh(&mut record, Cause::Schedule, at(1)), Effect::InFlight);
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(2)), Effect::InFlight);
}

#[test]
fn a_dead_holder_costs_only_its_lease_and_its_late_result_counts_for_nothing() {
    let mut record = Record::default();
    refresh(&mut record, Cause::Schedule, at(0));
    assert_eq!(refresh(&mut record, Cause::Schedule, at(3)), fetch_at(3));
    let late = Event::FetchEnded { fetch: at(0).as_millis(), outcome: document("old"), jitter: 0 };
    assert_eq!(change(&mut record, late, at(4)), Effect::Superseded);
    assert_eq!(record.document, None);
    assert_eq!(fetched(&mut record, document("new"), at(4)), Effect::Completed);
}

#[test]
fn a_result_is_settled_once() {
    let mut record = fresh("a");
    assert_eq!(fetched(&mut record, document("b"), at(1)), Effect::Superseded);
}

#[test]
fn refreshed_ahead_of_expiry_and_not_before() {
    let mut record = fresh("a");
    assert!(
        matches!(refresh(&mut record, Cause::Schedule, at(79)), Effect::NotBefore(due) if due > at(79) && due <= at(81))
    );
    assert_eq!(refresh(&mut record, Cause::Schedule, at(81)), fetch_at(81));
}

#[test]
fn unknown_kids_start_one_refresh_and_one_second_look_per_interval_whatever_became_of_them() {
    for outcome in [|| document("a"), || FAILED] {
        let mut record = fresh("a");
        assert_eq!(refresh(&mut record, Cause::UnknownKid, at(5)), fetch_at(5));
        fetched(&mut record, outcome(), at(5));
        assert_eq!(refresh(&mut record, Cause::UnknownKid, at(5)), Effect::NotBefore(at(6)));
        assert_eq!(refresh(&mut record, Cause::UnknownKid, at(6)), fetch_at(6));
        assert!(record.is_looking_again() && !record.is_fetching_for_token());
        fetched(&mut record, outcome(), at(6));
        assert_eq!(refresh(&mut record, Cause::UnknownKid, at(14)), Effect::NotBefore(at(15)));
        assert_eq!(
            refresh(&mut record, Cause::BadSignature, at(14)),
            refresh(&mut record.clone(), Cause::BadSignature, at(14))
        );
        assert_eq!(refresh(&mut record, Cause::UnknownKid, at(15)), fetch_at(15));
    }
}

#[test]
fn an_abandoned_fetch_is_as_if_it_had_never_begun() {
    let mut record = fresh("a");
    let abandoned = |record: &mut Record, now| change(record, Event::Abandon(record.started), now);
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(5)), fetch_at(5));
    let fetch = record.started;
    assert_eq!(abandoned(&mut record, at(6)), Effect::Abandoned);
    assert_eq!((record.failures, record.finished < record.started), (0, true));
    assert_eq!(abandoned(&mut record, at(6)), Effect::Superseded);
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(6)), fetch_at(6));
    assert_eq!(change(&mut record, Event::Abandon(fetch), at(6)), Effect::Superseded, "another fetch runs");
    fetched(&mut record, document("a"), at(6));
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(7)), fetch_at(7));
    assert_eq!(abandoned(&mut record, at(8)), Effect::Abandoned);
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(8)), fetch_at(8));
    assert!(record.is_looking_again());
    fetched(&mut record, document("a"), at(8));
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(9)), Effect::NotBefore(at(16)));
}

#[test]
fn any_other_fetch_takes_the_place_of_the_second_look() {
    let mut record = fresh("a");
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(84)), fetch_at(84));
    fetched(&mut record, FAILED, at(84));
    assert_eq!(refresh(&mut record, Cause::Schedule, at(85)), fetch_at(85));
    assert!(record.is_looking_again());
    fetched(&mut record, document("a"), at(85));
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(86)), Effect::NotBefore(at(94)));
}

#[test]
fn a_second_look_is_within_the_interval_or_is_not() {
    let looks = |second_look, interval| {
        let (second_look, unknown_kid_min_interval) = (Duration::from_secs(second_look), Duration::from_secs(interval));
        let policy = RotationPolicy { second_look, unknown_kid_min_interval, ..POLICY };
        let record = Record { unknown_kid_at: Some(at(5)), looked_at: Some(at(6)), ..fresh("a") };
        let due = refresh_due(&record, Cause::UnknownKid, &policy, at(6));
        (due, second_look_at(&record, &policy).is_some())
    };
    assert_eq!(looks(1, 10), (at(7), true));
    assert_eq!(looks(0, 10), (at(15), false));
    assert_eq!(looks(1, 2), (at(7), false));
    assert_eq!(looks(9, 10), (at(15), false));
}

#[test]
fn a_bad_signature_doubts_only_what_was_not_confirmed_lately_and_shares_the_budget() {
    let mut record = fresh("a");
    assert_eq!(refresh(&mut record, Cause::BadSignature, at(29)), Effect::NotBefore(at(30)));
    assert_eq!(refresh(&mut record, Cause::BadSignature, at(30)), fetch_at(30));
    fetched(&mut record, FAILED, at(30));
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(39)), fetch_at(39), "the second look");
    fetched(&mut record, FAILED, at(39));
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(39)), Effect::NotBefore(at(40)));
}

#[test]
fn failures_keep_the_document_and_back_off() {
    let mut record = fresh("a");
    let mut now = at(90);
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert!(matches!(refresh(&mut record, Cause::Schedule, now), Effect::Fetch(_)));
        fetched(&mut record, FAILED, now);
        assert!(record.document.is_some());
        waits.push(record.retry_at().since(now));
        now = record.retry_at();
    }
    assert!(waits.windows(2).all(|w| w[0] <= w[1]));
    assert!(waits[0] <= Duration::from_millis(200) && waits[11] >= Duration::from_secs(15), "{waits:?}");
    refresh(&mut record, Cause::Schedule, now);
    fetched(&mut record, Outcome::Failed { retry_after: Some(Duration::from_secs(120)) }, now);
    assert_eq!(record.retry_at(), now.plus(Duration::from_secs(120)));
}

#[test]
fn a_304_renews_and_keeps_what_it_does_not_say() {
    let mut record = fresh("a");
    record.document.as_mut().unwrap().freshness.lifetime = Some(Duration::from_secs(60));
    let generation = record.document.as_ref().unwrap().generation;
    assert_eq!(refresh(&mut record, Cause::UnknownKid, at(40)), fetch_at(40));
    let not_modified = not_modified(&record, Freshness::default());
    fetched(&mut record, not_modified, at(41));
    let renewed = record.document.unwrap();
    assert_eq!((renewed.fetched_at, renewed.generation, renewed.fetch), (at(41), generation, at(40).as_millis()));
    assert_eq!(renewed.freshness.lifetime, Some(Duration::from_secs(60)));
}

#[test]
fn a_304_without_a_document_is_a_failure() {
    let mut record = Record::default();
    refresh(&mut record, Cause::Schedule, at(0));
    let not_modified = not_modified(&fresh("a"), Freshness::default());
    fetched(&mut record, not_modified, at(0));
    assert_eq!((record.document, record.failures), (None, 1));
}

#[test]
fn a_304_renews_the_document_that_was_asked_about_and_no_other() {
    for other in [jwks("b", Freshness::default()), with_etag("a", "\"2\"")] {
        let mut record = fresh("a");
        let not_modified = not_modified(&record, Freshness::default());
        refresh(&mut record, Cause::Schedule, at(85));
        fetched(&mut record, other, at(85));
        // Another plugin wrote another record with the number of the fetch.
        let before = record.document.clone();
        record.lease = Some(Lease::take(at(85), POLICY.fetch_timeout));
        assert_eq!(fetched(&mut record, not_modified, at(86)), Effect::Completed);
        assert_eq!((record.document, record.failures), (before, 1));
    }
}

#[test]
fn stale_keys_are_usable_within_their_bound_only() {
    let document = fresh("a").document.unwrap();
    assert!(is_usable(&document, &POLICY, at(149)));
    assert!(!is_usable(&document, &POLICY, at(150)));
}

#[test]
fn the_generation_follows_the_content() {
    let mut record = fresh("a");
    let first = record.document.as_ref().unwrap().generation;
    for (body, same) in [("a", true), ("b", false)] {
        let now = at(if same { 85 } else { 170 });
        refresh(&mut record, Cause::Schedule, now);
        fetched(&mut record, document(body), now);
        let document = record.document.as_ref().unwrap();
        assert_eq!(document.generation == first, same);
        assert_eq!(document.fetch, record.started);
    }
}

#[test]
fn only_the_document_that_cannot_be_read_is_discarded() {
    let mut record = fresh("a");
    let generation = record.document.as_ref().unwrap().generation;
    assert_eq!(change(&mut record, Event::Discard(generation - 1), at(1)), Effect::Superseded);
    assert_eq!(change(&mut record, Event::Discard(generation), at(1)), Effect::Discarded);
    assert_eq!(refresh(&mut record, Cause::Schedule, at(1)), fetch_at(1));
}

#[test]
fn what_aged_on_the_way_has_less_of_its_lifetime_left() {
    let mut record = fresh("a");
    let hour = Freshness { lifetime: Some(Duration::from_secs(3600)), ..Freshness::default() };
    let left = |record: &Record| schedule::lifetime(&record.document.as_ref().unwrap().freshness, &POLICY).as_secs();
    for (now, stated, expected) in [
        (100, Freshness { age: Duration::from_secs(3000), ..hour }, 598),
        // A 304 that only says how old it is.
        (600, Freshness { age: Duration::from_secs(3300), ..Freshness::default() }, 298),
    ] {
        refresh(&mut record, Cause::UnknownKid, at(now));
        let outcome = match stated.lifetime {
            Some(_) => jwks("b", stated),
            None => not_modified(&record, stated),
        };
        fetched(&mut record, outcome, at(now + 2));
        assert_eq!(left(&record), expected);
    }
}

#[test]
fn a_rotation_is_a_key_that_was_not_there() {
    let set = |keys: &[u8]| String::from_utf8(replace::tests::set(keys)).unwrap();
    let mut record = fresh(&set(&[1]));
    let rotated_at = |record: &Record| record.document.as_ref().unwrap().rotated_at;
    assert_eq!(rotated_at(&record), at(0));
    let steps: [(u64, &[u8], u64); 7] = [
        (10_000, &[1], 0),
        (20_000, &[2, 1], 20_000),
        (30_000, &[2], 20_000),
        (40_000, &[1, 2], 20_000),
        (50_000, &[2], 20_000),
        // A day later it is forgotten, and that is no rotation either.
        (150_000, &[2], 20_000),
        (160_000, &[3], 160_000),
    ];
    for (now, keys, expected) in steps {
        assert_eq!(refresh(&mut record, Cause::Schedule, at(now)), fetch_at(now));
        assert_eq!(fetched(&mut record, document(&set(keys)), at(now)), Effect::Completed);
        assert_eq!(rotated_at(&record), at(expected), "{now}");
    }
    assert!(record.retired.len() == 1, "{:?}", record.retired);
}

#[test]
fn a_clock_that_steps_forward_during_a_fetch_ages_the_response_by_no_more_than_the_lease() {
    let mut record = Record::default();
    refresh(&mut record, Cause::Schedule, at(0));
    let stated = Freshness { lifetime: Some(Duration::from_secs(600)), ..Freshness::default() };
    fetched(&mut record, jwks("a", stated), at(86_400));
    assert_eq!(record.document.unwrap().freshness.age, Duration::from_secs(3), "the timeout and the margin");
}
