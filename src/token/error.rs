//! Why a token, or the request that would carry one, is denied, with the texts that Envoy's `jwt_authn` answers with.

use std::fmt;

/// Why a token or its request is denied. The fault is always the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The provider does not allow `alg`.
    AlgorithmNotAllowed,
    /// The filter does not verify `alg`.
    AlgorithmNotSupported,
    /// `aud` holds none of the provider's audiences.
    AudienceNotAllowed,
    /// The signature does not match the key that the token names.
    BadSignature,
    /// A claim that the provider requires is missing or has another value.
    ClaimNotAllowed,
    /// The claims are too large, or nested too deep, for the header that would carry them.
    ClaimsTooLarge,
    /// `exp` has passed, by more than the clock skew.
    Expired,
    /// The token lacks a scope that the provider requires.
    InsufficientScope,
    /// `iss` is not the provider's.
    IssuerNotConfigured,
    /// The issuer publishes the key for another `iss`, and the provider sets `bind_key_issuer`.
    KeyIssuerMismatch,
    /// `exp` is further away than the provider's `max_lifetime`.
    LifetimeTooLong,
    /// The token is no compact JWS with three sections.
    Malformed,
    /// The header is not canonical base64url.
    HeaderEncoding,
    /// The payload is not canonical base64url.
    PayloadEncoding,
    /// The signature is not canonical base64url.
    SignatureEncoding,
    /// The header is no JSON object of the right shape, or repeats a member.
    MalformedHeader(MalformedField),
    /// The payload is no JSON object of the right shape, or repeats a claim that the filter reads.
    MalformedPayload(MalformedField),
    /// The request has no token.
    Missing,
    /// The token has no `exp`, and the provider requires `exp`.
    NoExpiration,
    /// `nbf` or `iat` lies in the future, by more than the clock skew.
    NotYetValid,
    /// The path, a header or a parameter is too long for a rule's regular expression. The tokens were not looked at.
    RequestTooLarge,
    /// The key that the token names is in the provider's `revoked_keys`.
    RevokedKey,
    /// `sub` does not match the provider's `subjects`.
    SubjectNotAllowed,
    /// The token is longer than the filter reads.
    TooLarge,
    /// The provider does not allow `typ`.
    TypeNotAllowed,
    /// The header demands an extension (`crit`, RFC 7515 §4.1.11). The filter understands none.
    UnknownExtension,
    /// The issuer does not publish the key. The issuer was asked after the token arrived.
    UnknownKey,
}

/// The member that has the wrong shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedField {
    /// No member in particular.
    Whole,
    /// The header's `alg`.
    Alg,
    /// The header's `kid`.
    Kid,
    /// Not a string.
    Iss,
    /// Not a string.
    Sub,
    /// Not a string.
    Jti,
    /// Neither a string nor a list of strings.
    Aud,
    /// Not a number.
    Iat,
    /// Not a number.
    Nbf,
    /// Not a number.
    Exp,
    /// Negative or too large.
    IatRange,
    /// Negative or too large.
    NbfRange,
    /// Negative or too large.
    ExpRange,
}

impl TokenError {
    /// Every error; those with a [`MalformedField`] once.
    pub const ALL: [Self; 27] = [
        Self::AlgorithmNotAllowed,
        Self::AlgorithmNotSupported,
        Self::AudienceNotAllowed,
        Self::BadSignature,
        Self::ClaimNotAllowed,
        Self::ClaimsTooLarge,
        Self::Expired,
        Self::InsufficientScope,
        Self::IssuerNotConfigured,
        Self::KeyIssuerMismatch,
        Self::LifetimeTooLong,
        Self::Malformed,
        Self::HeaderEncoding,
        Self::PayloadEncoding,
        Self::SignatureEncoding,
        Self::MalformedHeader(MalformedField::Whole),
        Self::MalformedPayload(MalformedField::Whole),
        Self::Missing,
        Self::NoExpiration,
        Self::NotYetValid,
        Self::RequestTooLarge,
        Self::RevokedKey,
        Self::SubjectNotAllowed,
        Self::TooLarge,
        Self::TypeNotAllowed,
        Self::UnknownExtension,
        Self::UnknownKey,
    ];

    /// The member of [`Self::ALL`] that stands for this error.
    pub fn kind(self) -> Self {
        match self {
            Self::MalformedHeader(_) => Self::MalformedHeader(MalformedField::Whole),
            Self::MalformedPayload(_) => Self::MalformedPayload(MalformedField::Whole),
            other => other,
        }
    }

    /// The reason in metrics, filter state and problem details. Reasons are an interface and do not change.
    pub fn reason(self) -> &'static str {
        match self {
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::AlgorithmNotSupported => "algorithm_not_supported",
            Self::AudienceNotAllowed => "audience_not_allowed",
            Self::BadSignature => "bad_signature",
            Self::ClaimNotAllowed => "claim_not_allowed",
            Self::ClaimsTooLarge => "claims_too_large",
            Self::Expired => "expired",
            Self::InsufficientScope => "insufficient_scope",
            Self::IssuerNotConfigured => "issuer_not_configured",
            Self::KeyIssuerMismatch => "key_issuer_mismatch",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::Malformed => "malformed",
            Self::HeaderEncoding => "header_encoding",
            Self::PayloadEncoding => "payload_encoding",
            Self::SignatureEncoding => "signature_encoding",
            Self::MalformedHeader(_) => "malformed_header",
            Self::MalformedPayload(_) => "malformed_payload",
            Self::Missing => "missing",
            Self::NoExpiration => "no_expiration",
            Self::NotYetValid => "not_yet_valid",
            Self::RequestTooLarge => "request_too_large",
            Self::RevokedKey => "revoked_key",
            Self::SubjectNotAllowed => "subject_not_allowed",
            Self::TooLarge => "too_large",
            Self::TypeNotAllowed => "type_not_allowed",
            Self::UnknownExtension => "unknown_extension",
            Self::UnknownKey => "unknown_key",
        }
    }

    /// The text for the client, as `jwt_authn` words it (Envoy `source/common/jwt/status.cc`).
    pub fn text(self) -> &'static str {
        match self {
            Self::AlgorithmNotAllowed | Self::AlgorithmNotSupported => "Jwt header [alg] is not supported",
            Self::AudienceNotAllowed => "Audiences in Jwt are not allowed",
            Self::BadSignature | Self::LifetimeTooLong | Self::NoExpiration | Self::SubjectNotAllowed => {
                "Jwt verification fails"
            }
            Self::ClaimNotAllowed => "Jwt claims are not allowed",
            Self::ClaimsTooLarge => "Jwt claims are too large",
            Self::Expired => "Jwt is expired",
            Self::InsufficientScope => "Jwt scope is insufficient",
            Self::IssuerNotConfigured => "Jwt issuer is not configured",
            Self::KeyIssuerMismatch => "Jwks key is of another issuer than Jwt",
            Self::Malformed => "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
            Self::HeaderEncoding => "Jwt header is an invalid Base64url encoded",
            Self::PayloadEncoding => "Jwt payload is an invalid Base64url encoded",
            Self::SignatureEncoding => "Jwt signature is an invalid Base64url encoded",
            Self::MalformedHeader(fault) => match fault {
                MalformedField::Alg => "Jwt header [alg] field is required and must be a string",
                MalformedField::Kid => "Jwt header [kid] field is not a string",
                _ => "Jwt header is an invalid JSON",
            },
            Self::MalformedPayload(fault) => match fault {
                MalformedField::Iss => "Jwt payload [iss] field is not a string",
                MalformedField::Sub => "Jwt payload [sub] field is not a string",
                MalformedField::Jti => "Jwt payload [jti] field is not a string",
                MalformedField::Aud => "Jwt payload [aud] field is not a string or string list",
                MalformedField::Iat => "Jwt payload [iat] field is not an integer",
                MalformedField::Nbf => "Jwt payload [nbf] field is not an integer",
                MalformedField::Exp => "Jwt payload [exp] field is not an integer",
                MalformedField::IatRange => "Jwt payload [iat] field is not a positive 64 bit integer",
                MalformedField::NbfRange => "Jwt payload [nbf] field is not a positive 64 bit integer",
                MalformedField::ExpRange => "Jwt payload [exp] field is not a positive 64 bit integer",
                MalformedField::Whole | MalformedField::Alg | MalformedField::Kid => "Jwt payload is an invalid JSON",
            },
            Self::Missing => "Jwt is missing",
            Self::NotYetValid => "Jwt not yet valid",
            Self::RequestTooLarge => "Request is too large to be matched with a rule",
            Self::TooLarge => "Jwt is too large",
            Self::TypeNotAllowed => "Jwt header [typ] is not allowed",
            Self::UnknownExtension => "Jwt header [crit] is not supported",
            Self::RevokedKey | Self::UnknownKey => "Jwks doesn't have key to match kid or alg from Jwt",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
