//! What a token says of itself (RFC 7519 §4.1), and whether the provider takes it.

use std::{borrow::Cow, time::Duration};

use serde::{de, Deserialize, Deserializer};

use super::{
    jws::{from_object, present},
    TokenError,
};
use crate::time::UnixTime;

/// How far the issuer's clock may be off: Envoy's `clock_skew_seconds`.
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The claims that are read here. A member that repeats, is `null` or has another type is refused.
#[derive(Debug, Default, Deserialize)]
pub struct Claims {
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    #[serde(default)]
    aud: Audiences,
    #[serde(default, deserialize_with = "present")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
}

/// What a provider asks of the claims.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The only `iss` taken; `None` takes any.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; empty takes any.
    pub audiences: Vec<String>,
    /// Allowance on `exp` and `nbf`.
    pub clock_skew: Duration,
}

impl Claims {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`TokenError::MalformedPayload`].
    pub fn parse(payload: &[u8]) -> Result<Self, TokenError> {
        from_object(payload).ok_or(TokenError::MalformedPayload)
    }

    /// Checks the claims in `jwt_authn`'s order: issuer, times, audience.
    ///
    /// # Errors
    /// The first rule that the token breaks.
    pub fn check(&self, rules: &Rules, now: UnixTime) -> Result<(), TokenError> {
        if rules.issuer.is_some() && rules.issuer != self.iss {
            return Err(TokenError::IssuerNotConfigured);
        }
        if self.nbf.is_some_and(|nbf| now.plus(rules.clock_skew).as_numeric_date() < nbf.0) {
            return Err(TokenError::NotYetValid);
        }
        if self.exp.is_some_and(|exp| now.minus(rules.clock_skew).as_numeric_date() >= exp.0) {
            return Err(TokenError::Expired);
        }
        if !rules.audiences.is_empty() && !self.aud.0.iter().any(|aud| rules.audiences.contains(aud)) {
            return Err(TokenError::AudienceNotAllowed);
        }
        Ok(())
    }
}

/// Seconds since the epoch, possibly with fractions (RFC 7519 §2). Only compared, never computed with.
#[derive(Clone, Copy, Debug)]
struct NumericDate(f64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // 2^53: beyond it a double no longer holds whole seconds.
        if (0.0..=9_007_199_254_740_992.0).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(de::Error::custom("NumericDate out of range"))
        }
    }
}

/// `aud`: one string or an array of strings.
#[derive(Debug, Default)]
struct Audiences(Vec<String>);

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form<'a> {
            One(#[serde(borrow)] Cow<'a, str>),
            Many(Vec<String>),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::One(audience) => vec![audience.into_owned()],
            Form::Many(audiences) => audiences,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

    fn check(payload: &str) -> Result<(), TokenError> {
        let rules =
            Rules { issuer: Some("i".into()), audiences: vec!["a".into(), "b".into()], clock_skew: DEFAULT_CLOCK_SKEW };
        Claims::parse(payload.as_bytes())?.check(&rules, NOW)
    }

    #[test]
    fn times_are_checked_with_sixty_seconds_of_skew() {
        let with = |claims: &str| check(&format!(r#"{{"iss":"i","aud":"a",{claims}}}"#));
        assert_eq!(with(r#""exp":1699999940"#), Err(TokenError::Expired));
        assert_eq!(with(r#""exp":1699999940.5"#), Ok(()));
        assert_eq!(with(r#""exp":1699999941"#), Ok(()));
        assert_eq!(with(r#""nbf":1700000060"#), Ok(()));
        assert_eq!(with(r#""nbf":1700000060.5"#), Err(TokenError::NotYetValid));
        assert_eq!(with(r#""nbf":1700000061"#), Err(TokenError::NotYetValid));
        assert_eq!(with(r#""exp":1e15"#), Ok(()));
        for bad in [
            r#""exp":"1700000000""#,
            r#""exp":null"#,
            r#""exp":-1"#,
            r#""exp":1e300"#,
            r#""nbf":-9223372036854775808"#,
            r#""exp":1,"exp":2"#,
            r#""nbf":true"#,
        ] {
            assert_eq!(with(bad), Err(TokenError::MalformedPayload), "{bad}");
        }
    }

    #[test]
    fn issuer_and_audience_are_exact() {
        assert_eq!(check(r#"{"iss":"i","aud":["x","b"]}"#), Ok(()));
        assert_eq!(check(r#"{"iss":"I","aud":"a"}"#), Err(TokenError::IssuerNotConfigured));
        assert_eq!(check(r#"{"aud":"a"}"#), Err(TokenError::IssuerNotConfigured));
        assert_eq!(check(r#"{"iss":"i"}"#), Err(TokenError::AudienceNotAllowed));
        assert_eq!(check(r#"{"iss":"i","aud":[]}"#), Err(TokenError::AudienceNotAllowed));
        assert_eq!(check(r#"{"iss":"i","aud":"A"}"#), Err(TokenError::AudienceNotAllowed));
        for bad in [
            r#"{"iss":"i","aud":7}"#,
            r#"{"iss":"i","aud":[7]}"#,
            r#"{"iss":null}"#,
            r#"["i","a"]"#,
            "",
            "{",
            r#"{"iss":"i","iss":"i"}"#,
        ] {
            assert_eq!(check(bad), Err(TokenError::MalformedPayload), "{bad}");
        }
    }
}
