//! The closed list of signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1).

use crate::crypto::Hash;

/// A JWS signature algorithm that is verified here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), under its name `EdDSA` and its full name `Ed25519` (RFC 9864 §2.2).
    EdDsa,
    /// ECDSA on the curve that goes with the hash: P-256, P-384, P-521.
    Es(Hash),
    /// HMAC.
    Hs(Hash),
    /// RSASSA-PSS.
    Ps(Hash),
    /// RSASSA-PKCS1-v1_5.
    Rs(Hash),
}

impl Algorithm {
    /// Those of which nobody but the issuer can sign.
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

    /// HMAC, with which whoever verifies can also sign.
    pub const SYMMETRIC: [Self; 3] = [Self::Hs(Hash::Sha256), Self::Hs(Hash::Sha384), Self::Hs(Hash::Sha512)];

    /// Its JOSE name; of its two names, `EdDSA`.
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

    /// The algorithm of this JOSE name. Names are case-sensitive; unknown ones, `none` among them, are `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ASYMMETRIC.into_iter().chain(Self::SYMMETRIC).find(|algorithm| algorithm.name() == name)
    }

    /// Whether whoever verifies can also sign.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs(_))
    }
}
