//! Is this token good under these keys?
//!
//! [`jws`] parses, [`claims`] checks what the token says, [`signature`] checks who said it, and [`verify`] is the only
//! place that puts the three together.

pub mod claims;
pub mod jws;
pub mod signature;
pub mod verify;

use std::fmt;

/// Which provider of the configuration: a small index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderId(usize);

impl ProviderId {
    /// The provider at this place.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Its place.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Why a token is refused: always the token's fault. Each has the text that Envoy's `jwt_authn` answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// `alg` is not one that is verified here.
    AlgorithmNotSupported,
    /// None of the provider's audiences is in `aud`.
    AudienceNotAllowed,
    /// The signature is not by the key that the token names.
    BadSignature,
    /// `exp` has passed, by more than the clock skew.
    Expired,
    /// `iss` is not the provider's.
    IssuerNotConfigured,
    /// Not a compact JWS with three sections of canonical base64url.
    Malformed,
    /// The header is not a JSON object of the right shape, or repeats a member.
    MalformedHeader,
    /// The payload is not a JSON object of the right shape, or repeats a claim that is read here.
    MalformedPayload,
    /// The request has no token.
    Missing,
    /// `nbf` has not come, by more than the clock skew.
    NotYetValid,
    /// Longer than is read here.
    TooLarge,
    /// The header asks for an extension (`crit`, RFC 7515 §4.1.11) that is not understood here.
    UnknownExtension,
    /// The issuer has no such key, asked after the token arrived.
    UnknownKey,
}

impl TokenError {
    /// The text for the client, as `jwt_authn` words it (Envoy `source/common/jwt/status.cc`).
    pub fn text(self) -> &'static str {
        match self {
            Self::AlgorithmNotSupported => "Jwt header [alg] is not supported",
            Self::AudienceNotAllowed => "Audiences in Jwt are not allowed",
            Self::BadSignature => "Jwt verification fails",
            Self::Expired => "Jwt is expired",
            Self::IssuerNotConfigured => "Jwt issuer is not configured",
            Self::Malformed => "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
            Self::MalformedHeader => "Jwt header is an invalid JSON",
            Self::MalformedPayload => "Jwt payload is an invalid JSON",
            Self::Missing => "Jwt is missing",
            Self::NotYetValid => "Jwt not yet valid",
            Self::TooLarge => "Jwt is too large",
            Self::UnknownExtension => "Jwt header [crit] is not supported",
            Self::UnknownKey => "Jwks doesn't have key to match kid or alg from Jwt",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
