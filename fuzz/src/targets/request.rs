//! Where a request carries tokens: headers, query and cookies. The first line is the `:path`; each further line is a header.

use jwks_gate::{
    engine::Headers,
    policy::{
        query,
        token_location::{Candidate, TokenLocation},
    },
};

use super::texts;

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "/a?t=x&access_token=a.b.c#f\nauthorization: Bearer a.b.c\ncookie: t=a.b.c; u=\"v\"",
        "/?%74=a%2eb&t=+%zz&t\nauthorization: bearer  a.b.c\nauthorization: Basic Bearer\nx: v=1; jwt=a.b.c",
        "/\nauthorization: ,Bearer a\nx: jwt=\ncookie: t=\"\"\ncookie: t = x;t=",
        "*\nAuthorization: BEARER\ta\nx: jwt=jwt=a",
    ])
}

pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let header = |line: &[u8]| {
        let (name, value) = split(line, b':')?;
        Some((std::str::from_utf8(name).ok()?.to_ascii_lowercase(), value.trim_ascii_start().to_vec()))
    };
    let headers: Vec<(String, Vec<u8>)> = lines.filter_map(header).collect();
    let list = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let list: Vec<_> = [(":path", target)].into_iter().chain(list).collect();
    let headers = Headers::new(&list);
    assert!(target.starts_with(headers.path()) && target.ends_with(headers.query()));
    check_bearer(headers);
    check_prefixed(headers);
    check_query(headers, target);
    check_cookies(headers);
}

fn split(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// RFC 6750 §2.1: a scheme in any case, blanks, and the token to the end. Nothing that may be read so is overlooked.
fn check_bearer(headers: Headers<'_>) {
    let bearer = TokenLocation::Header { name: "authorization".into(), prefix: "Bearer ".into() };
    let found = bearer.tokens(headers);
    assert!(found.len() <= headers.all("authorization").count());
    let expected = headers.all("authorization").filter_map(|value| {
        let value = value.trim_ascii();
        let (scheme, token) = value.split_at_checked(6)?;
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && token.first().is_some_and(u8::is_ascii_whitespace);
        is_bearer.then(|| token.trim_ascii_start()).filter(|token| !token.is_empty())
    });
    for token in expected {
        assert!(found.iter().any(|found| **found == *token), "{token:?} is overlooked");
    }
    for value in headers.all("authorization") {
        let value = value.trim_ascii();
        let is_suspect = value.to_ascii_lowercase().windows(7).any(|window| window == b"bearer ");
        assert!(!is_suspect || found.iter().any(|found| value.ends_with(found)), "{value:?} is overlooked");
    }
    found.iter().for_each(|token| check_candidate(&bearer, token));
}

fn check_prefixed(headers: Headers<'_>) {
    let whole = TokenLocation::Header { name: "x".into(), prefix: String::new() };
    let prefixed = TokenLocation::Header { name: "x".into(), prefix: "jwt=".into() };
    assert!(whole.tokens(headers).iter().map(AsRef::as_ref).eq(headers.all("x")));
    let has_prefix = |value: &&[u8]| value.windows(4).any(|window| window == b"jwt=");
    let with_prefix: Vec<_> = headers.all("x").filter(has_prefix).collect();
    let tokens = prefixed.tokens(headers);
    assert_eq!(tokens.len(), with_prefix.len(), "a value with the prefix carries one token");
    assert!(tokens.iter().zip(with_prefix).all(|(token, value)| value.ends_with(token)));
}

fn check_query(headers: Headers<'_>, target: &[u8]) {
    let location = TokenLocation::Param("t".into());
    let named = query::parameters(headers.query()).filter(|parameter| parameter.is("t"));
    assert_eq!(location.tokens(headers).len(), named.count());
    let without = query::without(target, &["t"]);
    let list = [(":path", without.as_slice())];
    let left = Headers::new(&list);
    assert!(location.tokens(left).is_empty(), "the token is still in the query");
    assert_eq!(query::without(&without, &["t"]), without);
    let others = |query| -> Vec<_> {
        let others = query::parameters(query).filter(|parameter| !parameter.is("t"));
        others.map(|parameter| parameter.raw()).map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    assert_eq!(others(left.query()), others(headers.query()), "another parameter has changed");
    assert!(without.len() <= target.len() && query::without(target, &[]).len() <= target.len());
}

fn check_cookies(headers: Headers<'_>) {
    let location = TokenLocation::Cookie("t".into());
    let cookies = headers.all("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    let named = cookies.filter(|cookie| cookie.trim_ascii().starts_with(b"t="));
    let tokens = location.tokens(headers);
    assert_eq!(tokens.len(), named.count());
    assert!(tokens.iter().all(|token| !token.contains(&b';')));
    tokens.iter().for_each(|token| check_candidate(&location, token));
}

fn check_candidate(location: &TokenLocation, token: &[u8]) {
    let candidate = Candidate::new(location.clone(), token, 64);
    assert!(token.len() <= 64 || candidate.jws().is_err(), "longer than the limit");
    let payload = candidate.payload().map(|payload| payload.into_owned());
    if let Ok(jws) = candidate.jws() {
        assert_eq!(payload.as_deref(), Some(jws.payload.as_slice()), "parsed or not");
    }
}
