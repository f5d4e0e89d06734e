//! Lists of names and values, as proxy-wasm passes headers: the number of pairs, all sizes, then all texts, each followed by a
//! zero byte.

/// Writes a list.
pub fn write(pairs: &[(&str, &str)]) -> Vec<u8> {
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = size(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend_from_slice(&size(name.len()));
        bytes.extend_from_slice(&size(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Reads a list. `None`: the bytes are no list, or a name is not UTF-8.
pub fn read(bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let number = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    let (count, rest) = bytes.split_first_chunk()?;
    let (sizes, mut texts) = rest.split_at_checked(number(count)?.checked_mul(8)?)?;
    let mut text = |size: &[u8; 4]| -> Option<&[u8]> {
        let (text, after) = texts.split_at_checked(number(size)?)?;
        texts = after.get(1..)?;
        Some(text)
    };
    let mut pair = |[name, value]: &[[u8; 4]; 2]| Some((std::str::from_utf8(text(name)?).ok()?, text(value)?));
    let (sizes, _) = sizes.as_chunks::<4>();
    let (sizes, _) = sizes.as_chunks::<2>();
    let mut pairs = Vec::with_capacity(sizes.len());
    for sizes in sizes {
        pairs.push(pair(sizes)?);
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_that_is_cut_off() {
        for pairs in [&[][..], &[("a", "")], &[(":path", "/x?y"), ("", "z"), ("cookie", "\u{e9}")]] {
            let bytes = write(pairs);
            let expected = pairs.iter().map(|(name, value)| (*name, value.as_bytes()));
            assert_eq!(read(&bytes), Some(expected.collect()));
            for length in 0..bytes.len() {
                assert_eq!(read(&bytes[..length]), None, "{length} of {bytes:?}");
            }
        }
    }

    #[test]
    fn no_number_is_believed() {
        let list = |count: u32, sizes: [u32; 2]| [count, sizes[0], sizes[1]].map(u32::to_le_bytes).concat();
        for (count, sizes) in [(u32::MAX, [1, 1]), (1 << 29, [1, 1]), (1, [u32::MAX, 1]), (1, [1, u32::MAX])] {
            assert_eq!(read(&[list(count, sizes), b"a\0b\0".to_vec()].concat()), None);
        }
        assert_eq!(read(&[list(1, [1, 1]), b"\xff\0b\0".to_vec()].concat()), None);
        let bytes = [list(1, [1, 1]), b"a\0\xff\0".to_vec()].concat();
        assert_eq!(read(&bytes), Some(vec![("a", &[0xff][..])]));
    }
}
