//! Why a fetch failed, in words and as one of a few causes.

use std::fmt;

use super::action::Response;
use crate::{keys::document::DocumentError, metrics::FetchCause, policy::discovery::MetadataError};

/// How many bytes of a reply of Envoy's are quoted.
const MAX_QUOTED_BYTES: usize = 200;
/// How most replies of Envoy's begin. The reason follows, and would not fit.
const PREAMBLE: &[u8] = b"upstream connect error or disconnect/reset before headers. ";

/// Why a fetch failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The host did not start the fetch: the cluster is unknown, or not ready yet.
    NotStarted,
    /// The host did not start the fetch: the cluster has no hosts.
    NoHosts,
    /// The connection broke within the response.
    Reset,
    /// Neither a 200 nor an expected 304.
    Status(u16),
    /// A 304 about a JWKS that is not the cached one any more.
    Outdated,
    /// Envoy could not reach the issuer and answered itself, with this status and this body.
    Unreachable(u16, Quoted),
    /// The response is no usable JWKS.
    Document(DocumentError),
    /// The response is no metadata document that names the JWKS.
    Metadata(MetadataError),
    /// The earlier requests of the fetch have used up its time.
    NoTimeLeft,
}

/// The beginning of a text that somebody else wrote, in printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    fn new(text: &[u8]) -> Self {
        let text = text.strip_prefix(PREAMBLE).unwrap_or(text);
        let escaped = text.iter().take(MAX_QUOTED_BYTES).flat_map(|byte| byte.escape_ascii());
        Self(escaped.map(char::from).collect())
    }
}

impl FetchError {
    /// The error of a response that is neither a 200 nor an expected 304.
    pub(super) fn of(response: &Response) -> Self {
        if is_envoys(response) {
            Self::Unreachable(response.status, Quoted::new(&response.body))
        } else {
            Self::Status(response.status)
        }
    }

    /// The cause, for a counter.
    pub(super) fn cause(&self) -> FetchCause {
        match self {
            Self::NotStarted => FetchCause::Other,
            Self::NoHosts => FetchCause::Dns,
            Self::Reset => FetchCause::Connect,
            Self::Status(_) | Self::Outdated => FetchCause::Status,
            Self::Document(DocumentError::Empty) => FetchCause::EmptySet,
            Self::Document(_) => FetchCause::Document,
            Self::Metadata(_) => FetchCause::Metadata,
            Self::Unreachable(504, _) | Self::NoTimeLeft => FetchCause::Timeout,
            Self::Unreachable(_, Quoted(text)) => cause_of(&text.to_ascii_lowercase()),
        }
    }
}

/// Whether Envoy made the response, because it cannot reach the issuer. Envoy gives its own reply a plain text and no other
/// header than these; a server sends a date at least (RFC 9110 §6.6.1).
fn is_envoys(response: &Response) -> bool {
    let is_own = |(name, value): &(String, Vec<u8>)| match name.as_str() {
        ":status" | "content-length" => true,
        "content-type" => value == b"text/plain",
        _ => false,
    };
    matches!(response.status, 503 | 504) && !response.body.is_empty() && response.headers.iter().all(is_own)
}

/// What Envoy's words for a failure mean. `text` is in lower case.
fn cause_of(text: &str) -> FetchCause {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["tls_error", "tls error", "certificate", "ssl"]) {
        FetchCause::Tls
    } else if says(&["dns"]) {
        FetchCause::Dns
    } else if says(&["timeout"]) {
        FetchCause::Timeout
    } else if says(&["no healthy upstream", "reset reason"]) && !says(&["overflow"]) {
        FetchCause::Connect
    } else {
        FetchCause::Other
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("the cluster is unknown or not ready"),
            Self::NoHosts => f.write_str("the cluster has no hosts; does its name resolve?"),
            Self::Reset => f.write_str("the connection broke within the response"),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Outdated => f.write_str("answered 304, but another JWKS is cached by now"),
            Self::Unreachable(status, Quoted(text)) => write!(f, "Envoy answered {status}: {text}"),
            Self::Document(error) => write!(f, "document rejected: {error}"),
            Self::Metadata(error) => write!(f, "metadata rejected: {error}"),
            Self::NoTimeLeft => f.write_str("not asked, since the time of the fetch was used up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        Response { status, headers: headers.iter().map(owned).collect(), body: body.to_vec() }
    }

    const OWN: [(&str, &str); 3] = [(":status", "503"), ("content-length", "9"), ("content-type", "text/plain")];

    #[test]
    fn envoys_words_tell_the_cause() {
        let preamble = std::str::from_utf8(PREAMBLE).unwrap();
        let reset = format!("{preamble}reset reason: ");
        for (status, text, cause) in [
            (503, format!("{reset}remote connection failure, transport failure reason: TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"), FetchCause::Tls),
            (503, format!("{reset}remote connection failure, transport failure reason: delayed connect error: Connection refused"), FetchCause::Connect),
            (503, format!("{reset}connection timeout"), FetchCause::Timeout),
            (503, format!("{reset}connection termination"), FetchCause::Connect),
            (503, format!("{reset}overflow"), FetchCause::Other),
            (503, "no healthy upstream".to_owned(), FetchCause::Connect),
            (503, "DNS resolution failure".to_owned(), FetchCause::Dns),
            (503, "something new".to_owned(), FetchCause::Other),
            (504, "upstream request timeout".to_owned(), FetchCause::Timeout),
        ] {
            let error = FetchError::of(&response(status, &OWN, text.as_bytes()));
            assert_eq!(error.cause(), cause, "{text}");
            let quoted = text.strip_prefix(preamble).unwrap_or(&text);
            assert!(quoted.len() <= MAX_QUOTED_BYTES);
            assert_eq!(error.to_string(), format!("Envoy answered {status}: {quoted}"));
        }
    }

    #[test]
    fn a_servers_answer_is_not_quoted() {
        let dated = [OWN[0], OWN[1], OWN[2], ("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
        let html = [OWN[0], ("content-type", "text/html")];
        for (status, headers, body) in
            [(503, &dated[..], "x"), (503, &html, "x"), (500, &OWN, "x"), (404, &OWN, "x"), (503, &OWN, "")]
        {
            assert_eq!(FetchError::of(&response(status, headers, body.as_bytes())), FetchError::Status(status));
        }
    }

    #[test]
    fn what_is_quoted_is_printable_and_bounded() {
        let hostile = b"a\nb\r\t\0\x1b[31m\"\\\xff\xe2\x80\xa8";
        let error = FetchError::of(&response(503, &OWN, hostile));
        assert_eq!(error.to_string(), "Envoy answered 503: a\\nb\\r\\t\\x00\\x1b[31m\\\"\\\\\\xff\\xe2\\x80\\xa8");
        let long = FetchError::of(&response(503, &OWN, &[b'\n'; 5000]));
        assert_eq!(long.to_string().len(), "Envoy answered 503: ".len() + 2 * MAX_QUOTED_BYTES);
    }
}
