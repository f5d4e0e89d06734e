//! The compact form of a JWS (RFC 7515 §3.1), parsed strictly.

use std::{fmt, rc::Rc};

use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine as _};
use serde::{
    de::{self, MapAccess, Visitor},
    Deserialize, Deserializer,
};
use serde_json::Value;

use super::{claims::Claims, MalformedField, TokenError};
use crate::{
    bytes,
    json::{self, from_object, Check, Names, Strict, Text},
    keys::Algorithm,
};

/// A parsed token. Nothing in it is trusted: the signature has not been checked.
pub struct Jws {
    /// The algorithm that the header names.
    pub algorithm: Algorithm,
    /// The key that the header names.
    pub kid: Option<String>,
    /// The media type that the header states, if it is a string.
    pub typ: Option<String>,
    /// The decoded payload.
    pub payload: Vec<u8>,
    /// The decoded signature.
    pub signature: Vec<u8>,
    token: Rc<[u8]>,
    signed_length: usize,
    /// Whether it is known that no name repeats in the header.
    is_header_checked: bool,
    claims: Result<Claims, TokenError>,
}

impl Jws {
    /// Parses a token.
    ///
    /// # Errors
    /// The form is wrong in a way that [`TokenError`] names. What is wrong with the claims alone, [`Self::claims`] says.
    pub fn parse(token: Rc<[u8]>) -> Result<Self, TokenError> {
        let parts = parse(&token)?;
        let claims = Claims::parse(&parts.payload);
        let Parts { header, algorithm, payload, signature, signed_length } = parts;
        // As in `jwt_authn`, an empty `kid` names no key.
        let kid = header.kid.filter(|kid| !kid.is_empty());
        let (typ, is_header_checked) = (header.typ, header.is_checked);
        Ok(Self { algorithm, kid, typ, payload, signature, token, signed_length, is_header_checked, claims })
    }

    /// The bytes that were signed.
    pub fn signed(&self) -> &[u8] {
        self.token.get(..self.signed_length).unwrap_or_default()
    }

    /// The whole token.
    pub fn token(&self) -> &[u8] {
        &self.token
    }

    /// Checks the large objects that nobody reads: no name repeats, at any depth. Upstreams may read these members. In small
    /// objects, [`Self::parse`] has checked that.
    ///
    /// # Errors
    /// [`TokenError::MalformedPayload`] or [`TokenError::MalformedHeader`].
    pub fn check_json(&self) -> Result<(), TokenError> {
        if !self.claims()?.is_checked && !json::is_strict(&self.payload) {
            return Err(TokenError::MalformedPayload(MalformedField::Whole));
        }
        let header = || bytes::split_once(&self.token, b'.').and_then(|(header, _)| decode(header));
        if !self.is_header_checked && !header().is_some_and(|header| json::is_strict(&header)) {
            return Err(TokenError::MalformedHeader(MalformedField::Whole));
        }
        Ok(())
    }

    /// The registered claims.
    ///
    /// # Errors
    /// [`TokenError::MalformedPayload`].
    pub fn claims(&self) -> Result<&Claims, TokenError> {
        self.claims.as_ref().map_err(|error| *error)
    }
}

impl fmt::Debug for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jws({} bytes)", self.token.len())
    }
}

/// The three sections of a token, decoded.
struct Parts {
    header: Header,
    algorithm: Algorithm,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signed_length: usize,
}

/// The members that the filter reads. All others (`jku`, `x5u`, `jwk`, `x5c`, …) are skipped (RFC 8725 §3.10), but no member
/// may repeat (RFC 7515 §4).
#[derive(Default)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    /// Whether there is `crit`, or `b64` of RFC 7797. The filter knows no extension.
    demands_extension: bool,
    /// Whether it is known that no name repeats in the members that nobody reads.
    is_checked: bool,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { is_checked: true, ..Header::default() };
                let mut names = Names::default();
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    match &*name {
                        "alg" => header.alg = Some(map.next_value()?),
                        "kid" => header.kid = Some(map.next_value()?),
                        // A `typ` of another type is no `typ` that a policy could allow.
                        "typ" => header.typ = map.next_value::<Strict>()?.0.as_str().map(str::to_owned),
                        other => {
                            header.demands_extension |= matches!(other, "crit" | "b64");
                            header.is_checked &= map.next_value_seed(Check::QUICK)?;
                        }
                    }
                    if !names.add(name)? {
                        return Err(de::Error::custom("too many members"));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn parse(token: &[u8]) -> Result<Parts, TokenError> {
    let mut sections = bytes::split(token, b'.');
    let (Some(header), Some(payload), Some(signature), None) =
        (sections.next(), sections.next(), sections.next(), sections.next())
    else {
        return Err(TokenError::Malformed);
    };
    // A payload may be empty (RFC 7515 §2), though not the payload of a JWT.
    if header.is_empty() || signature.is_empty() {
        return Err(TokenError::Malformed);
    }
    // "header.payload" is a prefix of the token: one dot is between the sections.
    let signed_length = header.len().saturating_add(payload.len()).saturating_add(1);

    let header = decode(header).ok_or(TokenError::HeaderEncoding)?;
    // Strings that nobody reads are UTF-8 too (RFC 8259 §8.1).
    let header_text = std::str::from_utf8(&header).map_err(|_| TokenError::MalformedHeader(MalformedField::Whole))?;
    let header: Header =
        from_object(header_text).ok_or_else(|| TokenError::MalformedHeader(malformed_field(&header)))?;
    if header.demands_extension {
        return Err(TokenError::UnknownExtension);
    }
    let alg = header.alg.as_deref().ok_or(TokenError::MalformedHeader(MalformedField::Alg))?;
    let algorithm = Algorithm::from_name(alg).ok_or(TokenError::AlgorithmNotSupported)?;
    let payload = decode(payload).ok_or(TokenError::PayloadEncoding)?;
    let signature = decode(signature).ok_or(TokenError::SignatureEncoding)?;
    Ok(Parts { header, algorithm, payload, signature, signed_length })
}

/// The member for which a header could not be read.
fn malformed_field(header: &[u8]) -> MalformedField {
    let is_wrong = |member: Option<&Value>| member.is_some_and(|member| !member.is_string());
    match json::parse(header) {
        Ok(Value::Object(members)) if is_wrong(members.get("alg")) => MalformedField::Alg,
        Ok(Value::Object(members)) if is_wrong(members.get("kid")) => MalformedField::Kid,
        _ => MalformedField::Whole,
    }
}

/// Decodes unpadded base64url without stray trailing bits, so that one token has one form.
fn decode(section: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(section).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Hash;

    fn token(header: &str, payload: &str) -> Vec<u8> {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)).into_bytes()
    }

    fn error(header: &str, payload: &str) -> TokenError {
        Jws::parse(token(header, payload).into()).unwrap_err()
    }

    #[test]
    fn parses_the_compact_form() {
        let token = token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"iss":"i"}"#);
        let jws = Jws::parse(token.as_slice().into()).unwrap();
        assert_eq!(
            (jws.algorithm, jws.kid.as_deref(), jws.signature.as_slice()),
            (Algorithm::Es(Hash::Sha256), Some("k"), &b"sig"[..])
        );
        assert_eq!(jws.signed(), &token[..token.len() - 5]);
    }

    #[test]
    fn a_typ_of_another_type_is_none_and_an_empty_kid_too() {
        for (header, typ) in [
            (r#"{"alg":"ES256","kid":""}"#, None),
            (r#"{"alg":"ES256","typ":"at+jwt"}"#, Some("at+jwt")),
            (r#"{"alg":"ES256","typ":7}"#, None),
            (r#"{"alg":"ES256","typ":null}"#, None),
            (r#"{"alg":"ES256","typ":["JWT"]}"#, None),
        ] {
            let jws = Jws::parse(token(header, "{}").into()).unwrap();
            assert_eq!((jws.kid.as_deref(), jws.typ.as_deref()), (None, typ), "{header}");
        }
    }

    #[test]
    fn refuses_every_other_form() {
        let cases: &[&[u8]] = &[
            b"",
            b".",
            b"..",
            b"...",
            b"a.b",
            b"a.b.c.d",
            b"\xff\xfe.\x00.\xff",
            b" eyJ9.e30.",
            b"e30=.e30.AA",
            b"e30.e30.AB",
            b"{}.{}.AA",
        ];
        for case in cases {
            assert!(Jws::parse((*case).into()).is_err(), "{case:?}");
        }
        let error = |token: Vec<u8>| Jws::parse(token.into()).unwrap_err();
        let joined = [token(r#"{"alg":"ES256"}"#, "{}"), b",e30.e30.AA".to_vec()].concat();
        assert_eq!(error(joined), TokenError::Malformed);
    }

    #[test]
    fn names_repeat_nowhere() {
        let members = |count: usize| (0..count).map(|at| format!(r#""m{at}":1,"#)).collect::<String>();
        let repeats = r#"{"x":[{"a":1,"b":{"c":2,"c":3}}]}"#;
        assert_eq!(error(repeats, "{}"), TokenError::MalformedHeader(MalformedField::Whole));
        let header = r#"{"alg":"ES256"}"#;
        for (payload, at_once, later) in [
            (r#"{"x":[{"a":1,"b":{"c":2}}]}"#.to_owned(), true, true),
            (repeats.to_owned(), false, false),
            // Large objects are checked once the signature is.
            (format!(r#"{{{}"m":1}}"#, members(100)), true, true),
            (format!(r#"{{{}"m99":1}}"#, members(100)), true, false),
            (format!(r#"{{"x":{{{}"m":1}}}}"#, members(100)), true, true),
            (format!(r#"{{"x":{{{}"m99":1}}}}"#, members(100)), true, false),
        ] {
            let jws = Jws::parse(token(header, &payload).into()).unwrap();
            assert_eq!((jws.claims().is_ok(), jws.check_json().is_ok()), (at_once, later), "{payload}");
        }
        let header = format!(r#"{{"alg":"ES256","x":{{{}"m99":1}}}}"#, members(100));
        let jws = Jws::parse(token(&header, "{}").into()).unwrap();
        assert_eq!(jws.check_json(), Err(TokenError::MalformedHeader(MalformedField::Whole)));
    }

    #[test]
    fn every_string_is_utf_8() {
        for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
            let member = |before: &str| [before.as_bytes(), bytes, b"\"}"].concat();
            let token = |header: &[u8], payload: &[u8]| {
                format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)).into_bytes()
            };
            let header = token(&member(r#"{"alg":"ES256","x":""#), b"{}");
            let error = Jws::parse(header.into()).unwrap_err();
            assert_eq!(error, TokenError::MalformedHeader(MalformedField::Whole), "{bytes:?}");
            let payload = token(br#"{"alg":"ES256"}"#, &member(r#"{"x":""#));
            let error = Jws::parse(payload.into()).unwrap().claims().unwrap_err();
            assert_eq!(error, TokenError::MalformedPayload(MalformedField::Whole), "{bytes:?}");
        }
    }

    #[test]
    fn refuses_headers_that_are_not_understood() {
        assert_eq!(error(r#"{"alg":"none"}"#, "{}"), TokenError::AlgorithmNotSupported);
        assert_eq!(error(r#"{"alg":"rs256"}"#, "{}"), TokenError::AlgorithmNotSupported);
        assert_eq!(error(r#"{"alg":"ES256","crit":["x"]}"#, "{}"), TokenError::UnknownExtension);
        assert_eq!(error(r#"{"alg":"ES256","crit":null}"#, "{}"), TokenError::UnknownExtension);
        assert_eq!(error(r#"{"alg":"ES256","b64":false}"#, "{}"), TokenError::UnknownExtension);
        let members = (0..65).map(|number| format!(r#""m{number}":1"#)).collect::<Vec<_>>();
        assert_eq!(
            error(&format!(r#"{{"alg":"ES256",{}}}"#, members.join(",")), "{}"),
            TokenError::MalformedHeader(MalformedField::Whole)
        );
        for header in [
            r#"{}"#,
            r#"[]"#,
            r#"["ES256"]"#,
            r#"{"alg":7}"#,
            r#"{"alg":"ES256","alg":"ES256"}"#,
            r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
            r#"{"alg":"ES256","kid":7}"#,
            r#"{"alg":"ES256","kid":null}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"ES256","typ":{"a":1,"a":2}}"#,
            r#"{"alg":"ES256","typ":7,"typ":7}"#,
            r#"{"alg":"ES256","jku":"a","jku":"a"}"#,
            r#"{"alg":"ES256","\u0061lg":"ES256"}"#,
            r#"{"kid":"a"}"#,
            r#"{"alg":"ES256"} x"#,
        ] {
            assert_eq!(error(header, "{}").kind(), TokenError::MalformedHeader(MalformedField::Whole), "{header}");
        }
    }
}
