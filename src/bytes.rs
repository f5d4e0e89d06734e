//! Searches in bytes, several at a time: a request may have tens of kilobytes. And fields of protobuf messages.

use memchr::memchr;

/// The parts before and after the first occurrence of this byte.
pub(crate) fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let (before, after) = text.split_at_checked(memchr(separator, text)?)?;
    Some((before, after.get(1..)?))
}

/// The parts between the occurrences of this byte.
pub(crate) fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let parts = split_once(text, separator);
        rest = parts.map(|(_, after)| after);
        Some(parts.map_or(text, |(before, _)| before))
    })
}

/// Appends a field of a protobuf message to the message. The field is a string, bytes or a message.
pub(crate) fn push_field(message: &mut Vec<u8>, tag: u8, value: &[u8]) {
    message.push(tag);
    let mut length = value.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_slices_do() {
        for text in [&b""[..], b"&", b"a", b"a&", b"&a", b"a&b&&c", b"&&"] {
            let expected: Vec<_> = text.split(|byte| *byte == b'&').collect();
            assert_eq!(split(text, b'&').collect::<Vec<_>>(), expected);
            assert_eq!(split_once(text, b'&').is_some(), expected.len() > 1);
        }
    }
}
