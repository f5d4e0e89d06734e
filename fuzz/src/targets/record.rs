//! The shared record of a key set. The first eight bytes are the time, in milliseconds.

use std::{collections::BTreeSet, time::Duration};

use jwks_gate::{
    keys::revoked::FormerName,
    rotation::{
        http_cache::{Freshness, Validators},
        lease::Lease,
        record::{CachedJwks, Record},
        retired::RetiredKey,
    },
    time::UnixTime,
};

use super::jwk;

pub(super) const NOW: u64 = 1_700_000_000_000;

pub fn seeds() -> Vec<Vec<u8>> {
    records().iter().map(|record| [&NOW.to_le_bytes()[..], &record.encode()].concat()).collect()
}

/// Records such as a worker writes.
pub(super) fn records() -> Vec<Record> {
    let at = |seconds: u64| UnixTime::from_millis(NOW).minus(Duration::from_secs(seconds));
    let freshness = Freshness { lifetime: Some(Duration::from_secs(300)), ..Freshness::default() };
    let empty = Record { version: 1, written_at: at(0), ..Record::default() };
    let fetching = Record {
        started: 1,
        lease: Some(Lease { taken_at: at(1), until: at(0).plus(Duration::from_secs(5)) }),
        unknown_kid_at: Some(at(1)),
        written_at: at(1),
        ..empty.clone()
    };
    let document = CachedJwks {
        fetch: 1,
        generation: 1,
        rotated_at: at(100),
        fetched_at: at(10),
        freshness,
        location: "https://issuer.test/jwks.json".into(),
        validators: Validators { etag: Some("\"a\"".into()), last_modified: None },
        body: format!(r#"{{"keys":[{}]}}"#, jwk::KEYS[1..4].join(",")).into_bytes().into(),
        ..CachedJwks::default()
    };
    let retired =
        RetiredKey { gone_at: at(20), unconfirmed_for: Duration::from_secs(5), freshness, jwk: jwk::KEYS[1].into() };
    let fetched = Record {
        version: 7,
        started: 3,
        finished: 3,
        failures: 1,
        failed_at: at(3),
        pause: Duration::from_secs(2),
        has_had_jwks: true,
        document: Some(document),
        retired: vec![retired],
        former: vec![FormerName { kid: [1; 16], thumbprint: [2; 16] }],
        ..empty.clone()
    };
    vec![empty, fetching, fetched]
}

pub fn run(data: &[u8]) {
    let Some((time, bytes)) = data.split_first_chunk() else { return };
    let now = UnixTime::from_millis(u64::from_le_bytes(*time));
    let Some(record) = Record::decode(bytes) else {
        assert_eq!(Record::read(bytes, now), None);
        return;
    };
    // What is read is what is written, and nothing in the bytes is read past.
    let written = record.encode();
    assert_eq!(Record::decode(&written), Some(record.clone()));
    assert!(written.len() <= bytes.len(), "bytes of no meaning");
    for cut in [0, 1, 8, written.len() / 2, written.len() - 1] {
        assert_eq!(Record::decode(&written[..cut]), None, "cut at {cut} of {}", written.len());
    }
    assert_eq!(Record::decode(&[&written[..], &[0]].concat()), None, "more bytes");

    assert_eq!(Record::read(bytes, now).is_some(), record.is_plausible(now));
    if let Some(document) = &record.document {
        let Validators { etag, last_modified } = &document.validators;
        let texts = [Some(&document.location), etag.as_ref(), last_modified.as_ref()].into_iter().flatten();
        assert!(
            texts.into_iter().all(|text| text.bytes().all(|byte| (0x20..0x7f).contains(&byte))),
            "sent to the issuer"
        );
        assert_eq!(document.fingerprint(), document.clone().fingerprint());
    }
    if record.is_plausible(now) {
        // A record that this plugin can have written leaves room for the next number, and never ends fetching.
        assert!(record.version < u64::MAX && record.started < u64::MAX && record.finished < u64::MAX);
        let day = Duration::from_secs(86_400);
        assert!(record.retry_at() <= record.written_at.plus(day) && !record.is_fetching(record.written_at.plus(day)));
    }
    let none = BTreeSet::new();
    let outline = record.outline(Duration::ZERO);
    assert_eq!((outline.version, outline.started, outline.retired.len()), (record.version, record.started, 0));
    assert_eq!(record.keys_fingerprint(&none), Record::decode(&written).expect("a record").keys_fingerprint(&none));
    assert!(!record.is_older_than(&record) && record.decision_fingerprint() == outline.decision_fingerprint());
}
