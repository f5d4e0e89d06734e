//! The answer to a denied request.

use std::{borrow::Cow, time::Duration};

use serde_json::json;

use super::headers::Headers;
use crate::{json, token::TokenError};

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The token is at fault.
    Token(TokenError),
    /// The issuer's keys are not available. The client may try again after this time.
    KeysUnavailable(Duration),
    /// Too many requests are parked.
    TooManyParked,
}

/// A response to send instead of forwarding the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers beside those that the host adds.
    pub headers: Vec<(&'static str, String)>,
    /// Plain text, or problem details (RFC 9457).
    pub body: Cow<'static, str>,
    /// Filter state to set, for access logs.
    pub state: Vec<(String, Vec<u8>)>,
}

/// The first part of the filter's own names in filter state.
pub const OWN_STATE: &str = "jwks_gate";

/// The form of denials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseFormat {
    /// Whether denials carry a status only: Envoy's `strip_failure_response`.
    pub strip: bool,
    /// Whether bodies are problem details (RFC 9457) instead of plain text.
    pub json: bool,
    /// The URI that tells clients how to get a token (RFC 9728 §5.1).
    pub resource_metadata: Option<String>,
}

/// What a challenge says about the denied request.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChallengeContext<'a> {
    /// See [`realm`].
    pub realm: &'a str,
    /// The scopes that the token must grant.
    pub scopes: &'a [String],
}

/// Envoy's limit on the realm.
const MAX_REALM: usize = 256;

/// The realm of a challenge: the request's URI, as in `jwt_authn`, reduced to what a quoted string may hold (RFC 9110 §5.6.4).
/// Empty, as there, for a CONNECT, which has no path.
pub fn realm(headers: Headers<'_>) -> String {
    if headers.first(":path").is_none() {
        return String::new();
    }
    let part = |name| headers.first(name).unwrap_or_default();
    let uri = [part(":scheme"), b"://", part(":authority"), headers.path()].concat();
    let printable = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    uri.iter().filter(|byte| printable(byte)).take(MAX_REALM).map(|byte| char::from(*byte)).collect()
}

/// 403 where the token may be good for another request, 431 where no token was looked at, 401 elsewhere.
fn status(error: TokenError) -> u16 {
    match error {
        TokenError::RequestTooLarge => 431,
        TokenError::AudienceNotAllowed
        | TokenError::ClaimNotAllowed
        | TokenError::ClaimsTooLarge
        | TokenError::InsufficientScope => 403,
        TokenError::AlgorithmNotAllowed
        | TokenError::AlgorithmNotSupported
        | TokenError::BadSignature
        | TokenError::Expired
        | TokenError::HeaderEncoding
        | TokenError::IssuerNotConfigured
        | TokenError::LifetimeTooLong
        | TokenError::Malformed
        | TokenError::MalformedHeader(_)
        | TokenError::MalformedPayload(_)
        | TokenError::Missing
        | TokenError::NoExpiration
        | TokenError::NotYetValid
        | TokenError::PayloadEncoding
        | TokenError::KeyIssuerMismatch
        | TokenError::RevokedKey
        | TokenError::SignatureEncoding
        | TokenError::SubjectNotAllowed
        | TokenError::TooLarge
        | TokenError::TypeNotAllowed
        | TokenError::UnknownExtension
        | TokenError::UnknownKey => 401,
    }
}

impl Denial {
    /// The reason in problem details, metrics and filter state. Reasons are an interface and do not change.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::KeysUnavailable(_) => "keys_unavailable",
            Self::TooManyParked => "too_many_parked",
        }
    }

    /// The text of the answer.
    pub fn text(self) -> &'static str {
        match self {
            Self::Token(error) => error.text(),
            Self::KeysUnavailable(_) => "Jwks remote fetch is failed",
            Self::TooManyParked => "Too many requests are waiting for keys",
        }
    }
}

impl Reply {
    /// The reply where a call of the host failed: no request goes on for that.
    pub fn unavailable() -> Self {
        reply(Denial::KeysUnavailable(Duration::ZERO), &ResponseFormat::default(), ChallengeContext::default())
    }
}

/// The reply to a denied request: 401 or 403 with a challenge (RFC 6750 §3) where the token is at fault, 431 where the rest of
/// the request is (RFC 6585 §5), 503 elsewhere.
pub fn reply(denial: Denial, format: &ResponseFormat, context: ChallengeContext<'_>) -> Reply {
    let (status, mut headers) = match denial {
        // No token would help.
        Denial::Token(error @ TokenError::RequestTooLarge) => (status(error), Vec::new()),
        Denial::Token(error) if format.strip => (status(error), Vec::new()),
        Denial::Token(error) => (status(error), vec![("www-authenticate", challenge(error, format, context))]),
        Denial::KeysUnavailable(retry_after) => (503, vec![("retry-after", seconds(retry_after))]),
        Denial::TooManyParked => (503, vec![("retry-after", seconds(Duration::from_secs(1)))]),
    };
    let body = match (format.strip, format.json) {
        (true, _) => Cow::Borrowed(""),
        (false, false) => Cow::Borrowed(denial.text()),
        (false, true) => {
            headers.push(("content-type", "application/problem+json".to_owned()));
            let title = match status {
                401 => "Unauthorized",
                403 => "Forbidden",
                431 => "Request Header Fields Too Large",
                _ => "Service Unavailable",
            };
            let (detail, reason) = (denial.text(), denial.reason());
            Cow::Owned(json::text(&json!({"title": title, "status": status, "detail": detail, "reason": reason})))
        }
    };
    Reply { status, headers, body, state: Vec::new() }
}

fn seconds(time: Duration) -> String {
    time.as_millis().div_ceil(1000).max(1).to_string()
}

/// The `WWW-Authenticate` value. A request without a token is told no error (RFC 6750 §3.1).
fn challenge(error: TokenError, format: &ResponseFormat, context: ChallengeContext<'_>) -> String {
    let mut challenge = format!("Bearer realm=\"{}\"", context.realm);
    let code = match error {
        TokenError::Missing => None,
        TokenError::InsufficientScope => Some("insufficient_scope"),
        _ => Some("invalid_token"),
    };
    if let Some(code) = code {
        challenge += &format!(", error=\"{code}\", error_description=\"{}\"", description(error));
    }
    if error == TokenError::InsufficientScope && !context.scopes.is_empty() {
        challenge += &format!(", scope=\"{}\"", context.scopes.join(" "));
    }
    if let Some(uri) = &format.resource_metadata {
        challenge += &format!(", resource_metadata=\"{uri}\"");
    }
    challenge
}

fn description(error: TokenError) -> String {
    error.text().chars().filter(|c| !matches!(c, '"' | '\\')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_fault_is_401_or_403_and_ours_is_503() {
        let context = ChallengeContext { realm: "http://h/p", scopes: &["a".to_owned(), "b".to_owned()] };
        let answer = |denial| reply(denial, &ResponseFormat::default(), context);
        let missing = answer(Denial::Token(TokenError::Missing));
        assert_eq!((missing.status, &*missing.body), (401, "Jwt is missing"));
        assert_eq!(missing.headers, [("www-authenticate", "Bearer realm=\"http://h/p\"".to_owned())]);
        let expired = answer(Denial::Token(TokenError::Expired));
        assert_eq!(
            expired.headers[0].1,
            "Bearer realm=\"http://h/p\", error=\"invalid_token\", error_description=\"Jwt is expired\""
        );
        assert_eq!(answer(Denial::Token(TokenError::AudienceNotAllowed)).status, 403);
        let scope = answer(Denial::Token(TokenError::InsufficientScope));
        assert!(scope.status == 403 && scope.headers[0].1.ends_with("insufficient\", scope=\"a b\""), "{scope:?}");
        let long = answer(Denial::Token(TokenError::RequestTooLarge));
        assert_eq!((long.status, long.headers), (431, vec![]));
        let down = answer(Denial::KeysUnavailable(Duration::from_millis(1001)));
        assert_eq!((down.status, down.headers), (503, vec![("retry-after", "2".to_owned())]));
        assert_eq!(answer(Denial::KeysUnavailable(Duration::ZERO)).headers[0].1, "1");
    }

    #[test]
    fn a_realm_is_printable_bounded_and_cannot_close_its_quotes() {
        let path = [b"/a\"\\\xff\r\n?secret".to_vec()].concat();
        let list = [(":scheme", &b"http"[..]), (":authority", b"h"), (":path", &path)];
        assert_eq!(realm(Headers::new(&list)), "http://h/a");
        assert_eq!(realm(Headers::new(&[(":path", &[b'a'; 9999])])).len(), 256);
    }

    #[test]
    fn bodies_may_be_problem_details_or_nothing() {
        let metadata = Some("https://h/.well-known/oauth-protected-resource".to_owned());
        let format = ResponseFormat { json: true, resource_metadata: metadata, ..ResponseFormat::default() };
        let missing = reply(Denial::Token(TokenError::Missing), &format, ChallengeContext { realm: "r", scopes: &[] });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&missing.body).unwrap(),
            json!({"title": "Unauthorized", "status": 401, "detail": "Jwt is missing", "reason": "missing"})
        );
        let challenge = "Bearer realm=\"r\", resource_metadata=\"https://h/.well-known/oauth-protected-resource\"";
        let expected =
            [("www-authenticate", challenge.to_owned()), ("content-type", "application/problem+json".to_owned())];
        assert_eq!(missing.headers, expected);
        let stripped = reply(
            Denial::Token(TokenError::Expired),
            &ResponseFormat { strip: true, ..ResponseFormat::default() },
            ChallengeContext::default(),
        );
        assert_eq!((stripped.status, &*stripped.body, stripped.headers.len()), (401, "", 0));
    }
}
