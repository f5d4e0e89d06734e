//! Validation of a token's header and claims: everything but the signature.

use std::time::Duration;

use serde_json::Value;

use super::{
    claims::{ClaimName, Claims, NumericDate, SelectedClaims, Times},
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
    /// The required `iss`; `None` allows any.
    pub issuer: Option<String>,
    /// `aud` must contain one of these; empty allows any. Both sides are compared in the form of
    /// [`super::claims::normalize_audience`].
    pub audiences: Vec<String>,
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

/// A requirement on one claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRule {
    /// The claim.
    pub name: ClaimName,
    /// The condition on the value.
    pub value: ClaimValue,
}

/// The required value of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// Any value but `null`.
    Any,
    /// A list that contains this value, or a space-separated string that contains it as a word.
    Contains(Value),
    /// Exactly this value.
    Equals(Value),
}

impl TokenPolicy {
    /// A policy without requirements: every asymmetric algorithm is allowed, and times are checked with the default
    /// skew.
    pub fn permissive() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
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
        if self.issuer.is_some() && self.issuer.as_deref() != claims.issuer() {
            return Err(TokenError::IssuerNotConfigured);
        }
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(TokenError::AlgorithmNotAllowed);
        }
        if !self.types.is_empty()
            && !jws.typ.as_deref().is_some_and(|typ| self.types.contains(&normalize_media_type(typ)))
        {
            return Err(TokenError::TypeNotAllowed);
        }
        self.check_times(&claims.times(), now)?;
        if !self.audiences.is_empty() && !claims.aud.has_any(&self.audiences) {
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
        self.check_claims(&jws.payload)?;
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

    fn check_claims(&self, payload: &[u8]) -> Result<(), TokenError> {
        if self.claims.is_empty() && self.scopes.is_empty() && self.forwarded_claims.is_empty() {
            return Ok(());
        }
        let of_rules = self.claims.iter().flat_map(|rule| rule.name.candidates());
        let forwarded = self.forwarded_claims.iter().map(String::as_str);
        let claims = SelectedClaims::read(payload, ["scope", "scp"].into_iter().chain(of_rules).chain(forwarded))?;
        let is_met = |rule: &ClaimRule| claims.find(&rule.name).is_some_and(|value| rule.value.matches(value));
        if !self.claims.iter().all(is_met) {
            return Err(TokenError::ClaimNotAllowed);
        }
        let is_granted = |scope: &String| {
            let scope = ClaimValue::Contains(Value::from(scope.as_str()));
            [claims.get("scope"), claims.get("scp")].into_iter().flatten().any(|value| scope.matches(value))
        };
        if self.scopes.iter().all(is_granted) {
            Ok(())
        } else {
            Err(TokenError::InsufficientScope)
        }
    }
}

impl ClaimValue {
    fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, value) => !value.is_null(),
            (Self::Equals(expected), value) => expected == value,
            (Self::Contains(expected), Value::Array(values)) => values.contains(expected),
            (Self::Contains(Value::String(expected)), Value::String(words)) => {
                words.split(' ').any(|word| word == expected)
            }
            (Self::Contains(_), _) => false,
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
    use serde_json::json;

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
        TokenPolicy { issuer: Some("i".into()), audiences: vec!["a".into(), "b".into()], ..TokenPolicy::permissive() }
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
    fn claims_can_be_required() {
        let policy = |value, path: &[&str]| TokenPolicy {
            claims: vec![ClaimRule { name: ClaimName::Dotted(path.join(".")), value }],
            ..TokenPolicy::permissive()
        };
        let cases = [
            (policy(ClaimValue::Any, &["a"]), r#"{"a":0}"#, r#"{"a":null}"#),
            (policy(ClaimValue::Equals(json!("x")), &["a", "b"]), r#"{"a":{"b":"x"}}"#, r#"{"a":{"b":["x"]}}"#),
            (policy(ClaimValue::Equals(json!(true)), &["a"]), r#"{"a":true}"#, r#"{"a":"true"}"#),
            (policy(ClaimValue::Contains(json!("x")), &["a"]), r#"{"a":["y","x"]}"#, r#"{"a":["xx"]}"#),
            (policy(ClaimValue::Contains(json!("x")), &["a"]), r#"{"a":"y x"}"#, r#"{"a":"yx"}"#),
            (policy(ClaimValue::Contains(json!(7)), &["a"]), r#"{"a":[7]}"#, r#"{"a":7}"#),
            (
                policy(ClaimValue::Contains(json!("x")), &["https://e", "io/r"]),
                r#"{"https://e.io/r":["x"]}"#,
                r#"{"r":1}"#,
            ),
            // The claim of the whole name counts first.
            (policy(ClaimValue::Equals(json!(1)), &["a", "b"]), r#"{"a.b":1,"a":{"b":2}}"#, r#"{"a.b":2,"a":{"b":1}}"#),
            (
                policy(ClaimValue::Equals(json!("prod")), &["kubernetes", "io", "namespace"]),
                r#"{"kubernetes.io":{"namespace":"prod"}}"#,
                r#"{"kubernetes.io":{"name":"prod"}}"#,
            ),
        ];
        for (policy, good, bad) in cases {
            assert_eq!(check(&policy, good), Ok(()), "{good}");
            for bad in [bad, "{}", r#"{"a":[]}"#] {
                let denied = check(&policy, bad) == Err(TokenError::ClaimNotAllowed);
                assert!(denied || (bad == r#"{"a":[]}"# && policy.claims[0].value == ClaimValue::Any), "{bad}");
            }
        }
        assert_eq!(
            check(&policy(ClaimValue::Any, &["a"]), r#"{"a":1,"a":2}"#),
            Err(TokenError::MalformedPayload(MalformedField::Whole))
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

    #[test]
    fn scopes_must_all_be_granted() {
        let policy = TokenPolicy { scopes: vec!["read".into(), "write".into()], ..TokenPolicy::permissive() };
        for good in [r#"{"scope":"x write read"}"#, r#"{"scp":["read","write"]}"#, r#"{"scope":"read","scp":"write"}"#]
        {
            assert_eq!(check(&policy, good), Ok(()), "{good}");
        }
        for bad in
            [r#"{"scope":"read"}"#, r#"{"scope":"read,write"}"#, r#"{"scp":["read write"]}"#, "{}", r#"{"scope":7}"#]
        {
            assert_eq!(check(&policy, bad), Err(TokenError::InsufficientScope), "{bad}");
        }
    }
}
