//! The only place where a token becomes [`Verified`].

use super::{claims::Times, jws::Jws, signature::SignatureCheck, validation::TokenPolicy, TokenError};
use crate::{
    keys::{Key, KeySet},
    time::UnixTime,
};

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

    /// When time alone makes the token bad: when it expires, or its key does. `None`: never.
    pub fn end(self, policy: &TokenPolicy) -> Option<UnixTime> {
        let expiry = self.times.exp.map(|exp| exp.as_time().plus(policy.clock_skew));
        expiry.into_iter().chain(self.until).min()
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

/// Verifies a token: cheap checks first, so that a token which is bad in itself causes no fetch; then the signature; then the
/// checks that take long, so that only tokens of the issuer do. A token that only the latter deny may cause a fetch for its key.
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
    policy.check_unsigned(jws, claims, now)?;
    let may_verify = |key: &Key| match key.issuer().filter(|_| policy.bind_key_issuer) {
        Some(issuer) => policy.issuers.fits_key(issuer, jws, claims),
        None => true,
    };
    let until = signed_by(jws, keys.ok_or(Unverified::NoKeys)?, may_verify, check, now)?;
    policy.check_signed(jws, claims)?;
    Ok(Verified { times: claims.times(), until })
}

/// Finds the key that signed the token. Returns when the key stops verifying, if it is retired.
///
/// # Errors
/// [`Unverified`]: no key did, or none that may verify the token.
pub fn signed_by(
    jws: &Jws,
    keys: &KeySet,
    may_verify: impl Fn(&Key) -> bool,
    check: &impl SignatureCheck,
    now: UnixTime,
) -> Result<Option<UnixTime>, Unverified> {
    let kid = jws.kid.as_deref();
    // No other key stands in for a revoked key.
    if kid.is_some_and(|kid| keys.is_revoked(kid, now)) {
        return Err(TokenError::RevokedKey.into());
    }
    let (mut tried, mut tried_named, mut is_misused) = (false, false, false);
    for (key, until) in keys.candidates(kid, jws.algorithm, now) {
        tried = true;
        tried_named |= kid.is_some() && key.kid() == kid;
        if check.check(key, jws.algorithm, jws.signed(), &jws.signature).is_ok() {
            if may_verify(key) {
                return Ok(until);
            }
            // The key may be published a second time, for another issuer.
            is_misused = true;
        }
    }
    Err(match tried {
        true if is_misused => TokenError::KeyIssuerMismatch.into(),
        // The key that the token names is in the set.
        true if tried_named => Unverified::BadSignature,
        // Other keys stood in; the right key may be new.
        true => Unverified::UnknownKey(TokenError::BadSignature),
        false => Unverified::UnknownKey(TokenError::UnknownKey),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    use super::*;
    use crate::{
        keys::Algorithm,
        string_matcher::{Pattern, StringMatcher},
        token::{issuers::Issuers, signature::BadSignature},
    };

    /// Says of every signature whether it is good, and counts the checks.
    struct Verdict(bool, Cell<u32>);

    impl SignatureCheck for Verdict {
        fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
            self.1.set(self.1.get() + 1);
            self.0.then_some(()).ok_or(BadSignature)
        }
    }

    /// What takes long is asked of good signatures only. What is cheap is asked first, and needs no keys.
    #[test]
    fn only_tokens_of_the_issuer_cost_more_than_a_signature() {
        let key = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let keys = KeySet::new(vec![Key::from_json(key).unwrap()]);
        let subject = |pattern| Some(StringMatcher::new(pattern, false));
        let any = TokenPolicy::permissive;
        let regex = || TokenPolicy { subjects: subject(Pattern::regex("a+").unwrap()), ..any() };
        let exact = TokenPolicy { subjects: subject(Pattern::Exact("a".into())), ..any() };
        let scopes = TokenPolicy { scopes: vec!["read".into()], ..any() };
        let issuer = TokenPolicy { issuers: Issuers::new(vec!["i".into()], Vec::new()), ..regex() };
        let both = TokenPolicy { scopes: vec!["read".into()], ..regex() };
        for (policy, error, is_cheap) in [
            (regex(), TokenError::SubjectNotAllowed, false),
            (scopes, TokenError::InsufficientScope, false),
            (exact, TokenError::SubjectNotAllowed, true),
            (issuer, TokenError::IssuerNotConfigured, true),
            // The order among the requirements is as ever.
            (both, TokenError::SubjectNotAllowed, false),
        ] {
            let denied = Unverified::Denied(error);
            for (kid, is_good, otherwise) in [
                ("a", true, denied),
                ("a", false, Unverified::BadSignature),
                ("z", false, Unverified::UnknownKey(TokenError::UnknownKey)),
            ] {
                let header = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
                let token = format!("{}.{}.AA", BASE64.encode(header), BASE64.encode(r#"{"sub":"b"}"#));
                let jws = Jws::parse(token.as_bytes().into()).unwrap();
                let check = Verdict(is_good, Cell::new(0));
                let verdict = verify(&jws, &policy, Some(&keys), &check, UnixTime::default()).unwrap_err();
                assert_eq!(verdict, if is_cheap { denied } else { otherwise }, "{kid} {is_good} {policy:?}");
                assert_eq!(check.1.get(), u32::from(kid == "a" && !is_cheap));
                let without_keys = verify(&jws, &policy, None, &check, UnixTime::default()).unwrap_err();
                assert_eq!(without_keys, if is_cheap { denied } else { Unverified::NoKeys });
            }
        }
    }

    /// A key that is published for other issuers verifies nothing else, and its good signature is no cause for a fetch.
    #[test]
    fn a_key_verifies_tokens_of_its_issuer_only() {
        let key = |issuer: &str| {
            let point = r#""x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
            Key::from_json(&format!(r#"{{"kty":"EC","crv":"P-256","kid":"k",{issuer}{point}}}"#)).unwrap()
        };
        let [none, a, b] = [key(""), key(r#""issuer":"a","#), key(r#""issuer":"b","#)];
        let token = format!("{}.{}.AA", BASE64.encode(r#"{"alg":"ES256","kid":"k"}"#), BASE64.encode(r#"{"iss":"b"}"#));
        let jws = Jws::parse(token.as_bytes().into()).unwrap();
        let now = UnixTime::default();
        for (keys, is_good, error) in [
            (vec![a.clone()], true, Some(Unverified::Denied(TokenError::KeyIssuerMismatch))),
            (vec![a.clone()], false, Some(Unverified::BadSignature)),
            (vec![b.clone()], true, None),
            (vec![none], true, None),
            // The same key, published for both.
            (vec![a.clone(), b], true, None),
        ] {
            let (keys, check) = (KeySet::new(keys), Verdict(is_good, Cell::new(0)));
            let retired = KeySet::new(Vec::new());
            let retired = retired.with_retired(keys.published().map(|key| (key.clone(), UnixTime::from_millis(1))));
            for keys in [keys, retired] {
                let bound = TokenPolicy { bind_key_issuer: true, ..TokenPolicy::permissive() };
                assert_eq!(verify(&jws, &bound, Some(&keys), &check, now).err(), error);
                let verified = verify(&jws, &TokenPolicy::permissive(), Some(&keys), &check, now);
                assert_eq!(verified.is_ok(), is_good);
            }
        }
    }

    /// A key without `kid` is tried for any token. Only a key that the token names shows that the signature is bad.
    #[test]
    fn keys_without_kid_stand_in_for_any_key() {
        let ec = |kid: &str| {
            let point = r#""x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
            Key::from_json(&format!(r#"{{"kty":"EC","crv":"P-256",{kid}{point}}}"#)).unwrap()
        };
        let rsa = BASE64.encode([0xff; 256]);
        let rsa = Key::from_json(&format!(r#"{{"kty":"RSA","kid":"r","e":"AQAB","n":"{rsa}"}}"#)).unwrap();
        let keys = KeySet::new(vec![ec(r#""kid":"a","#), ec(""), rsa]);
        let unknown = Unverified::UnknownKey(TokenError::BadSignature);
        for (header, checks, error) in [
            (r#"{"alg":"ES256","kid":"a"}"#, 2, Unverified::BadSignature),
            (r#"{"alg":"ES256","kid":"z"}"#, 1, unknown),
            (r#"{"alg":"ES256","kid":"r"}"#, 1, unknown),
            (r#"{"alg":"ES256"}"#, 2, unknown),
            (r#"{"alg":"ES256","kid":""}"#, 2, unknown),
            (r#"{"alg":"RS256","kid":"a"}"#, 0, Unverified::UnknownKey(TokenError::UnknownKey)),
        ] {
            let token = format!("{}.{}.AA", BASE64.encode(header), BASE64.encode("{}"));
            let jws = Jws::parse(token.as_bytes().into()).unwrap();
            let (bad, good) = (Verdict(false, Cell::new(0)), Verdict(true, Cell::new(0)));
            assert_eq!(signed_by(&jws, &keys, |_| true, &bad, UnixTime::default()), Err(error), "{header}");
            assert_eq!(bad.1.get(), checks, "{header}");
            assert_eq!(signed_by(&jws, &keys, |_| true, &good, UnixTime::default()).is_ok(), checks > 0, "{header}");
        }
    }
}
