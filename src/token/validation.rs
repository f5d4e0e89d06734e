//! Validation of a token's header and claims: everything but the signature.

use std::time::Duration;

use serde_json::Value;

use super::{
    claim_rules::{self, ClaimRule, SCOPE_CLAIMS},
    claims::{is_wanted_audience, Claims, NumericDate, SelectedClaims, Times},
    issuers::Issuers,
    jws::Jws,
    payload_value, TokenError,
};
use crate::{
    keys::Algorithm,
    string_matcher::{StringMatcher, TooLong},
    time::UnixTime,
};

/// The default of Envoy's `clock_skew_seconds`.
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What a provider requires of a token besides a valid signature.
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// The allowed `iss`.
    pub issuers: Issuers,
    /// Whether a key that its issuer publishes for an `iss` verifies tokens of that `iss` only.
    pub bind_key_issuer: bool,
    /// The audience must be one of these; empty allows any. Both sides are compared in the form of
    /// [`super::claims::normalize_audience`].
    pub audiences: Vec<String>,
    /// The claims that may name the audience, of which the first that the token has decides. Empty: `aud` alone.
    pub audience_claims: Vec<String>,
    /// Matches `sub`, where a missing `sub` counts as empty; `None` allows any.
    pub subjects: Option<StringMatcher>,
    /// The allowed values of `alg`.
    pub algorithms: Vec<Algorithm>,
    /// The allowed values of `typ` (RFC 8725 §3.11), in the form of [`normalize_media_type`]; empty allows any.
    pub types: Vec<String>,
    /// Tolerance for `exp`, `nbf` and `iat`: Envoy's `clock_skew_seconds`.
    pub clock_skew: Duration,
    /// Whether `exp` is required: Envoy's `require_expiration`.
    pub require_expiration: bool,
    /// `exp` must be present and less than this far in the future: Envoy's `max_lifetime`; `None` sets no limit.
    pub max_lifetime: Option<Duration>,
    /// All of these must be met.
    pub claims: Vec<ClaimRule>,
    /// `scope` or `scp` must contain each of these.
    pub scopes: Vec<String>,
    /// Claims that are forwarded to others; none may occur twice in the payload.
    pub forwarded_claims: Vec<String>,
    /// The payload must have a [`payload_value`], with these claims as lists. `None`: no header carries the value.
    pub forwarded_value: Option<Vec<String>>,
}

impl TokenPolicy {
    /// A policy without requirements: every asymmetric algorithm is allowed, and times are checked with the default
    /// skew.
    pub fn permissive() -> Self {
        Self {
            issuers: Issuers::default(),
            bind_key_issuer: false,
            audiences: Vec::new(),
            audience_claims: Vec::new(),
            subjects: None,
            algorithms: Algorithm::ASYMMETRIC.to_vec(),
            types: Vec::new(),
            clock_skew: DEFAULT_CLOCK_SKEW,
            require_expiration: false,
            max_lifetime: None,
            claims: Vec::new(),
            scopes: Vec::new(),
            forwarded_claims: Vec::new(),
            forwarded_value: None,
        }
    }

    /// Checks what is cheap to check, whoever wrote the token: header, issuer, times, audience, and the subject unless a regular
    /// expression must match it. The order is that of Envoy's `jwt_authn`. [`Self::check_signed`] checks the rest.
    ///
    /// # Errors
    /// The first requirement that the token does not meet.
    pub fn check_unsigned(&self, jws: &Jws, claims: &Claims, now: UnixTime) -> Result<(), TokenError> {
        self.issuers.check(jws, claims)?;
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(TokenError::AlgorithmNotAllowed);
        }
        if !self.types.is_empty()
            && !jws.typ.as_deref().is_some_and(|typ| self.types.contains(&normalize_media_type(typ)))
        {
            return Err(TokenError::TypeNotAllowed);
        }
        self.check_times(&claims.times(), now)?;
        let is_due = !self.audiences.is_empty() && self.unread_audience_claims(claims).is_empty();
        if is_due && !claims.aud.as_ref().is_some_and(|aud| aud.has_any(&self.audiences)) {
            return Err(TokenError::AudienceNotAllowed);
        }
        self.check_subject(claims, |subjects| !subjects.is_regex())
    }

    /// Checks what may take longer than the signature: a regular expression, and whatever reads the token a second time. Runs for
    /// tokens that the issuer signed.
    ///
    /// # Errors
    /// The first requirement that the token does not meet.
    pub fn check_signed(&self, jws: &Jws, claims: &Claims) -> Result<(), TokenError> {
        jws.check_json()?;
        self.check_subject(claims, StringMatcher::is_regex)?;
        self.check_claims(&jws.payload, claims)?;
        match &self.forwarded_value {
            Some(lists) if payload_value::encode(&jws.payload, lists).is_none() => Err(TokenError::ClaimsTooLarge),
            _ => Ok(()),
        }
    }

    /// Checks `sub` if the pattern is of this kind. A subject that is too long for a regular expression does not match.
    fn check_subject(&self, claims: &Claims, is_due: impl Fn(&StringMatcher) -> bool) -> Result<(), TokenError> {
        let subject = claims.sub.as_deref().unwrap_or_default();
        match self.subjects.as_ref().filter(|subjects| is_due(subjects)).map(|subjects| subjects.matches(subject)) {
            None | Some(Ok(true)) => Ok(()),
            Some(Ok(false) | Err(TooLong)) => Err(TokenError::SubjectNotAllowed),
        }
    }

    /// Checks `exp`, `nbf` and `iat` at `now`. Also runs for a token that the token cache knows; other checks do not.
    ///
    /// # Errors
    /// [`TokenError::NotYetValid`], [`TokenError::Expired`], [`TokenError::NoExpiration`] or
    /// [`TokenError::LifetimeTooLong`].
    pub fn check_times(&self, times: &Times, now: UnixTime) -> Result<(), TokenError> {
        let (latest, earliest) = (now.plus(self.clock_skew), now.minus(self.clock_skew));
        if [times.nbf, times.iat].into_iter().flatten().any(|from| NumericDate::of(latest) < from) {
            return Err(TokenError::NotYetValid);
        }
        if times.exp.is_some_and(|exp| NumericDate::of(earliest) >= exp) {
            return Err(TokenError::Expired);
        }
        match (times.exp, self.max_lifetime) {
            (None, _) if self.require_expiration || self.max_lifetime.is_some() => Err(TokenError::NoExpiration),
            (Some(exp), Some(max)) if exp >= NumericDate::of(now.plus(max)) => Err(TokenError::LifetimeTooLong),
            _ => Ok(()),
        }
    }

    fn check_claims(&self, payload: &[u8], claims: &Claims) -> Result<(), TokenError> {
        let for_audience = self.unread_audience_claims(claims);
        let reads_more = [&self.scopes[..], &self.forwarded_claims, for_audience].iter().any(|names| !names.is_empty());
        if self.claims.is_empty() && !reads_more {
            return Ok(());
        }
        let of_rules = self.claims.iter().flat_map(|rule| rule.name.candidates());
        let others = for_audience.iter().chain(&self.forwarded_claims).map(String::as_str);
        let claims = SelectedClaims::read(payload, SCOPE_CLAIMS.into_iter().chain(of_rules).chain(others))?;
        let audience = for_audience.iter().find_map(|name| claims.get(name));
        if !for_audience.is_empty() && !audience.is_some_and(|audience| self.is_audience_allowed(audience)) {
            return Err(TokenError::AudienceNotAllowed);
        }
        claim_rules::check(&self.claims, &self.scopes, &claims)
    }

    /// The claims in which the audience is still to be found. None where `aud` decides, which is read of every token.
    fn unread_audience_claims(&self, claims: &Claims) -> &[String] {
        let is_aud_first = self.audience_claims.first().is_some_and(|name| name == "aud");
        if self.audiences.is_empty() || (is_aud_first && claims.aud.is_some()) {
            return &[];
        }
        &self.audience_claims
    }

    /// Whether a string, or a list of strings, names an allowed audience.
    fn is_audience_allowed(&self, audience: &Value) -> bool {
        let is_allowed = |value: &Value| value.as_str().is_some_and(|name| is_wanted_audience(name, &self.audiences));
        match audience {
            Value::Array(names) => names.iter().all(Value::is_string) && names.iter().any(is_allowed),
            name => is_allowed(name),
        }
    }
}

/// Converts a `typ` into the form in which types are compared: lower case, without the prefix `application/` (RFC 7515
/// §4.1.9).
pub fn normalize_media_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(short) if !short.contains('/') => short.to_owned(),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    use super::*;
    use crate::{
        string_matcher::{Pattern, MAX_REGEX_INPUT},
        token::MalformedField,
    };

    const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

    fn verdict(policy: &TokenPolicy, header: &str, payload: &str) -> Result<(), TokenError> {
        let token = format!("{}.{}.AA", BASE64.encode(header), BASE64.encode(payload));
        let jws = Jws::parse(token.as_bytes().into())?;
        policy.check_unsigned(&jws, jws.claims()?, NOW)?;
        policy.check_signed(&jws, jws.claims()?)
    }

    fn check(policy: &TokenPolicy, payload: &str) -> Result<(), TokenError> {
        verdict(policy, r#"{"alg":"ES256"}"#, payload)
    }

    fn strict() -> TokenPolicy {
        let issuers = Issuers::new(vec!["i".into()], Vec::new());
        TokenPolicy { issuers, audiences: vec!["a".into(), "b".into()], ..TokenPolicy::permissive() }
    }

    #[test]
    fn times_are_checked_with_60_seconds_of_skew() {
        let with = |claims: &str| check(&strict(), &format!(r#"{{"iss":"i","aud":"a",{claims}}}"#));
        assert_eq!(with(r#""exp":1699999940"#), Err(TokenError::Expired));
        assert_eq!(with(r#""exp":1699999940.5"#), Ok(()));
        assert_eq!(with(r#""exp":1699999941"#), Ok(()));
        for from in ["nbf", "iat"] {
            assert_eq!(with(&format!(r#""{from}":1700000060"#)), Ok(()));
            assert_eq!(with(&format!(r#""{from}":1700000060.5"#)), Err(TokenError::NotYetValid));
            assert_eq!(with(&format!(r#""{from}":1700000061"#)), Err(TokenError::NotYetValid));
        }
        assert_eq!(with(r#""exp":1e15"#), Ok(()));
    }

    #[test]
    fn issuer_and_audience_match_exactly() {
        let check = |payload| check(&strict(), payload);
        assert_eq!(check(r#"{"iss":"i","aud":["x","b"]}"#), Ok(()));
        assert_eq!(check(r#"{"iss":"I","aud":"a"}"#), Err(TokenError::IssuerNotConfigured));
        assert_eq!(check(r#"{"aud":"a"}"#), Err(TokenError::IssuerNotConfigured));
        assert_eq!(check(r#"{"iss":"i"}"#), Err(TokenError::AudienceNotAllowed));
        assert_eq!(check(r#"{"iss":"i","aud":[]}"#), Err(TokenError::AudienceNotAllowed));
        assert_eq!(check(r#"{"iss":"i","aud":"A"}"#), Err(TokenError::AudienceNotAllowed));
    }

    #[test]
    fn lifetimes_can_be_limited() {
        let required = TokenPolicy { require_expiration: true, ..TokenPolicy::permissive() };
        let bounded = TokenPolicy { max_lifetime: Some(Duration::from_secs(100)), ..TokenPolicy::permissive() };
        assert_eq!(check(&required, "{}"), Err(TokenError::NoExpiration));
        assert_eq!(check(&required, r#"{"exp":1e15}"#), Ok(()));
        assert_eq!(check(&bounded, "{}"), Err(TokenError::NoExpiration));
        assert_eq!(check(&bounded, r#"{"exp":1700000099}"#), Ok(()));
        assert_eq!(check(&bounded, r#"{"exp":1700000100}"#), Err(TokenError::LifetimeTooLong));
        assert_eq!(check(&TokenPolicy::permissive(), "{}"), Ok(()));
    }

    #[test]
    fn subjects_must_match() {
        let pattern = Pattern::Prefix("spiffe://a/".into());
        let policy = TokenPolicy { subjects: Some(StringMatcher::new(pattern, false)), ..TokenPolicy::permissive() };
        assert_eq!(check(&policy, r#"{"sub":"spiffe://a/x"}"#), Ok(()));
        assert_eq!(check(&policy, r#"{"sub":"spiffe://b/x"}"#), Err(TokenError::SubjectNotAllowed));
        assert_eq!(check(&policy, "{}"), Err(TokenError::SubjectNotAllowed));
        let pattern = Pattern::regex(".*").unwrap();
        let policy = TokenPolicy { subjects: Some(StringMatcher::new(pattern, false)), ..TokenPolicy::permissive() };
        let sub = |length| format!(r#"{{"sub":"{}"}}"#, "a".repeat(length));
        assert_eq!(check(&policy, &sub(MAX_REGEX_INPUT)), Ok(()));
        assert_eq!(check(&policy, &sub(MAX_REGEX_INPUT + 1)), Err(TokenError::SubjectNotAllowed), "nobody knows");
    }

    #[test]
    fn types_are_compared_as_media_types() {
        let policy = TokenPolicy { types: vec!["at+jwt".into()], ..TokenPolicy::permissive() };
        for good in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            assert_eq!(verdict(&policy, &format!(r#"{{"alg":"ES256","typ":"{good}"}}"#), "{}"), Ok(()), "{good}");
        }
        for bad in [r#","typ":"JWT""#, "", r#","typ":"application/x/at+jwt""#, r#","typ":["at+jwt"]"#] {
            let header = format!(r#"{{"alg":"ES256"{bad}}}"#);
            assert_eq!(verdict(&policy, &header, "{}"), Err(TokenError::TypeNotAllowed), "{bad}");
        }
        assert_eq!(verdict(&TokenPolicy::permissive(), r#"{"alg":"ES256","typ":"x"}"#, "{}"), Ok(()));
    }

    #[test]
    fn only_listed_algorithms_are_allowed() {
        let policy = TokenPolicy { algorithms: vec![Algorithm::EdDsa], ..TokenPolicy::permissive() };
        assert_eq!(verdict(&policy, r#"{"alg":"ES256"}"#, "{}"), Err(TokenError::AlgorithmNotAllowed));
        assert_eq!(verdict(&policy, r#"{"alg":"Ed25519"}"#, "{}"), Ok(()));
        assert_eq!(
            verdict(&TokenPolicy::permissive(), r#"{"alg":"HS256"}"#, "{}"),
            Err(TokenError::AlgorithmNotAllowed)
        );
    }

    #[test]
    fn no_member_repeats_anywhere() {
        let whole = MalformedField::Whole;
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            &format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
        ] {
            assert_eq!(check(&TokenPolicy::permissive(), bad), Err(TokenError::MalformedPayload(whole)), "{bad}");
        }
        let header = r#"{"alg":"ES256","jwk":{"a":1,"a":1}}"#;
        let denied = Err(TokenError::MalformedHeader(whole));
        assert_eq!(verdict(&TokenPolicy::permissive(), header, "{}"), denied);
    }
}
