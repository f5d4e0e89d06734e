//! The headers of a response that carries keys, one on each line. The first line is the time in seconds.

use std::time::Duration;

use jwks_gate::{
    rotation::{
        http_cache::{freshness, retry_after, validators, Freshness, MAX_VALIDATOR_BYTES},
        record::{CachedJwks, Record},
    },
    time::UnixTime,
};

use super::texts;

type Header = (String, Vec<u8>);

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "784111777\ncache-control: max-age=300, stale-if-error=60\netag: W/\"a\"\nage: 10",
        "784111777\ncache-control: public, Max-Age=\"300\"\ncache-control: private=\"a, no-store\", s-maxage=1\nretry-after: 7",
        "784111777\nexpires: Sun, 06 Nov 1994 09:49:37 GMT\ndate: Sun, 06 Nov 1994 08:39:37 GMT",
        "784111777\nlast-modified: Sunday, 06-Nov-94 08:29:37 GMT\ndate: Sun Nov  6 08:49:37 1994\netag: \"x\"",
        "0\nexpires: 0\ncache-control: no-cache, no-store, max-age=0\nage: 1, 2\nretry-after: Sun, 06 Nov 1994 08:49:47 GMT",
        "18446744073709551615\ncache-control: max-age=99999999999999999999\nexpires: Fri, 31 Dec 9999 23:59:59 GMT",
    ])
}

pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let time = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse::<u64>().ok()).unwrap_or_default();
    let now = UnixTime::from_millis(time.saturating_mul(1000));
    let header = |line: &[u8]| {
        let end = line.iter().position(|byte| *byte == b':')?;
        Some((String::from_utf8_lossy(&line[..end]).to_ascii_lowercase(), line[end + 1..].to_vec()))
    };
    let headers: Vec<Header> = lines.filter_map(header).collect();
    check(&headers, now);
}

fn check(headers: &[Header], now: UnixTime) {
    let stated = freshness(headers, now);
    let Freshness { lifetime, stale_if_error, .. } = stated;
    assert!(lifetime.is_none_or(|lifetime| lifetime.subsec_nanos() == 0));
    assert!(stale_if_error.is_none_or(|longest| longest <= Duration::from_secs(1 << 31)));

    // No header lengthens what `max-age` states, and a prohibition counts whatever else is stated.
    let with = |value: &str| {
        let more: Vec<_> =
            headers.iter().cloned().chain([("cache-control".to_owned(), value.as_bytes().to_vec())]).collect();
        freshness(&more, now).lifetime
    };
    let is_stated = |name: &str| headers.iter().any(|(known, _)| known == name);
    assert_eq!(with("no-store"), Some(Duration::ZERO));
    assert!(with("max-age=5").is_some_and(|lifetime| lifetime <= Duration::from_secs(5)));
    assert!(is_stated("cache-control") || is_stated("expires") || lifetime.is_none());

    let kept = validators(headers);
    for text in [&kept.etag, &kept.last_modified].into_iter().flatten() {
        assert!(
            (1..=MAX_VALIDATOR_BYTES).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        );
    }
    assert!(kept.last_modified.is_none() || is_stated("date"));
    if let Some(pause) = retry_after(headers, now) {
        assert!(is_stated("retry-after") && retry_after(headers, now.plus(pause)).is_some());
    }

    // What was read of a response survives in the shared record.
    let document = CachedJwks { freshness: stated, validators: kept, ..CachedJwks::default() };
    let record = Record { document: Some(document), ..Record::default() };
    let again = Record::decode(&record.encode()).expect("a record of this plugin");
    let whole = |time: Duration| Duration::from_millis(time.as_millis() as u64);
    let age = again.document.as_ref().map(|document| document.freshness.age);
    assert_eq!((age, again.encode()), (Some(whole(stated.age)), record.encode()));
    assert_eq!(again.document.map(|document| document.validators), record.document.map(|document| document.validators));
}
