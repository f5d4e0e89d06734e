use super::*;

fn full() -> Record {
    let at = UnixTime::from_millis;
    Record {
        version: 7,
        written_at: at(10),
        ahead: Duration::from_millis(3),
        started: 4,
        finished: 3,
        lease: Some(Lease { taken_at: at(10), until: at(20) }),
        failures: 2,
        failed_at: at(8),
        pause: Duration::from_millis(22),
        unknown_kid_at: Some(at(5)),
        looked_at: Some(at(9)),
        second_look: 2,
        has_had_jwks: true,
        document: Some(CachedJwks {
            fetch: 3,
            generation: 2,
            rotated_at: at(1),
            fetched_at: at(1),
            freshness: freshness(9),
            source: 0x8000_0000_0000_0001,
            location: "https://i/k".to_owned(),
            validators: Validators { etag: Some("\"a\"".to_owned()), last_modified: None },
            jitter: 77,
            body: b"{}"[..].into(),
        }),
        retired: vec![
            RetiredKey {
                gone_at: at(6),
                unconfirmed_for: Duration::from_millis(3),
                freshness: freshness(2),
                jwk: b"{1}".to_vec(),
            },
            RetiredKey { gone_at: at(7), ..RetiredKey::default() },
        ],
        former: vec![FormerName { kid: [1; 16], thumbprint: [2; 16] }],
    }
}

fn freshness(seconds: u64) -> Freshness {
    let age = Duration::from_millis(seconds * 100);
    Freshness { lifetime: Some(Duration::from_secs(seconds)), age, stale_if_error: None }
}

#[test]
fn decodes_what_it_encodes() {
    for record in [full(), Record::default()] {
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }
}

#[test]
fn anything_else_counts_as_absent() {
    let good = full().encode();
    for cut in 0..good.len() {
        assert_eq!(Record::decode(&good[..cut]), None, "cut at {cut}");
    }
    assert_eq!(Record::decode(&[good.clone(), vec![0]].concat()), None);
    for place in 0..good.len() {
        let mut tampered = good.clone();
        tampered[place] ^= 0xff;
        let _ = Record::decode(&tampered); // must not panic
    }
}

#[test]
fn numbers_far_beyond_the_clock_count_as_absent() {
    let now = UnixTime::from_millis(1_700_000_000_000);
    let read = |change: fn(&mut Record)| {
        let mut record = full();
        change(&mut record);
        Record::read(&record.encode(), now).is_some()
    };
    assert!(read(|_| {}) && read(|record| record.version = 1_700_000_000_000 + 86_400_000));
    assert!(!read(|record| record.version = u64::MAX) && !read(|record| record.started = u64::MAX - 1));
    assert!(!read(|record| record.second_look = 1 << 50));
    assert!(!read(|record| record.finished = 1 << 50) && !read(|record| record.ahead = Duration::from_millis(1 << 50)));
    assert!(!read(|record| record.pause = Duration::from_millis(1 << 63)));
    assert!(!read(|record| record.lease.as_mut().unwrap().until = UnixTime::from_millis(u64::MAX - 1)));
    assert!(!read(|record| record.written_at = UnixTime::from_millis(1_700_000_000_000 + 6 * 365 * 86_400_000)));
    assert!(!read(|record| record.document.as_mut().unwrap().generation = u64::MAX));
    assert!(!read(|record| record.document.as_mut().unwrap().fetch = u64::MAX));
}

#[test]
fn a_time_after_the_record_was_written_is_another_plugins() {
    let later = UnixTime::from_millis(11);
    let changes: [fn(&mut Record, UnixTime); 7] = [
        |record, later| record.failed_at = later,
        |record, later| record.unknown_kid_at = Some(later),
        |record, later| record.looked_at = Some(later),
        |record, later| record.lease.as_mut().unwrap().taken_at = later,
        |record, later| record.document.as_mut().unwrap().fetched_at = later,
        |record, later| record.document.as_mut().unwrap().rotated_at = later,
        |record, later| record.retired[0].gone_at = later,
    ];
    for change in changes {
        let mut record = full();
        change(&mut record, later);
        assert!(!record.is_plausible(later));
        record.written_at = later;
        assert!(record.is_plausible(later));
    }
}

#[test]
fn an_outline_keeps_each_age() {
    let outline = full().outline(Duration::from_millis(1));
    let at = UnixTime::from_millis;
    let document = outline.document.as_ref().unwrap();
    assert_eq!((document.fetched_at, document.body.len(), outline.failed_at), (at(0), 0, at(7)));
    assert_eq!((outline.lease, outline.unknown_kid_at), (Some(Lease { taken_at: at(9), until: at(19) }), Some(at(4))));
    assert_eq!((outline.looked_at, outline.second_look), (Some(at(8)), 2));
    assert_eq!((outline.version, outline.decision_fingerprint()), (7, full().decision_fingerprint()));
}

#[test]
fn the_record_of_the_newer_fetch_is_the_newer_record() {
    let record = |started, version| Record { started, version, ..full() };
    assert!(record(3, 9).is_older_than(&record(4, 8)) && record(4, 7).is_older_than(&record(4, 8)));
    assert!(!record(4, 8).is_older_than(&record(4, 8)) && !record(5, 1).is_older_than(&record(4, 8)));
}

#[test]
fn whatever_changes_the_keys_changes_the_fingerprint() {
    let none = BTreeSet::new();
    let known = full().keys_fingerprint(&none);
    let changes: [fn(&mut Record); 4] = [
        |record| record.document.as_mut().unwrap().body = b"{ }"[..].into(),
        |record| record.document = None,
        |record| record.retired[0].gone_at = UnixTime::default(),
        |record| record.former.clear(),
    ];
    for change in changes {
        let mut record = full();
        change(&mut record);
        assert_ne!(record.keys_fingerprint(&none), known);
    }
    assert_ne!(full().keys_fingerprint(&["a".to_owned()].into()), known);
    assert_eq!(Record { version: 8, finished: 4, ..full() }.keys_fingerprint(&none), known);
}

#[test]
fn what_paces_fetches_moves_along_with_a_worker_that_knows_more_of_the_clock() {
    let at = UnixTime::from_millis;
    let ahead = |millis| RecordClock::default().stepped_back(at(millis), at(0));
    let (taken, began) = (|record: &Record| record.lease.unwrap().taken_at, |record: &Record| record.unknown_kid_at);
    for (knows, now) in [(ahead(3), at(7)), (ahead(0), at(7)), (ahead(53), at(6))] {
        assert_eq!(
            full().caught_up(&Record::default(), knows, now),
            full(),
            "the writer knew as much, or the clock stepped back since"
        );
    }
    let caught_up = full().caught_up(&Record::default(), ahead(53), at(7));
    assert_eq!((taken(&caught_up), began(&caught_up), caught_up.written_at), (at(60), Some(at(55)), at(60)));
    assert_eq!((caught_up.document.clone(), caught_up.retired.clone()), (full().document, full().retired));
    assert!(caught_up.is_plausible(at(7)));
    assert_eq!(caught_up.clone().caught_up(&Record::default(), ahead(53), at(8)), caught_up);
    // The worker knew the record before its clock stepped back by 50 ms.
    let known = Record { ahead: Duration::from_millis(53), ..full() };
    assert_eq!(full().caught_up(&known, ahead(53), at(7)), known);
}
