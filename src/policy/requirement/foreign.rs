//! Which tokens are of no configured issuer.
//!
//! A foreign token passes unverified, and an upstream reads the token by its own rules. So what some reader may take for a token
//! of ours is not foreign: one with another alphabet of base64, with padding, in UTF-16, with a repeated `iss`, an `ISS`, a part
//! that is no JSON, or another token within.

use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    Engine as _,
};

use super::issuer_index::IssuerIndex;
use crate::{
    bytes,
    token::issuers::{Issuers, MAX_TENANT_BYTES},
};

const LAX: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);
/// How deep tokens within tokens are read. A deeper token is not foreign.
const MAX_DEPTH: u8 = 4;
const ISS: &[u8] = b"iss";
/// What may end the value. A value in quotes ends with the quotes only.
const ENDS: [&[u8]; 2] = [b"\"", b" \t\r\n\"'`,;&]})<"];

/// The issuers of all providers, in the form of [`plain`] and without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct OwnIssuers {
    index: IssuerIndex,
    /// No issuer of ours is longer.
    longest: usize,
}

impl OwnIssuers {
    pub(super) fn new<'i>(issuers: impl Iterator<Item = &'i Issuers>) -> Self {
        let text = |text: &str| String::from_utf8(plain(text.as_bytes())).unwrap_or_default();
        let start = |part: &str| text(part).trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
        let end = |part: &str| text(part).trim_ascii_end().trim_end_matches('/').to_owned();
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

    /// Whether no issuer of ours is in this token. What RFC 6750 §2.1 does not allow as a token is not foreign.
    pub(super) fn is_foreign(&self, token: &[u8]) -> bool {
        !token.is_empty() && is_bearer(token) && self.index.of_any().is_empty() && !self.may_be_in(token, MAX_DEPTH)
    }

    fn may_be_in(&self, token: &[u8], depth: u8) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return true };
        let may_be_within = |text: Option<Vec<u8>>| {
            let Some(text) = text else { return true };
            let is_token = text.contains(&b'.') && is_bearer(&text);
            self.is_named_in(&plain(&text)) || (is_token && self.may_be_in(&text, depth))
        };
        bytes::split(token, b'.').any(|section| {
            // Some readers pass over padding, some begin anew after padding.
            let begun_anew = || bytes::split(section, b'=').map(decode).collect::<Option<Vec<_>>>();
            may_be_within(decode(section))
                || (section.contains(&b'=') && may_be_within(begun_anew().map(|parts| parts.concat())))
        })
    }

    /// Whether a value after the word `iss` is one of our issuers. A value begins with a letter or a digit.
    fn is_named_in(&self, text: &[u8]) -> bool {
        let mut places = text.windows(ISS.len()).enumerate().filter(|(_, word)| *word == ISS);
        places.any(|(at, _)| {
            let rest = text.get(at.saturating_add(ISS.len())..).unwrap_or_default();
            let start = rest.iter().position(u8::is_ascii_alphanumeric).unwrap_or(rest.len());
            let rest = rest.get(start..).unwrap_or_default();
            ENDS.iter().any(|ends| {
                let mut near = rest.iter().take(self.longest.saturating_add(8));
                let end = near.position(|byte| ends.contains(byte)).unwrap_or(rest.len());
                self.is_own(rest.get(..end).unwrap_or_default())
            })
        })
    }

    fn is_own(&self, iss: &[u8]) -> bool {
        let mut iss = iss.trim_ascii();
        while let Some(shorter) = iss.strip_suffix(b"/") {
            iss = shorter;
        }
        self.index.resembles(iss, self.longest)
    }
}

/// Whether these are characters of a bearer token (RFC 6750 §2.1).
fn is_bearer(token: &[u8]) -> bool {
    token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte))
}

/// Decodes base64 of either alphabet, with or without padding.
fn decode(section: &[u8]) -> Option<Vec<u8>> {
    let digits = section.iter().filter_map(|byte| match byte {
        b'+' => Some(b'-'),
        b'/' => Some(b'_'),
        b'=' | b'~' => None,
        other => Some(*other),
    });
    let mut digits: Vec<u8> = digits.collect();
    // One digit is less than a byte.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LAX.decode(digits).ok()
}

/// The ASCII characters of a text, without escapes and in lower case. Without NUL: what remains of UTF-16 is ASCII.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().filter(|byte| *byte != 0);
    while let Some(byte) = rest.next() {
        let character = match byte {
            b'\\' => match rest.next() {
                Some(b'u') => {
                    let digits: Vec<u8> = rest.by_ref().take(4).collect();
                    let code = std::str::from_utf8(&digits).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
                    code.and_then(char::from_u32).unwrap_or_default()
                }
                Some(b'b' | b'f' | b'n' | b'r' | b't') => ' ',
                other => char::from(other.unwrap_or_default()),
            },
            // The first byte of U+017F, which some readers of names take for an s.
            0xc5 => '\u{17f}',
            other => char::from(other),
        };
        let character = if character == '\u{17f}' { 's' } else { character };
        plain.extend(u8::try_from(character).ok().filter(u8::is_ascii).map(|byte| byte.to_ascii_lowercase()));
    }
    plain
}

#[cfg(test)]
mod tests;
