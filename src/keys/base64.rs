//! Base64 as issuers write it in key documents, and as `jwt_authn` reads it there. Tokens are decoded strictly, elsewhere.

use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    Engine as _,
};

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);

/// Decodes base64url, with or without padding, and with blanks anywhere.
pub(super) fn decode_url_safe(text: &str) -> Option<Vec<u8>> {
    decode(&URL_SAFE, text)
}

/// Decodes the base64 of PEM.
pub(super) fn decode_standard(text: &str) -> Option<Vec<u8>> {
    decode(&STANDARD, text)
}

fn decode(engine: &GeneralPurpose, text: &str) -> Option<Vec<u8>> {
    // With a vertical tab, as C's `isspace`.
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let mut digits: Vec<u8> = text.bytes().filter(|byte| !is_blank(byte)).collect();
    let length = digits.len();
    while let Some(b'=' | b'.') = digits.last() {
        digits.pop();
    }
    // A padded text is padded to whole groups of four.
    let is_whole = digits.len() == length || (length.is_multiple_of(4) && length.checked_sub(digits.len())? < 4);
    is_whole.then(|| engine.decode(digits).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_blanks_are_optional() {
        for text in ["_-8", "_-8=", "_-8.", " _\n-8\t=\r\n", "_-\x0b8", "_-9"] {
            assert_eq!(decode_url_safe(text), Some(vec![0xff, 0xef]), "{text:?}");
        }
        assert_eq!(decode_url_safe("_w=="), Some(vec![0xff]));
        assert_eq!(decode_url_safe(""), Some(vec![]));
        for text in
            ["_-8==", "_w=", "_w===", "=", "====", "AAAA=", "AAAA====", "A", "A===", "+/8", "_-8=A", "_\u{a0}w", "é"]
        {
            assert_eq!(decode_url_safe(text), None, "{text:?}");
        }
        assert_eq!(decode_standard("+/8=\n"), Some(vec![0xfb, 0xff]));
    }
}
