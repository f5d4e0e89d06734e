//! What the headers of a response state about its lifetime (RFC 9111 §4.2, RFC 5861 §4), and what makes the next request
//! conditional (RFC 9110 §13.1).
//!
//! `s-maxage` is ignored: the directive is for shared caches, and the filter answers nobody. `no-store` and `no-cache` state a
//! lifetime of zero, as `max-age=0` does. Nobody can verify without keeping keys: `no_cache_ttl` takes the place of zero. `must-revalidate`
//! does not shorten `max_stale`, against RFC 9111 §5.2.2.2: large issuers send the directive with every JWKS, and `max_stale`
//! already states what an outage of the issuer may cost.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::UnixTime;

/// Names in lower case, and any bytes that the issuer sent.
pub type Headers = [(String, Vec<u8>)];

/// The lifetime that an issuer states, and how much of it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The whole lifetime. `None`: the issuer states none. Zero: the issuer forbids to keep the JWKS.
    pub lifetime: Option<Duration>,
    /// How much of the lifetime was over on arrival (RFC 9111 §4.2.3).
    pub age: Duration,
    /// How long past the lifetime a cache may use the response while the issuer fails.
    pub stale_if_error: Option<Duration>,
}

/// What makes the next request conditional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// For `If-None-Match`.
    pub etag: Option<String>,
    /// For `If-Modified-Since`. A weak date is dropped.
    pub last_modified: Option<String>,
}

/// Longer validators are not kept.
pub const MAX_VALIDATOR_BYTES: usize = 256;
/// See RFC 9110 §8.8.2.2; the minute leaves room for clocks that differ.
const MODIFIED_LONG_AGO: Duration = Duration::from_secs(60);
/// The largest number of seconds; larger numbers count as this number (RFC 9111 §1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// Reads the lifetime. Where directives contradict each other, the shortest counts (RFC 9111 §4.2.1).
pub fn freshness(headers: &Headers, now: UnixTime) -> Freshness {
    let directives: Vec<_> = all(headers, "cache-control").flat_map(directives).collect();
    let seconds = |name: &str| {
        let values = directives.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        // A number that cannot be read counts as zero.
        values.map(|(_, value)| delta_seconds(value).unwrap_or_default()).min()
    };
    let is_set = |name: &str| directives.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let date = first(headers, "date").and_then(http_date);
    let expires = first(headers, "expires")
        .map(|value| http_date(value).map_or(Duration::ZERO, |expires| expires.since(date.unwrap_or(now))));
    let stated =
        if is_set("no-store") || is_set("no-cache") { Some(Duration::ZERO) } else { seconds("max-age").or(expires) };
    // Of several ages, the first counts (RFC 9111 §5.1).
    let age = first(headers, "age").and_then(|list| list.split(|byte| *byte == b',').next());
    let age = age.and_then(|age| delta_seconds(age.trim_ascii())).unwrap_or_default();
    let apparent_age = date.map_or(Duration::ZERO, |date| now.since(date));
    Freshness {
        // In whole seconds, as all headers state.
        lifetime: stated.map(|lifetime| Duration::from_secs(lifetime.as_secs())),
        age: age.max(apparent_age),
        stale_if_error: seconds("stale-if-error"),
    }
}

/// Reads the validators.
pub fn validators(headers: &Headers) -> Validators {
    let text = |name| {
        let value = first(headers, name)?;
        let plain = value.len() <= MAX_VALIDATOR_BYTES && value.iter().all(|byte| matches!(byte, 0x20..=0x7e));
        plain.then(|| String::from_utf8(value.to_vec()).ok()).flatten().filter(|text| !text.is_empty())
    };
    // A date is strong only if it is clearly older than the response: a change within the same second goes unnoticed.
    let date = |name| first(headers, name).and_then(http_date);
    let is_strong = date("date")
        .zip(date("last-modified"))
        .is_some_and(|(date, modified)| date.since(modified) >= MODIFIED_LONG_AGO);
    Validators { etag: text("etag"), last_modified: text("last-modified").filter(|_| is_strong) }
}

/// The pause that the issuer asks for (RFC 9110 §10.2.3).
pub fn retry_after(headers: &Headers, now: UnixTime) -> Option<Duration> {
    let value = first(headers, "retry-after")?;
    delta_seconds(value).or_else(|| http_date(value).map(|until| until.since(now)))
}

fn all<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_ascii())
}

fn first<'a>(headers: &'a Headers, name: &'a str) -> Option<&'a [u8]> {
    all(headers, name).next()
}

/// The directives of one `Cache-Control` line: name and value, which may be quoted.
fn directives(line: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    let mut quoted = false;
    let parts = line.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    parts.map(|part| {
        let mut halves = part.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(halves.next().unwrap_or_default().trim_ascii()).into_owned();
        let value = halves.next().unwrap_or_default().trim_ascii();
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        (name, unquoted.unwrap_or(value))
    })
}

fn delta_seconds(value: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(value).ok().filter(|text| !text.is_empty())?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(digits.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS)))
}

fn http_date(value: &[u8]) -> Option<UnixTime> {
    let time: SystemTime = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::default().plus(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example.
    const NOW: UnixTime = UnixTime::from_millis(784_111_777_000);

    fn headers(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn lifetime(list: &[(&str, &str)]) -> Option<u64> {
        let Freshness { lifetime, age, .. } = freshness(&headers(list), NOW);
        lifetime.map(|lifetime| lifetime.saturating_sub(age).as_secs())
    }

    #[test]
    fn max_age_counts_before_expires_and_s_maxage_not_at_all() {
        let expires = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        let cases = [
            (vec![], None),
            (vec![("cache-control", "public, must-revalidate")], None),
            (vec![("cache-control", "max-age=300")], Some(300)),
            (vec![("Cache-Control", "public, Max-Age = 300 , must-revalidate")], Some(300)),
            (vec![("cache-control", "max-age=\"300\"")], Some(300)),
            (vec![("cache-control", "s-maxage=900"), expires], Some(3600)),
            (vec![("cache-control", "max-age=300, s-maxage=900"), expires], Some(300)),
            (vec![expires], Some(3600)),
            (vec![expires, ("date", "Sun, 06 Nov 1994 08:39:37 GMT")], Some(3600)),
            (vec![("expires", "Sunday, 06-Nov-94 08:49:47 GMT")], Some(10)),
            (vec![("expires", "Sun Nov  6 08:49:47 1994")], Some(10)),
            (vec![("expires", "0")], Some(0)),
            (vec![("expires", "Sun, 06 Nov 1994 07:49:37 GMT")], Some(0)),
        ];
        for (list, expected) in cases {
            assert_eq!(lifetime(&list), expected, "{list:?}");
        }
    }

    #[test]
    fn what_must_not_be_kept_or_cannot_be_read_has_no_lifetime_left() {
        for value in
            ["no-store", "max-age=300, no-cache", "no-cache=\"a, b\", max-age=5", "max-age=x", "max-age=", "max-age"]
        {
            assert_eq!(lifetime(&[("cache-control", value)]), Some(0), "{value}");
        }
        assert_eq!(lifetime(&[("cache-control", "private=\"max-age=1, no-store\", max-age=5")]), Some(5));
        assert_eq!(lifetime(&[("cache-control", "max-age=300, max-age=20")]), Some(20));
        assert_eq!(lifetime(&[("cache-control", "max-age=300"), ("cache-control", "max-age=20")]), Some(20));
        assert_eq!(lifetime(&[("cache-control", "max-age=99999999999999999999999")]), Some(MAX_SECONDS));
    }

    /// The headers that widespread issuers send with every JWKS.
    #[test]
    fn the_headers_of_issuers_that_forbid_caching_state_zero() {
        let spring = [
            ("cache-control", "no-cache, no-store, max-age=0, must-revalidate"),
            ("pragma", "no-cache"),
            ("expires", "0"),
        ];
        let rails = [("cache-control", "max-age=0, private, must-revalidate"), ("etag", "W/\"1\"")];
        let keycloak = [("cache-control", "no-cache")];
        let past = [("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("expires", "Thu, 01 Jan 1970 00:00:00 GMT")];
        for list in [&spring[..], &rails, &keycloak, &past] {
            assert_eq!(freshness(&headers(list), NOW).lifetime, Some(Duration::ZERO), "{list:?}");
        }
        let auth0 = [("cache-control", "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400")];
        assert_eq!(lifetime(&auth0), Some(15));
        // A whole lifetime that is over on arrival is no such statement.
        let old = [("cache-control", "max-age=300"), ("age", "1000")];
        assert_eq!(freshness(&headers(&old), NOW).lifetime, Some(Duration::from_secs(300)));
    }

    #[test]
    fn time_spent_on_the_way_is_used_up() {
        let fresh = ("cache-control", "max-age=300");
        assert_eq!(lifetime(&[fresh, ("age", "100")]), Some(200));
        assert_eq!(lifetime(&[fresh, ("age", "1000")]), Some(0));
        assert_eq!(lifetime(&[fresh, ("age", "-1")]), Some(300));
        assert_eq!(lifetime(&[fresh, ("age", "100, 200")]), Some(200));
        assert_eq!(lifetime(&[fresh, ("age", "100"), ("age", "200")]), Some(200));
        assert_eq!(lifetime(&[fresh, ("date", "Sun, 06 Nov 1994 08:48:37 GMT")]), Some(240));
        assert_eq!(lifetime(&[fresh, ("date", "Sun, 06 Nov 1994 09:48:37 GMT")]), Some(300));
        assert_eq!(lifetime(&[fresh, ("date", "\u{ff}")]), Some(300));
    }

    #[test]
    fn errors_may_be_bridged_for_as_long_as_is_said() {
        let list = headers(&[("cache-control", "max-age=1, stale-if-error=60")]);
        assert_eq!(freshness(&list, NOW).stale_if_error, Some(Duration::from_secs(60)));
        assert_eq!(retry_after(&headers(&[("retry-after", "7")]), NOW), Some(Duration::from_secs(7)));
        let date = headers(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]);
        assert_eq!(retry_after(&date, NOW), Some(Duration::from_secs(10)));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")]), NOW), None);
    }

    #[test]
    fn validators_are_kept_as_they_came_if_they_can_be_sent_back() {
        assert_eq!(validators(&headers(&[("etag", "W/\"a\"")])).etag.as_deref(), Some("W/\"a\""));
        for bad in ["", "a\nb", "\u{e9}", &"x".repeat(257)] {
            assert_eq!(validators(&headers(&[("etag", bad)])), Validators::default());
        }
    }

    #[test]
    fn a_date_that_is_too_young_validates_nothing() {
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let date = |date: &str| validators(&headers(&[modified, ("date", date)])).last_modified;
        assert_eq!(date("Sun, 06 Nov 1994 08:50:37 GMT").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        for late in ["Sun, 06 Nov 1994 08:50:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", "x"] {
            assert_eq!(date(late), None, "{late}");
        }
        assert_eq!(validators(&headers(&[modified])).last_modified, None);
    }
}
