//! The only place where a token becomes [`Verified`].

use super::{
    claims::{Claims, Times},
    jws::{self, Jws},
    signature::SignatureCheck,
    validation::TokenPolicy,
    TokenError,
};
use crate::{keys::KeySet, time::UnixTime};

/// Proof that a token was checked. Only [`verify`] makes one.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Verified {
    times: Times,
    /// When the key that signed it stops being good; `None`: not while its set is.
    until: Option<UnixTime>,
}

impl Verified {
    /// Whether the key that signed it has left the issuer's key set.
    pub fn is_by_retired_key(self) -> bool {
        self.until.is_some()
    }

    /// Checks again what time alone can change, as long as the keys stay the same.
    ///
    /// # Errors
    /// [`Unverified::Refused`] for the token's own times; [`Unverified::UnknownKey`] when its key is no longer good.
    pub fn still(self, rules: &TokenPolicy, now: UnixTime) -> Result<Self, Unverified> {
        rules.check_times(&self.times, now)?;
        if self.until.is_some_and(|until| now >= until) {
            return Err(Unverified::UnknownKey(TokenError::UnknownKey));
        }
        Ok(self)
    }
}

/// Why a token is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// There are no keys to check it with: not the token's fault.
    NoKeys,
    /// The token is bad, whatever keys there are.
    Refused(TokenError),
    /// These keys do not have the one that signed it, but the issuer may: refuse with this if it has not.
    UnknownKey(TokenError),
    /// The signature is not by the key that the token names, unless the issuer has put another one in its place.
    BadSignature,
}

impl From<TokenError> for Unverified {
    fn from(error: TokenError) -> Self {
        Self::Refused(error)
    }
}

/// Checks a token: form, claims, then the signature, so that no token which is bad in itself ever asks for a key.
///
/// # Errors
/// See [`Unverified`].
pub fn verify(
    token: &[u8],
    rules: &TokenPolicy,
    keys: Option<&KeySet>,
    check: &impl SignatureCheck,
    now: UnixTime,
) -> Result<Verified, Unverified> {
    let jws = jws::parse(token)?;
    if !check.supports(jws.algorithm) {
        return Err(TokenError::AlgorithmNotSupported.into());
    }
    let claims = Claims::parse(&jws.payload)?;
    rules.check(&jws, &claims, now)?;
    let until = signed_by(&jws, keys.ok_or(Unverified::NoKeys)?, check, now)?;
    Ok(Verified { times: claims.times(), until })
}

/// Looks for the key that signed: until when it is good, if it is published no longer.
///
/// # Errors
/// [`Unverified`]: none did.
pub fn signed_by(
    jws: &Jws<'_>,
    keys: &KeySet,
    check: &impl SignatureCheck,
    now: UnixTime,
) -> Result<Option<UnixTime>, Unverified> {
    let kid = jws.kid.as_deref();
    // No other key stands in for one that is revoked.
    if kid.is_some_and(|kid| keys.is_revoked(kid, now)) {
        return Err(TokenError::RevokedKey.into());
    }
    let mut tried = false;
    for (key, until) in keys.candidates(kid, jws.algorithm, now) {
        tried = true;
        if check.check(key, jws.algorithm, jws.signed, &jws.signature).is_ok() {
            return Ok(until);
        }
    }
    Err(match kid {
        // The key that the token names was there.
        Some(kid) if tried && keys.contains_kid(kid, now) => Unverified::BadSignature,
        // Others stood in for it; the right one may be new.
        _ if tried => Unverified::UnknownKey(TokenError::BadSignature),
        _ => Unverified::UnknownKey(TokenError::UnknownKey),
    })
}
