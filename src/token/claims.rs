//! The claims of a token (RFC 7519 §4.1).

use std::fmt;

use serde::{
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
    Deserialize, Deserializer,
};
use serde_json::Value;

use super::{MalformedField, TokenError};
use crate::{
    json::{self, from_object, Check, Names, Strict, Text},
    time::UnixTime,
};

/// The claims that the filter reads of every token. A member that repeats, is `null` or has another type is an error.
#[derive(Debug, Default)]
pub struct Claims {
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Audiences>,
    pub(super) sub: Option<String>,
    times: Times,
    /// Whether it is known that no name repeats in the claims that nobody reads. Only the check of large objects is left for
    /// later.
    pub(super) is_checked: bool,
}

impl Claims {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`TokenError::MalformedPayload`].
    pub fn parse(payload: &[u8]) -> Result<Self, TokenError> {
        // Claims that nobody reads are UTF-8 too (RFC 7519 §7.2).
        let text = std::str::from_utf8(payload).map_err(|_| TokenError::MalformedPayload(MalformedField::Whole))?;
        from_object(text).ok_or_else(|| TokenError::MalformedPayload(malformed_field(payload)))
    }

    /// `iss`: the issuer that the token names.
    pub fn issuer(&self) -> Option<&str> {
        self.iss.as_deref()
    }

    /// The claims that bound when the token is good.
    pub fn times(&self) -> Times {
        self.times
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = Claims { is_checked: true, ..Claims::default() };
                let mut names = Names::default();
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    match &*name {
                        "iss" => claims.iss = Some(map.next_value()?),
                        "aud" => claims.aud = Some(map.next_value()?),
                        "sub" => claims.sub = Some(map.next_value()?),
                        "jti" => drop(map.next_value::<String>()?),
                        "exp" => claims.times.exp = Some(map.next_value()?),
                        "nbf" => claims.times.nbf = Some(map.next_value()?),
                        "iat" => claims.times.iat = Some(map.next_value()?),
                        _ => claims.is_checked &= map.next_value_seed(Check::QUICK)?,
                    }
                    claims.is_checked &= names.add(name)?;
                }
                Ok(claims)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The times that a token states of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// The token has expired from this time on.
    pub exp: Option<NumericDate>,
    /// The token is not good before this time.
    pub nbf: Option<NumericDate>,
    /// When the token was issued.
    pub iat: Option<NumericDate>,
}

/// Seconds since the epoch, possibly with fractions (RFC 7519 §2). Only compared, never computed with.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct NumericDate(f64);

impl NumericDate {
    fn read(seconds: f64) -> Option<Self> {
        // As in Envoy: below 2^64. Beyond 2^53 a double holds no single seconds, which nobody lives to see.
        (0.0..18_446_744_073_709_551_616.0).contains(&seconds).then_some(Self(seconds))
    }

    /// This time.
    pub fn of(time: UnixTime) -> Self {
        Self(time.as_millis() as f64 / 1000.0)
    }

    /// This date, rounded up to a millisecond.
    pub fn as_time(self) -> UnixTime {
        UnixTime::from_millis((self.0 * 1000.0).ceil() as u64)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(f64::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("NumericDate out of range"))
    }
}

/// `aud`: one string or an array of strings.
#[derive(Debug)]
pub struct Audiences(Vec<String>);

impl Audiences {
    /// Whether one of `wanted` is among the audiences. Those in `wanted` have gone through [`normalize_audience`].
    pub fn has_any(&self, wanted: &[String]) -> bool {
        self.0.iter().any(|audience| is_wanted_audience(audience, wanted))
    }
}

/// Whether an audience is one of `wanted`, which have gone through [`normalize_audience`].
pub fn is_wanted_audience(audience: &str, wanted: &[String]) -> bool {
    let audience = normalize_audience(audience);
    wanted.iter().any(|wanted| wanted == audience)
}

/// An audience as Envoy compares it: without `http://` or `https://` and without a slash at its end.
pub fn normalize_audience(audience: &str) -> &str {
    let rest = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://")).unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Audiences;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: de::Error>(self, audience: &str) -> Result<Self::Value, E> {
                Ok(Audiences(vec![audience.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut audiences = Vec::new();
                while let Some(audience) = list.next_element()? {
                    audiences.push(audience);
                }
                Ok(Audiences(audiences))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// The name of a claim in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimName {
    /// A name in which a dot may be part of a name or separate the names of nested members: `https://example.com/roles`,
    /// `realm_access.roles`, `kubernetes.io.namespace`. The whole name counts first, then the shortest name of a claim.
    Dotted(String),
    /// The names of nested members, from the outermost in.
    Path(Vec<String>),
}

impl ClaimName {
    /// The claims of a payload that may hold the value.
    pub fn candidates(&self) -> impl Iterator<Item = &str> {
        let (dotted, outermost) = match self {
            Self::Dotted(name) => (Some(name.as_str()), None),
            Self::Path(path) => (None, path.first().map(String::as_str)),
        };
        dotted.into_iter().flat_map(|name| readings(name).map(|(first, _)| first)).chain(outermost)
    }
}

/// The name of a member, and the name within that member, for each way to read a name with dots. The whole name comes first.
fn readings(name: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let at_dot = move |(at, _)| Some((name.get(..at)?, name.get(at..)?.strip_prefix('.')));
    std::iter::once((name, None)).chain(name.match_indices('.').filter_map(at_dot))
}

/// The value that a name with dots means, where `member` gives the members.
fn find_dotted<'v>(name: &str, member: &dyn Fn(&str) -> Option<&'v Value>) -> Option<&'v Value> {
    readings(name).find_map(|(first, rest)| match (member(first)?, rest) {
        (value, None) => Some(value),
        (value, Some(rest)) => find_dotted(rest, &|name| value.get(name)),
    })
}

/// Some claims of a payload.
pub struct SelectedClaims<'n> {
    names: Vec<&'n str>,
    values: Vec<Option<Value>>,
}

impl<'n> SelectedClaims<'n> {
    /// Reads the claims of these names. A name may come more than once.
    ///
    /// # Errors
    /// As for [`select`].
    pub fn read(payload: &[u8], names: impl Iterator<Item = &'n str>) -> Result<Self, TokenError> {
        let mut distinct = Vec::new();
        for name in names {
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        Ok(Self { values: select(payload, &distinct)?, names: distinct })
    }

    /// The claim of this name, which was read.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.names.iter().position(|known| *known == name)?)?.as_ref()
    }

    /// The claim that a configuration means by this name.
    pub fn find(&self, name: &ClaimName) -> Option<&Value> {
        match name {
            ClaimName::Dotted(name) => find_dotted(name, &|name| self.get(name)),
            ClaimName::Path(path) => {
                let (first, rest) = path.split_first()?;
                rest.iter().try_fold(self.get(first)?, |value, member| value.get(member))
            }
        }
    }
}

/// The claim for which a payload could not be read.
fn malformed_field(payload: &[u8]) -> MalformedField {
    let Ok(Value::Object(members)) = json::parse(payload) else { return MalformedField::Whole };
    let is_text = |name: &str| members.get(name).is_none_or(Value::is_string);
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    for (name, field) in [("iss", MalformedField::Iss), ("sub", MalformedField::Sub), ("jti", MalformedField::Jti)] {
        if !is_text(name) {
            return field;
        }
    }
    for (name, no_number, out_of_range) in [
        ("iat", MalformedField::Iat, MalformedField::IatRange),
        ("nbf", MalformedField::Nbf, MalformedField::NbfRange),
        ("exp", MalformedField::Exp, MalformedField::ExpRange),
    ] {
        match members.get(name) {
            Some(Value::Number(number)) if NumericDate::read(number.as_f64().unwrap_or(-1.0)).is_none() => {
                return out_of_range;
            }
            None | Some(Value::Number(_)) => {}
            Some(_) => return no_number,
        }
    }
    if !is_text("aud") && !members.get("aud").is_some_and(is_list) {
        return MalformedField::Aud;
    }
    MalformedField::Whole
}

/// The values of these claims, in the order of `names`. `None`: the payload lacks the claim.
///
/// # Errors
/// [`TokenError::MalformedPayload`], also if one of the claims repeats.
pub fn select(payload: &[u8], names: &[&str]) -> Result<Vec<Option<Value>>, TokenError> {
    struct Select<'a>(&'a [&'a str]);

    impl<'de> Visitor<'de> for Select<'_> {
        type Value = Vec<Option<Value>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut selected = vec![None; self.0.len()];
            while let Some(name) = map.next_key::<Text<'de>>()? {
                let mut slots = self.0.iter().zip(&mut selected).filter(|(wanted, _)| **wanted == name.0);
                match slots.next() {
                    None => drop(map.next_value::<IgnoredAny>()?),
                    Some((_, slot @ None)) => *slot = Some(map.next_value::<Strict>()?.0),
                    Some((_, Some(_))) => return Err(de::Error::custom("a claim repeats")),
                }
            }
            Ok(selected)
        }
    }

    let malformed = TokenError::MalformedPayload(MalformedField::Whole);
    let mut json = serde_json::Deserializer::from_str(std::str::from_utf8(payload).map_err(|_| malformed)?);
    let selected = json.deserialize_map(Select(names)).and_then(|selected| json.end().map(|()| selected));
    selected.map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: TokenError = TokenError::MalformedPayload(MalformedField::Whole);

    #[test]
    fn bad_payloads_are_refused() {
        for bad in [
            r#"{"exp":"1700000000"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":1e300}"#,
            r#"{"nbf":-9223372036854775808}"#,
            r#"{"exp":1,"exp":2}"#,
            r#"{"nbf":true}"#,
            r#"{"iat":"x"}"#,
            r#"{"aud":7}"#,
            r#"{"aud":[7]}"#,
            r#"{"iss":null}"#,
            r#"{"sub":7}"#,
            r#"["i","a"]"#,
            "",
            "{",
            r#"{"iss":"i","iss":"i"}"#,
        ] {
            assert_eq!(Claims::parse(bad.as_bytes()).unwrap_err().kind(), WHOLE, "{bad}");
        }
        assert!(Claims::parse(br#"{"exp":1e15,"nbf":1.5}"#).is_ok());
        assert!(Claims::parse(br#"{"exp":9223372036854775807}"#).is_ok());
        assert!(Claims::parse(br#"{"exp":18446744073709551616}"#).is_err());
    }

    #[test]
    fn a_name_with_dots_is_one_claim_first_and_a_path_is_a_path() {
        let payload =
            br#"{"https://x.com/roles":"r","https://x":{"com/roles":"no"},"kubernetes.io":{"namespace":"n","a.b":"d"},
            "a.b":"whole","a":{"b":"nested"},"c.d":{"e.f":"longer"},"c":{"d":{"e":{"f":"shortest"}}}}"#;
        let name = |name: &str| ClaimName::Dotted(name.to_owned());
        let path = |path: &[&str]| ClaimName::Path(path.iter().map(|key| (*key).to_owned()).collect());
        for (name, value) in [
            (name("https://x.com/roles"), Some("r")),
            (name("a.b"), Some("whole")),
            (name("kubernetes.io.namespace"), Some("n")),
            (name("kubernetes.io.a.b"), Some("d")),
            (name("kubernetes.io.a"), None),
            (name("kubernetes.io.namespace.x"), None),
            (name("c.d.e.f"), Some("shortest")),
            (name("."), None),
            (path(&["https://x.com/roles"]), Some("r")),
            (path(&["kubernetes.io", "namespace"]), Some("n")),
            (path(&["a", "b"]), Some("nested")),
            (path(&["a.b"]), Some("whole")),
            (path(&["a", "b", "c"]), None),
            (path(&["a", "c"]), None),
        ] {
            let claims = SelectedClaims::read(payload, name.candidates()).unwrap();
            assert_eq!(claims.find(&name).and_then(Value::as_str), value, "{name:?}");
        }
    }

    #[test]
    fn single_claims_are_selected() {
        let payload = br#"{"a":1,"b":{"c":[2]},"d":null,"x":1,"x":2}"#;
        let expected = vec![Some(serde_json::json!({"c": [2]})), None, Some(Value::Null)];
        assert_eq!(select(payload, &["b", "e", "d"]), Ok(expected));
        assert_eq!(select(payload, &["x"]), Err(WHOLE));
        assert_eq!(select(br#"{"a":{"b":1,"b":2}}"#, &["a"]), Err(WHOLE), "nor within");
        // A name that serde_json knows means nothing here.
        let text = br#"{"a":{"$serde_json::private::RawValue":"\"admin\""}}"#;
        let expected = serde_json::json!({"$serde_json::private::RawValue": "\"admin\""});
        assert_eq!(select(text, &["a"]), Ok(vec![Some(expected)]));
        for bad in [&b"[]"[..], b"{} x", b"{", b"7"] {
            assert_eq!(select(bad, &["a"]), Err(WHOLE));
        }
    }
}
