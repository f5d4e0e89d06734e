//! A view of a request's headers. Names are in lower case; values are any bytes that the client sent.

use std::borrow::Cow;

use memchr::memchr2;

use crate::bytes;

/// The header map of the host, with pseudo-headers.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(&'a [(&'a str, &'a [u8])]);

impl<'a> Headers<'a> {
    /// A view of this list.
    pub fn new(list: &'a [(&'a str, &'a [u8])]) -> Self {
        Self(list)
    }

    /// The names of all headers.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// Every value of this header, in order.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a, '_> {
        self.0.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The first value of this header.
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of this header, joined by commas. `None`: the header is missing.
    pub fn joined(self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut values = self.all(name);
        let first = values.next()?;
        let mut joined = Cow::Borrowed(first);
        for value in values {
            let joined = joined.to_mut();
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// Whether this is a CORS preflight, which never carries credentials.
    pub fn is_cors_preflight(self) -> bool {
        let has = |name| self.first(name).is_some_and(|value| !value.is_empty());
        self.first(":method") == Some(b"OPTIONS") && has("origin") && has("access-control-request-method")
    }

    /// The request target: path and query.
    pub fn target(self) -> &'a [u8] {
        self.first(":path").unwrap_or_default()
    }

    /// The path without query and fragment.
    pub fn path(self) -> &'a [u8] {
        let target = self.target();
        memchr2(b'?', b'#', target).and_then(|end| target.get(..end)).unwrap_or(target)
    }

    /// The query; empty if there is none.
    pub fn query(self) -> &'a [u8] {
        bytes::split_once(self.target(), b'?').map_or(&[], |(_, query)| query)
    }
}
