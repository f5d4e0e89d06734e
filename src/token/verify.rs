//! The only place where a token becomes [`Verified`].

use super::{claims::Times, jws::Jws, signature::SignatureCheck, validation::TokenPolicy, TokenError};
use crate::{keys::KeySet, time::UnixTime};

/// Proof that a token was verified. Only [`verify`] makes a proof.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Verified {
    times: Times,
    /// When the key that signed the token stops verifying. `None`: not while its key set is in use.
    until: Option<UnixTime>,
}

impl Verified {
    /// Whether the key that signed the token has left the issuer's JWKS.
    pub fn is_by_retired_key(self) -> bool {
        self.until.is_some()
    }

    /// Checks again what time alone can change, while the keys stay the same.
    ///
    /// # Errors
    /// [`Unverified::Denied`] for the token's own times; [`Unverified::UnknownKey`] when its key no longer verifies.
    pub fn still(self, policy: &TokenPolicy, now: UnixTime) -> Result<Self, Unverified> {
        policy.check_times(&self.times, now)?;
        if self.until.is_some_and(|until| now >= until) {
            return Err(Unverified::UnknownKey(TokenError::UnknownKey));
        }
        Ok(self)
    }
}

/// Why a token could not be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// There are no usable keys. The fault is not the token's.
    NoKeys,
    /// The token is bad under any keys.
    Denied(TokenError),
    /// No key at hand signed the token, but the issuer may have published another. If not, this is the error.
    UnknownKey(TokenError),
    /// The signature does not match the key that the token names, unless the issuer has replaced that key.
    BadSignature,
}

impl From<TokenError> for Unverified {
    fn from(error: TokenError) -> Self {
        Self::Denied(error)
    }
}

/// Verifies a token: claims first, then the signature, so that a token which is bad in itself never causes a fetch.
///
/// # Errors
/// See [`Unverified`].
pub fn verify(
    jws: &Jws,
    policy: &TokenPolicy,
    keys: Option<&KeySet>,
    check: &impl SignatureCheck,
    now: UnixTime,
) -> Result<Verified, Unverified> {
    if !check.supports(jws.algorithm) {
        return Err(TokenError::AlgorithmNotSupported.into());
    }
    let claims = jws.claims()?;
    policy.check(jws, claims, now)?;
    let until = signed_by(jws, keys.ok_or(Unverified::NoKeys)?, check, now)?;
    Ok(Verified { times: claims.times(), until })
}

/// Finds the key that signed the token. Returns when the key stops verifying, if it is retired.
///
/// # Errors
/// [`Unverified`]: no key did.
pub fn signed_by(
    jws: &Jws,
    keys: &KeySet,
    check: &impl SignatureCheck,
    now: UnixTime,
) -> Result<Option<UnixTime>, Unverified> {
    let kid = jws.kid.as_deref();
    // No other key stands in for a revoked key.
    if kid.is_some_and(|kid| keys.is_revoked(kid, now)) {
        return Err(TokenError::RevokedKey.into());
    }
    let mut tried = false;
    for (key, until) in keys.candidates(kid, jws.algorithm, now) {
        tried = true;
        if check.check(key, jws.algorithm, jws.signed(), &jws.signature).is_ok() {
            return Ok(until);
        }
    }
    Err(match kid {
        // The key that the token names is in the set.
        Some(kid) if tried && keys.contains_kid(kid, now) => Unverified::BadSignature,
        // Keys without a `kid` stood in; the right key may be new.
        _ if tried => Unverified::UnknownKey(TokenError::BadSignature),
        _ => Unverified::UnknownKey(TokenError::UnknownKey),
    })
}
