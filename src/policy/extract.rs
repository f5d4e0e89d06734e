//! Where a provider looks for tokens.

use std::fmt;

use super::headers::Headers;

/// A header that may carry a token: Envoy's `JwtHeader`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The header's name, lower-case.
    pub header: String,
    /// What stands before the token. A value without it carries none.
    pub prefix: String,
}

impl Source {
    /// `Authorization: Bearer <token>` (RFC 6750 §2.1), where nothing else is configured.
    pub fn bearer() -> Self {
        Self { header: "authorization".into(), prefix: "Bearer ".into() }
    }
}

/// A token that a request carries; nothing is known about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    token: Vec<u8>,
    source: usize,
}

impl Candidate {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.token
    }

    /// Where it was found: a place in the provider's sources.
    pub fn source(&self) -> usize {
        self.source
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({} bytes)", self.token.len())
    }
}

/// Every token in these places. All of them must be good: which one the upstream reads is not known here.
///
/// Envoy joins repeated `Authorization` headers with a comma; such a value is one candidate and fails as malformed.
pub fn candidates(sources: &[Source], headers: Headers<'_>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (place, source) in sources.iter().enumerate() {
        for value in headers.all(&source.header) {
            if let Some(token) = value.strip_prefix(source.prefix.as_bytes()) {
                found.push(Candidate { token: token.trim_ascii().to_vec(), source: place });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(sources: &[Source], list: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
        let list: Vec<_> = list.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        candidates(sources, Headers::new(&list)).into_iter().map(|c| c.token).collect()
    }

    #[test]
    fn finds_each_token_and_nothing_else() {
        let custom = Source { header: "x-jwt".into(), prefix: String::new() };
        assert_eq!(find(&[Source::bearer()], &[("authorization", b"Bearer abc"), ("x-jwt", b"no")]), [b"abc"]);
        assert_eq!(find(&[Source::bearer()], &[("authorization", b"Basic abc")]), [b""; 0]);
        assert_eq!(find(&[custom], &[("x-jwt", b"a"), ("X-JWT", b"\xff")]), [b"a", b"\xff"]);
        assert_eq!(find(&[Source::bearer()], &[("authorization", b"Bearer a,Bearer b")]), [b"a,Bearer b"]);
    }
}
