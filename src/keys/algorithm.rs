//! The closed list of JWS signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1).

use crate::crypto::Hash;

/// A supported JWS signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032): `EdDSA`, or `Ed25519` as of RFC 9864 §2.2.
    EdDsa,
    /// ECDSA: P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512.
    Es(Hash),
    /// HMAC (RFC 7518 §3.2).
    Hs(Hash),
    /// RSASSA-PSS (RFC 7518 §3.5).
    Ps(Hash),
    /// RSASSA-PKCS1-v1_5 (RFC 7518 §3.3).
    Rs(Hash),
}

impl Algorithm {
    /// The algorithms with a public key: only the issuer can sign.
    pub const ASYMMETRIC: [Self; 10] = [
        Self::EdDsa,
        Self::Es(Hash::Sha256),
        Self::Es(Hash::Sha384),
        Self::Es(Hash::Sha512),
        Self::Ps(Hash::Sha256),
        Self::Ps(Hash::Sha384),
        Self::Ps(Hash::Sha512),
        Self::Rs(Hash::Sha256),
        Self::Rs(Hash::Sha384),
        Self::Rs(Hash::Sha512),
    ];

    /// The algorithms with a shared secret: every verifier can also sign.
    pub const SYMMETRIC: [Self; 3] = [Self::Hs(Hash::Sha256), Self::Hs(Hash::Sha384), Self::Hs(Hash::Sha512)];

    /// The JOSE name. Ed25519 returns `EdDSA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es(Hash::Sha256) => "ES256",
            Self::Es(Hash::Sha384) => "ES384",
            Self::Es(Hash::Sha512) => "ES512",
            Self::Hs(Hash::Sha256) => "HS256",
            Self::Hs(Hash::Sha384) => "HS384",
            Self::Hs(Hash::Sha512) => "HS512",
            Self::Ps(Hash::Sha256) => "PS256",
            Self::Ps(Hash::Sha384) => "PS384",
            Self::Ps(Hash::Sha512) => "PS512",
            Self::Rs(Hash::Sha256) => "RS256",
            Self::Rs(Hash::Sha384) => "RS384",
            Self::Rs(Hash::Sha512) => "RS512",
        }
    }

    /// The algorithm with a JOSE name, case-sensitive. Returns `None` for unknown names, and for `none`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ASYMMETRIC.into_iter().chain(Self::SYMMETRIC).find(|algorithm| algorithm.name() == name)
    }

    /// Whether the key is a shared secret, with which every verifier can also sign.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs(_))
    }
}
