//! The query of a request target, read as Envoy reads it (`QueryParamsMulti`): `name=value` pairs between ampersands.

use std::borrow::Cow;

use memchr::memchr2;

use crate::bytes;

/// A parameter, as sent.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    raw: &'a [u8],
}

/// The parameters of a query, in order.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = Parameter<'_>> {
    bytes::split(query, b'&').filter(|raw| !raw.is_empty()).map(|raw| Parameter { raw })
}

impl<'a> Parameter<'a> {
    /// The name and the value, as sent.
    pub fn raw(self) -> (&'a [u8], &'a [u8]) {
        bytes::split_once(self.raw, b'=').unwrap_or((self.raw, &[]))
    }

    /// Whether the parameter has this name, percent-encoded or not.
    pub fn is(self, name: &str) -> bool {
        *decode(self.raw().0) == *name.as_bytes()
    }

    /// The decoded value.
    pub fn value(self) -> Cow<'a, [u8]> {
        decode(self.raw().1)
    }
}

/// A request target without the parameters of these names. The other parameters stay as sent.
pub fn without(target: &[u8], names: &[&str]) -> Vec<u8> {
    let Some((path, query)) = bytes::split_once(target, b'?') else { return target.to_vec() };
    let kept: Vec<_> = parameters(query).filter(|parameter| !names.iter().any(|name| parameter.is(name))).collect();
    let mut out = path.to_vec();
    for (index, parameter) in kept.iter().enumerate() {
        out.push(if index == 0 { b'?' } else { b'&' });
        out.extend_from_slice(parameter.raw);
    }
    out
}

/// Decodes percent-encoding; `+` is a space. A byte that belongs to no escape stays.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        let escape = match (first, others) {
            (b'%', [high, low, after @ ..]) => digit(high).zip(digit(low)).map(|pair| (pair, after)),
            _ => None,
        };
        match (escape, first) {
            (Some(((high, low), after)), _) => {
                out.push(high << 4 | low);
                rest = after;
            }
            (None, b'+') => out.push(b' '),
            (None, other) => out.push(*other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_nothing_else_changes() {
        for (text, expected) in [("a%2Eb", "a.b"), ("a+b", "a b"), ("%", "%"), ("%2", "%2"), ("%zz%41", "%zzA")] {
            assert_eq!(*decode(text.as_bytes()), *expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn parameters_are_removed_and_the_others_stay_as_they_were() {
        for (target, expected) in [
            ("/p?a=1&t=x&b=%2F", "/p?a=1&b=%2F"),
            ("/p?t=x", "/p"),
            ("/p?%74=x&t&tt=1", "/p?tt=1"),
            ("/p", "/p"),
            ("/p?a=1?t=2", "/p?a=1?t=2"),
        ] {
            assert_eq!(without(target.as_bytes(), &["t"]), expected.as_bytes(), "{target}");
        }
    }
}
