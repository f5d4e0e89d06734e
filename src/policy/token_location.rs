//! Where tokens are looked for, as Envoy's `jwt_authn` does (`source/extensions/filters/http/jwt_authn/extractor.cc`).

use std::{borrow::Cow, fmt};

use super::{
    headers::Headers,
    query::{self, Parameter},
};

/// A place that may carry a token. They are tried the other way round than they sort.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A header.
    Header {
        /// Its name, lower-case.
        name: String,
        /// What stands before the token. A value without it carries none.
        prefix: String,
    },
    /// A parameter of the query.
    Param(String),
    /// A cookie.
    Cookie(String),
}

impl Source {
    /// Where nothing else is configured: `Authorization: Bearer <token>` (RFC 6750 §2.1), and `?access_token=` (§2.3).
    pub fn defaults() -> Vec<Self> {
        vec![
            Self::Header { name: "authorization".into(), prefix: "Bearer ".into() },
            Self::Param("access_token".into()),
        ]
    }

    /// The tokens here. Each must be good: which one the upstream reads is not known.
    ///
    /// Envoy joins repeated `Authorization` headers with a comma; such a value is one token and fails as malformed.
    pub fn tokens<'h>(&self, headers: Headers<'h>) -> Vec<Cow<'h, [u8]>> {
        match self {
            Self::Header { name, prefix } => {
                headers.all(name).filter_map(|value| Some(Cow::Borrowed(after(prefix.as_bytes(), value)?))).collect()
            }
            Self::Param(name) => query::parameters(headers.query())
                .filter(|parameter| parameter.is(name))
                .map(Parameter::value)
                .collect(),
            Self::Cookie(name) => {
                let cookies = headers.all("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
                cookies.filter_map(|cookie| Some(Cow::Borrowed(cookie_value(name.as_bytes(), cookie)?))).collect()
            }
        }
    }
}

/// What follows the prefix, wherever that is, from the first byte that a token may begin with; all of it if none may.
fn after<'v>(prefix: &[u8], value: &'v [u8]) -> Option<&'v [u8]> {
    if prefix.is_empty() {
        return Some(value);
    }
    let at = value.windows(prefix.len()).position(|window| window == prefix)?;
    let rest = value.get(at.saturating_add(prefix.len())..).unwrap_or_default();
    let is_of_tokens = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match rest.iter().position(is_of_tokens) {
        Some(start) => rest.get(start..),
        None => Some(value),
    }
}

fn cookie_value<'c>(name: &[u8], cookie: &'c [u8]) -> Option<&'c [u8]> {
    let value = cookie.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?.trim_ascii_start();
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// A token that a request carries; nothing is known about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its bytes.
    pub token: Vec<u8>,
    /// Where it was found.
    pub source: Source,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({} bytes)", self.token.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(source: &Source, list: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
        let list: Vec<_> = list.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        source.tokens(Headers::new(&list)).into_iter().map(Cow::into_owned).collect()
    }

    fn header(name: &str, prefix: &str) -> Source {
        Source::Header { name: name.into(), prefix: prefix.into() }
    }

    #[test]
    fn tokens_in_headers_follow_their_prefix() {
        let bearer = header("authorization", "Bearer ");
        assert_eq!(find(&bearer, &[("authorization", b"Bearer abc"), ("x-jwt", b"no")]), [b"abc"]);
        assert_eq!(find(&bearer, &[("authorization", b"Bearer   abc")]), [b"abc"]);
        assert_eq!(find(&bearer, &[("authorization", b"Basic abc")]), [b""; 0]);
        assert_eq!(find(&bearer, &[("authorization", b"Bearer a,Bearer b")]), [b"a,Bearer b"]);
        assert_eq!(find(&bearer, &[("authorization", b"Bearer \xff")]), [b"Bearer \xff"]);
        assert_eq!(find(&header("x-jwt", ""), &[("x-jwt", b"a"), ("X-JWT", b"\xff")]), [b"a", b"\xff"]);
        assert_eq!(find(&header("x", "jwt="), &[("x", b"v=1; jwt=a.b.c")]), [b"a.b.c"]);
    }

    #[test]
    fn tokens_in_queries_may_be_encoded_and_come_more_than_once() {
        let param = Source::Param("t".into());
        assert_eq!(find(&param, &[(":path", b"/?x=t&t=a%2eb&%74=c&tt=d&t")]), [&b"a.b"[..], b"c", b""]);
        assert_eq!(find(&param, &[(":path", b"/t=a")]), [b""; 0]);
    }

    #[test]
    fn tokens_in_cookies_are_found_in_each_header() {
        let cookie = Source::Cookie("t".into());
        let cookies: [(&str, &[u8]); 2] = [("cookie", b"a=1; t=x;tt=2"), ("cookie", b" t=\"y\"; t; =t")];
        assert_eq!(find(&cookie, &cookies), [b"x", b"y"]);
    }
}
