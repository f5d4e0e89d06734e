//! Where a request may carry a token, as Envoy's `jwt_authn` looks for tokens
//! (`source/extensions/filters/http/jwt_authn/extractor.cc`).

use std::{borrow::Cow, cell::OnceCell, fmt, rc::Rc};

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};

use super::{
    headers::Headers,
    query::{self, Parameter},
};
use crate::{
    bytes,
    token::{jws::Jws, TokenError},
};

/// A location that may carry a token. Locations are tried in reverse sort order, as Envoy does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenLocation {
    /// A header. `name` is in lower case. The token follows `prefix`; a value without the prefix carries no token.
    Header { name: String, prefix: String },
    /// A query parameter.
    Param(String),
    /// A cookie.
    Cookie(String),
}

impl TokenLocation {
    /// The locations of a provider that configures none: `Authorization: Bearer <token>` (RFC 6750 §2.1) and
    /// `?access_token=<token>` (§2.3).
    pub fn defaults() -> Vec<Self> {
        vec![
            Self::Header { name: "authorization".into(), prefix: "Bearer ".into() },
            Self::Param("access_token".into()),
        ]
    }

    /// The header of this location, if this is a header.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::Param(_) | Self::Cookie(_) => None,
        }
    }

    /// Whether this location is the `Authorization` header with the scheme `Bearer`.
    fn is_bearer(&self) -> bool {
        match self {
            Self::Header { name, prefix } => {
                name == "authorization" && prefix.trim_end().eq_ignore_ascii_case("bearer")
            }
            Self::Param(_) | Self::Cookie(_) => false,
        }
    }

    /// The tokens at this location. All of them must be good, since the upstream may read any.
    ///
    /// Envoy joins repeated `Authorization` headers with a comma. Such a value is one token and fails as malformed.
    pub fn tokens<'h>(&self, headers: Headers<'h>) -> Vec<Cow<'h, [u8]>> {
        match self {
            Self::Header { name, prefix } if self.is_bearer() => {
                headers.all(name).filter_map(|value| bearer(value, prefix)).map(Cow::Borrowed).collect()
            }
            Self::Header { name, prefix } => {
                headers.all(name).filter_map(|value| Some(Cow::Borrowed(after(prefix.as_bytes(), value)?))).collect()
            }
            Self::Param(name) => query::parameters(headers.query())
                .filter(|parameter| parameter.is(name))
                .map(Parameter::value)
                .collect(),
            Self::Cookie(name) => {
                let cookies = headers.all("cookie").flat_map(|value| bytes::split(value, b';'));
                cookies.filter_map(|cookie| Some(Cow::Borrowed(cookie_value(name.as_bytes(), cookie)?))).collect()
            }
        }
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1). The scheme stands at the start of the value, in any case
/// (RFC 9110 §11.1); what follows the spaces is the token, whole. Where the scheme stands elsewhere, or before a byte that an
/// upstream may read as a space, the whole value counts as a token, which is malformed: an upstream may find a token there.
/// `None`: the value has another scheme, or no token.
fn bearer<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (value, scheme) = (value.trim_ascii(), scheme.trim_end().as_bytes());
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let token = rest.trim_ascii_start();
    if start.eq_ignore_ascii_case(scheme) && token.len() < rest.len() {
        return (!token.is_empty()).then_some(token);
    }
    let separates = |byte: &u8| byte.is_ascii_whitespace() || !byte.is_ascii();
    let is_scheme = |window: &[u8]| match window.split_at_checked(scheme.len()) {
        Some((name, after)) => name.eq_ignore_ascii_case(scheme) && after.iter().all(separates),
        None => false,
    };
    value.windows(scheme.len().saturating_add(1)).any(is_scheme).then_some(value)
}

/// The part of a header value from the first byte after the prefix that a token may begin with; the whole value if there is no
/// such byte. The prefix may stand anywhere in the value.
fn after<'v>(prefix: &[u8], value: &'v [u8]) -> Option<&'v [u8]> {
    if prefix.is_empty() {
        return Some(value);
    }
    let at = value.windows(prefix.len()).position(|window| window == prefix)?;
    let rest = value.get(at.saturating_add(prefix.len())..).unwrap_or_default();
    let may_begin_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match rest.iter().position(may_begin_token) {
        Some(start) => rest.get(start..),
        None => Some(value),
    }
}

fn cookie_value<'c>(name: &[u8], cookie: &'c [u8]) -> Option<&'c [u8]> {
    let value = cookie.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?.trim_ascii_start();
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// A token that a request carries. Nothing is known about the token before it is verified.
pub struct Candidate {
    location: TokenLocation,
    token: Rc<[u8]>,
    max_bytes: usize,
    /// Parsed at the first use: a token that was verified before is not parsed again.
    jws: OnceCell<Result<Jws, TokenError>>,
}

impl Candidate {
    /// A token found at this location. A token of more than `max_bytes` is denied unread.
    pub fn new(location: TokenLocation, token: &[u8], max_bytes: usize) -> Self {
        Self { location, token: token.into(), max_bytes, jws: OnceCell::new() }
    }

    pub fn location(&self) -> &TokenLocation {
        &self.location
    }

    pub fn token(&self) -> &[u8] {
        &self.token
    }

    /// The parsed token.
    ///
    /// # Errors
    /// The token cannot be parsed.
    pub fn jws(&self) -> Result<&Jws, TokenError> {
        let parsed = self.jws.get_or_init(|| match self.token.len() {
            length if length > self.max_bytes => Err(TokenError::TooLarge),
            _ => Jws::parse(self.token.clone()),
        });
        parsed.as_ref().map_err(|error| *error)
    }

    /// Forgets the parsed token, which is several times larger than the token itself.
    pub fn forget_parsed(&mut self) {
        self.jws.take();
    }

    #[cfg(test)]
    pub(crate) fn is_parsed(&self) -> bool {
        self.jws.get().is_some()
    }

    /// The decoded payload; parsed or not, verified or not.
    pub fn payload(&self) -> Option<Cow<'_, [u8]>> {
        if let Some(Ok(jws)) = self.jws.get() {
            return Some(Cow::Borrowed(&jws.payload));
        }
        let section = bytes::split(&self.token, b'.').nth(1)?;
        URL_SAFE_NO_PAD.decode(section).ok().map(Cow::Owned)
    }

    /// The `kid` that the token names.
    pub fn kid(&self) -> Option<&str> {
        self.jws().ok()?.kid.as_deref()
    }

    /// The issuer that the token names.
    ///
    /// # Errors
    /// The token, or its payload, cannot be parsed.
    pub fn issuer(&self) -> Result<Option<&str>, TokenError> {
        Ok(self.jws()?.claims()?.issuer())
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({} bytes)", self.token.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_above_the_limit_is_not_parsed() {
        let candidate = |length| Candidate::new(TokenLocation::Param("t".into()), &vec![b'a'; length], 100);
        assert_eq!(candidate(101).jws().unwrap_err(), TokenError::TooLarge);
        assert_eq!(candidate(100).jws().unwrap_err(), TokenError::Malformed);
    }

    fn find(location: &TokenLocation, list: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
        location.tokens(Headers::new(list)).into_iter().map(Cow::into_owned).collect()
    }

    fn header(name: &str, prefix: &str) -> TokenLocation {
        TokenLocation::Header { name: name.into(), prefix: prefix.into() }
    }

    #[test]
    fn tokens_in_headers_follow_their_prefix() {
        let bearer = header("authorization", "Bearer ");
        assert_eq!(find(&bearer, &[("authorization", b"Bearer abc"), ("x-jwt", b"no")]), [b"abc"]);
        assert_eq!(find(&bearer, &[("authorization", b"Bearer   abc")]), [b"abc"]);
        assert_eq!(find(&bearer, &[("authorization", b"Basic abc")]), [b""; 0]);
        assert_eq!(find(&bearer, &[("authorization", b"Bearer a,Bearer b")]), [b"a,Bearer b"]);
        assert_eq!(find(&bearer, &[("authorization", b"Bearer \xff")]), [b"\xff"]);
        assert_eq!(find(&header("x-jwt", ""), &[("x-jwt", b"a"), ("X-JWT", b"\xff")]), [b"a", b"\xff"]);
        assert_eq!(find(&header("x", "jwt="), &[("x", b"v=1; jwt=a.b.c")]), [b"a.b.c"]);
    }

    #[test]
    fn the_bearer_scheme_stands_at_the_start_in_any_case_and_nothing_else_on_the_line() {
        let bearer = header("authorization", "Bearer ");
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c", " Bearer\ta.b.c "] {
            assert_eq!(find(&bearer, &[("authorization", value.as_bytes())]), [b"a.b.c"], "{value}");
        }
        for value in ["Bearera", "Bearer", "Bearer  ", "Bea", "", "Basic x"] {
            assert_eq!(find(&bearer, &[("authorization", value.as_bytes())]), [b""; 0], "{value}");
        }
        // An upstream may find a token here, so the value is no missing token.
        for value in ["XBearer a", "Basic x, bearer a", ",Bearer a", "Bearer\u{a0}a"] {
            assert_eq!(find(&bearer, &[("authorization", value.as_bytes())]), [value.as_bytes()], "{value}");
        }
        // Whatever follows the scheme is the token, and is no token to the parser.
        for token in ["\u{feff}a.b.c", "\u{200b}a", "=a", "a b", "a,Bearer b"] {
            let value = format!("Bearer {token}");
            assert_eq!(find(&bearer, &[("authorization", value.as_bytes())]), [token.as_bytes()], "{token}");
        }
    }

    #[test]
    fn tokens_in_queries_may_be_encoded_and_come_more_than_once() {
        let param = TokenLocation::Param("t".into());
        assert_eq!(find(&param, &[(":path", b"/?x=t&t=a%2eb&%74=c&tt=d&t")]), [&b"a.b"[..], b"c", b""]);
        assert_eq!(find(&param, &[(":path", b"/t=a")]), [b""; 0]);
    }

    #[test]
    fn tokens_in_cookies_are_found_in_each_header() {
        let cookie = TokenLocation::Cookie("t".into());
        let cookies: [(&str, &[u8]); 2] = [("cookie", b"a=1; t=x;tt=2"), ("cookie", b" t=\"y\"; t; =t")];
        assert_eq!(find(&cookie, &cookies), [b"x", b"y"]);
    }
}
