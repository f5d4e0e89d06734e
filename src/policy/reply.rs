//! What a refused client is told.

use std::time::Duration;

use super::headers::Headers;
use crate::token::TokenError;

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token's fault.
    Token(TokenError),
    /// We cannot know: the issuer's keys cannot be had. The client may try again after this.
    KeysUnavailable(Duration),
    /// Too many requests are parked already.
    TooManyParked,
}

/// A response to send instead of forwarding the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers besides those that the host adds.
    pub headers: Vec<(&'static str, String)>,
    /// Plain text.
    pub body: &'static str,
}

/// Envoy's limit on the realm.
const MAX_REALM: usize = 256;

/// The realm of a challenge: the URI that was asked for, as in `jwt_authn`, made safe to stand in a quoted string (RFC 9110 §5.6.4).
pub fn realm(headers: Headers<'_>) -> String {
    let part = |name| headers.first(name).unwrap_or_default();
    let uri = [part(":scheme"), b"://", part(":authority"), headers.path()].concat();
    let printable = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    uri.iter().filter(|byte| printable(byte)).take(MAX_REALM).map(|byte| char::from(*byte)).collect()
}

/// The reply to a refusal: 401 and 403 with a challenge (RFC 6750 §3) where the token is at fault, 503 where we are.
pub fn reply(refusal: Refusal, realm: &str) -> Reply {
    match refusal {
        Refusal::Token(error) => Reply {
            status: match error {
                TokenError::AudienceNotAllowed | TokenError::ClaimNotAllowed | TokenError::InsufficientScope => 403,
                TokenError::AlgorithmNotAllowed
                | TokenError::AlgorithmNotSupported
                | TokenError::BadSignature
                | TokenError::Expired
                | TokenError::IssuerNotConfigured
                | TokenError::LifetimeTooLong
                | TokenError::Malformed
                | TokenError::MalformedHeader
                | TokenError::MalformedPayload
                | TokenError::Missing
                | TokenError::NoExpiration
                | TokenError::NotYetValid
                | TokenError::SubjectNotAllowed
                | TokenError::TooLarge
                | TokenError::TypeNotAllowed
                | TokenError::UnknownExtension
                | TokenError::UnknownKey => 401,
            },
            headers: vec![("www-authenticate", challenge(error, realm))],
            body: error.text(),
        },
        Refusal::KeysUnavailable(retry_after) => unavailable("Jwks remote fetch is failed", retry_after),
        Refusal::TooManyParked => unavailable("Too many requests are waiting for keys", Duration::from_secs(1)),
    }
}

/// A request without a token is told how to authenticate, and no error (RFC 6750 §3.1).
fn challenge(error: TokenError, realm: &str) -> String {
    let code = match error {
        TokenError::Missing => return format!("Bearer realm=\"{realm}\""),
        TokenError::InsufficientScope => "insufficient_scope",
        _ => "invalid_token",
    };
    format!("Bearer realm=\"{realm}\", error=\"{code}\", error_description=\"{}\"", description(error))
}

fn description(error: TokenError) -> String {
    error.text().chars().filter(|c| !matches!(c, '"' | '\\')).collect()
}

fn unavailable(body: &'static str, retry_after: Duration) -> Reply {
    let seconds = retry_after.as_millis().div_ceil(1000).max(1);
    Reply { status: 503, headers: vec![("retry-after", seconds.to_string())], body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_fault_is_401_or_403_and_ours_is_503() {
        let answer = |refusal| reply(refusal, "http://h/p");
        let missing = answer(Refusal::Token(TokenError::Missing));
        assert_eq!((missing.status, missing.body), (401, "Jwt is missing"));
        assert_eq!(missing.headers, [("www-authenticate", "Bearer realm=\"http://h/p\"".to_owned())]);
        let expired = answer(Refusal::Token(TokenError::Expired));
        assert_eq!(
            expired.headers[0].1,
            "Bearer realm=\"http://h/p\", error=\"invalid_token\", error_description=\"Jwt is expired\""
        );
        assert_eq!(answer(Refusal::Token(TokenError::AudienceNotAllowed)).status, 403);
        let down = answer(Refusal::KeysUnavailable(Duration::from_millis(1001)));
        assert_eq!((down.status, down.headers), (503, vec![("retry-after", "2".to_owned())]));
        assert_eq!(answer(Refusal::KeysUnavailable(Duration::ZERO)).headers[0].1, "1");
    }

    #[test]
    fn a_realm_is_printable_bounded_and_cannot_close_its_quotes() {
        let path = [b"/a\"\\\xff\r\n?secret".to_vec()].concat();
        let list = [(":scheme".into(), b"http".to_vec()), (":authority".into(), b"h".to_vec()), (":path".into(), path)];
        assert_eq!(realm(Headers::new(&list)), "http://h/a");
        assert_eq!(realm(Headers::new(&[(":path".into(), vec![b'a'; 9999])])).len(), 256);
    }
}
