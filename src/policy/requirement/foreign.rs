//! Which tokens are of no configured issuer.
//!
//! A foreign token passes unverified, and an upstream reads the token by its own rules. So a token is foreign only if every reader
//! finds the same foreign issuer in the token, or none can find any issuer: a JWS that this filter can read as strictly as its own
//! tokens, or an opaque string whose sections are no text. Whatever else there is counts as ours, and is denied.

use base64::{
    alphabet,
    engine::{general_purpose::URL_SAFE_NO_PAD, DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    Engine as _,
};
use serde_json::{Map, Value};

use super::issuer_index::IssuerIndex;
use crate::{
    bytes, json,
    token::issuers::{Issuers, MAX_TENANT_BYTES},
};

const LAX: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);
/// Readers differ about a token with more sections.
const MAX_SECTIONS: usize = 3;
/// A shorter text names no issuer.
const SHORTEST_TEXT: usize = 8;

/// The issuers of all providers, in the form of [`plain`] and without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct OwnIssuers {
    index: IssuerIndex,
    /// No issuer of ours is longer.
    longest: usize,
}

impl OwnIssuers {
    pub(super) fn new<'i>(issuers: impl Iterator<Item = &'i Issuers>) -> Self {
        let start = |part: &str| plain(part).trim_ascii_start().to_owned();
        let end = |part: &str| plain(part).trim_ascii_end().trim_end_matches('/').to_owned();
        let plain: Vec<Issuers> =
            issuers.map(|issuers| issuers.rewritten(|iss| end(&start(iss)), start, end)).collect();
        let exact = plain.iter().flat_map(Issuers::exact).map(String::len);
        let templates = plain.iter().flat_map(Issuers::templates).map(|template| {
            let (before, after) = template.parts();
            before.len().saturating_add(after.len()).saturating_add(MAX_TENANT_BYTES)
        });
        let longest = exact.chain(templates).max().unwrap_or_default();
        Self { index: IssuerIndex::new(plain.iter().enumerate()), longest }
    }

    /// Whether this token is of no configured issuer. What RFC 6750 §2.1 does not allow as a token is not foreign.
    pub(super) fn is_foreign(&self, token: &[u8]) -> bool {
        let sections: Vec<_> = bytes::split(token, b'.').take(MAX_SECTIONS.saturating_add(1)).collect();
        if token.is_empty() || !is_bearer(token) || !self.index.of_any().is_empty() || sections.len() > MAX_SECTIONS {
            return false;
        }
        match sections.as_slice() {
            [header, payload, _] if strict(header).is_some() => {
                strict(payload).is_some_and(|claims| self.is_of_other(&claims))
            }
            sections => sections.iter().all(|section| is_opaque(section)),
        }
    }

    /// Whether no claim that a reader may take for `iss` is one of our issuers. Some readers ignore the case of names.
    fn is_of_other(&self, claims: &Map<String, Value>) -> bool {
        let mut issuers = claims.iter().filter(|(name, _)| plain(name).trim_ascii() == "iss").map(|(_, value)| value);
        issuers.all(|iss| iss.as_str().is_some_and(|iss| !self.is_own(iss)))
    }

    /// Whether this is an issuer of ours, in any case of letters, with any tenant, and with or without slashes at its end.
    fn is_own(&self, iss: &str) -> bool {
        let iss = plain(iss);
        self.index.resembles(iss.trim_ascii().trim_end_matches('/').as_bytes(), self.longest)
    }
}

/// Whether these are characters of a bearer token (RFC 6750 §2.1).
fn is_bearer(token: &[u8]) -> bool {
    token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte))
}

/// The JSON object of a section that is read alike by all: canonical base64url of an object in which no member repeats.
fn strict(section: &[u8]) -> Option<Map<String, Value>> {
    let text = URL_SAFE_NO_PAD.decode(section).ok().filter(|text| json::is_strict(text))?;
    match json::parse(&text) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// Whether nobody finds a claim in this section: neither text nor a name is in what the readers of base64 make of the section. Some
/// take `-` and `_` for `+` and `/`, and some pass over them.
fn is_opaque(section: &[u8]) -> bool {
    // Some readers begin anew after padding.
    let is_padded_within = section.iter().skip_while(|byte| **byte != b'=').any(|byte| *byte != b'=');
    let digits = |byte: &u8| match byte {
        b'+' => Some(b'-'),
        b'/' => Some(b'_'),
        b'=' | b'~' => None,
        other => Some(*other),
    };
    let all: Vec<u8> = section.iter().filter_map(digits).collect();
    let some: Vec<u8> = section.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    !is_padded_within && [all, some].into_iter().all(is_silent)
}

/// Whether these digits of base64 say nothing. What remains of UTF-16 without NUL is ASCII.
fn is_silent(mut digits: Vec<u8>) -> bool {
    // One digit is less than a byte.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    let Ok(mut text) = LAX.decode(digits) else { return false };
    text.retain(|byte| *byte != 0);
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let is_short = text.len() < SHORTEST_TEXT;
    let contains = |part: &[u8]| text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    is_short || !(text.iter().all(is_text) || [&b"iss"[..], b"\\u", "i\u{17f}s".as_bytes()].into_iter().any(contains))
}

/// The ASCII characters of a text, in lower case. U+017F is an s to some readers of names.
fn plain(text: &str) -> String {
    let characters = text.chars().map(|character| if character == '\u{17f}' { 's' } else { character });
    characters.filter(char::is_ascii).map(|character| character.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
